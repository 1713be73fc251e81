import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.layers.reference_attention import ReferenceAttention


def test_weights_sum_to_one_over_keys_or_in_the_released_form_over_heads():
    queries, keys = torch.randn(3, 8), torch.randn(5, 8)
    usual = ReferenceAttention(8).weights(queries, keys)
    released = ReferenceAttention(8, softmax_over="heads").weights(queries, keys)
    assert usual.shape == released.shape == (2, 3, 5)
    torch.testing.assert_close(usual.sum(2), torch.ones(2, 3))
    torch.testing.assert_close(released.sum(0), torch.ones(3, 5))


def test_a_key_like_no_query_is_ignored_only_by_the_usual_form():
    torch.manual_seed(0)
    attention = ReferenceAttention(4, num_heads=1, dropout=0.0)
    with torch.no_grad():
        for layer in (attention.W_q, attention.W_k, attention.W_v, attention.W_o):
            layer.weight.copy_(torch.eye(4))
    queries = torch.tensor([[20.0, 0, 0, 0]])
    keys = torch.tensor([[20.0, 0, 0, 0], [0, 20.0, 0, 0]])
    values = torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 1.0]])
    torch.testing.assert_close(attention(queries, keys, values), values[:1])
    attention.softmax_over = "heads"
    torch.testing.assert_close(attention(queries, keys, values), values.sum(0, keepdim=True))


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(InvalidInput, match="multiple"):
        ReferenceAttention(7)
