"""All exchange passes through a few shared tokens."""

import torch

from fundusion.core.interfaces import Features
from fundusion.fusion.bottleneck import Bottleneck


def test_the_result_carries_the_shared_tokens_and_their_number_is_the_width():
    torch.manual_seed(0)
    fusion = Bottleneck({"a": 3, "b": 2}, 8, 2, 2, 5).eval()
    features = {"a": Features(pooled=torch.randn(2, 3)), "b": Features(pooled=torch.randn(2, 2))}
    yes = torch.ones(2, dtype=torch.bool)
    fused = fusion(features, {"a": yes, "b": yes})
    assert fused.tokens.shape == (2, 5, 8)
    vectors, _ = fusion.projections.pooled(features, {"a": yes, "b": yes})
    torch.testing.assert_close(fused.pooled, fusion.norm(fused.tokens.mean(1)) + vectors.mean(1))


def test_what_one_modality_says_reaches_the_shared_tokens_of_the_other():
    torch.manual_seed(0)
    fusion = Bottleneck({"a": 3, "b": 2}, 8, 2, 2, 4).eval()
    yes = torch.ones(1, dtype=torch.bool)
    one = {"a": Features(pooled=torch.randn(1, 3)), "b": Features(pooled=torch.randn(1, 2))}
    two = {**one, "b": Features(pooled=torch.randn(1, 2))}
    present = {"a": yes, "b": yes}
    assert not torch.allclose(fusion(one, present).tokens, fusion(two, present).tokens)
