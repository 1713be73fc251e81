"""The baseline that reads one modality."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Features
from fundusion.core.registry import fusions
from fundusion.core.tasks import Binary


def test_it_reads_its_modality_only_and_refuses_studies_without_it():
    fusion = fusions.create("single", dims={"a": 3, "b": 2}, tasks={"t": Binary()}, embed_dim=4, modality="a").eval()
    features = {"a": Features(pooled=torch.randn(2, 3)), "b": Features(pooled=torch.randn(2, 2))}
    yes = torch.ones(2, dtype=torch.bool)
    base = fusion(features, {"a": yes, "b": yes}).pooled
    other = {**features, "b": Features(pooled=torch.randn(2, 2))}
    torch.testing.assert_close(fusion(other, {"a": yes, "b": yes}).pooled, base)
    with pytest.raises(InvalidInput) as caught:
        fusion(features, {"a": torch.tensor([True, False]), "b": yes})
    assert caught.value.code == "study.empty"
    with pytest.raises(InvalidInput, match="none of"):
        fusions.create("single", dims={"a": 3}, tasks={"t": Binary()}, embed_dim=4, modality="x")
