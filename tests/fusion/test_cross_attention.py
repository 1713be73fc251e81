"""One modality asks the tokens of the others; gates over what is present are readable."""

import torch

from fundusion.core.interfaces import Features
from fundusion.core.registry import fusions
from fundusion.core.tasks import Binary

DIMS = {"cfp": 4, "oct": 3}


def test_gates_sum_to_one_and_an_absent_modality_is_neither_asked_nor_asking():
    torch.manual_seed(0)
    fusion = fusions.create("cross_attention", dims=DIMS, tasks={"t": Binary()}, embed_dim=8).eval()
    features = {
        m: Features(
            pooled=torch.randn(2, d), tokens=torch.randn(2, 5, d), token_mask=torch.ones(2, 5, dtype=torch.bool)
        )
        for m, d in DIMS.items()
    }
    present = {"cfp": torch.tensor([True, True]), "oct": torch.tensor([True, False])}
    gates = fusion(features, present).extras["gates"]
    torch.testing.assert_close(gates.sum(1), torch.ones(2))
    assert gates[1].tolist() == [1.0, 0.0]
