"""Gates are readable weights over what is present."""

import torch

from fundusion.core.interfaces import Features
from fundusion.core.registry import fusions
from fundusion.core.tasks import Binary

DIMS = {"cfp": 4, "table": 3}


def test_gates_of_absent_modalities_are_zero_and_the_others_sum_to_one():
    torch.manual_seed(0)
    fusion = fusions.create("gated", dims=DIMS, tasks={"t": Binary()}, embed_dim=6).eval()
    features = {m: Features(pooled=torch.randn(3, d)) for m, d in DIMS.items()}
    present = {"cfp": torch.tensor([True, True, False]), "table": torch.tensor([True, False, True])}
    fused = fusion(features, present)
    gates = fused.extras["gates"] if "gates" in fused.extras else next(iter(fused.extras.values()))
    by_modality = gates if gates.ndim == 2 else gates.mean(-1)
    assert by_modality.shape == (3, 2)
    torch.testing.assert_close(by_modality.sum(1), torch.ones(3))
    assert by_modality[1, 1] == 0
    assert by_modality[2, 0] == 0
