"""Modalities of different width at one width; what is absent is taken out first."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Features
from fundusion.layers.projection import Projections


def test_absent_rows_are_zero_and_a_nan_there_is_never_seen():
    layer = Projections({"b": 3, "a": 2}, 4)
    assert layer.names == ("a", "b")
    pooled = torch.tensor([[1.0, 2.0, 3.0], [float("nan")] * 3], requires_grad=True)
    features = {"b": Features(pooled=pooled), "a": Features(pooled=torch.ones(2, 2))}
    present = {"a": torch.tensor([True, True]), "b": torch.tensor([True, False])}
    vectors, mask = layer.pooled(features, present)
    assert mask.tolist() == [[True, True], [True, False]]
    assert vectors[1, 1].tolist() == [0.0] * 4
    vectors.square().sum().backward()
    assert pooled.grad[1].tolist() == [0.0] * 3
    assert bool(torch.isfinite(layer.maps["b"][1].weight.grad).all())


def test_the_pooled_vector_is_the_first_token_and_masks_are_joined():
    layer = Projections({"a": 2}, 4)
    f = Features(
        pooled=torch.ones(2, 2), tokens=torch.ones(2, 3, 2), token_mask=torch.tensor([[True, False, True]] * 2)
    )
    tokens, mask = layer.tokens({"a": f}, {"a": torch.tensor([True, False])})["a"]
    assert tokens.shape == (2, 4, 4)
    assert mask.tolist() == [[True, True, False, True], [False] * 4]
    torch.testing.assert_close(tokens[0, 0], layer.maps["a"](torch.ones(1, 2))[0])
    assert tokens[1].abs().sum() == 0


def test_no_modality_at_all_is_refused():
    with pytest.raises(InvalidInput) as caught:
        Projections({"a": 2}, 4).pooled({}, {})
    assert caught.value.code == "study.empty"
