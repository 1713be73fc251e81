"""Concatenation: an absence token stands where a modality is missing."""

import torch

from fundusion.core.interfaces import Features
from fundusion.fusion.concat import Concat


def test_absence_is_the_learned_token_and_not_a_vector_of_zeros():
    torch.manual_seed(0)
    fusion = Concat({"a": 3, "b": 2}, 4, 0.0).eval()
    features = {"a": Features(pooled=torch.randn(1, 3)), "b": Features(pooled=torch.zeros(1, 2))}
    yes, no = torch.tensor([True]), torch.tensor([False])
    with_zeros = fusion(features, {"a": yes, "b": yes}).pooled
    without = fusion(features, {"a": yes, "b": no}).pooled
    assert not torch.allclose(with_zeros, without)
    vectors, _ = fusion.projections.pooled(features, {"a": yes, "b": no})
    expected = fusion.mix(torch.cat([vectors[:, 0], fusion.absence[1:2]], 1))
    torch.testing.assert_close(without, expected)
