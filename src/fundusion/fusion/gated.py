"""Softmax gates over what is present, and an interaction term so that a finding may need two modalities.

Source: gates after Arevalo et al. 2017, arXiv:1702.01992; the low-rank interaction is a factorised bilinear term, Kim et al. 2017,
arXiv:1610.04325, here over the masked sum of all present modalities.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..core.interfaces import Features
from ..core.registry import Card, fusions
from ..core.tasks import Task
from ..layers.projection import Projections


class Gated(nn.Module):
    """Gated sum plus pairwise interaction; gates `(B, M)` are in the extras, in the order of `projections.names`."""

    def __init__(self, dims: Mapping[str, int], embed_dim: int, rank: int, dropout: float) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        count = len(dims)
        self.projections = Projections(dims, embed_dim)
        self.gate = nn.Linear(embed_dim, 1)
        # Which others are there changes how much a modality should say.
        self.company = nn.Linear(count, count)
        nn.init.zeros_(self.company.weight)
        nn.init.zeros_(self.company.bias)
        self.factors = nn.Parameter(torch.randn(count, embed_dim, rank) / embed_dim**0.5)
        self.interact = nn.Linear(rank, embed_dim)
        nn.init.zeros_(self.interact.weight)
        nn.init.zeros_(self.interact.bias)
        self.mix = nn.Sequential(
            nn.LayerNorm(embed_dim), nn.Linear(embed_dim, embed_dim), nn.GELU(), nn.Dropout(dropout)
        )

    def forward(self, features: Mapping[str, Features], present: Mapping[str, Tensor]) -> Features:
        """Return the fused vector and the gates."""
        vectors, mask = self.projections.pooled(features, present)
        vectors = torch.nn.functional.gelu(vectors)
        scores = self.gate(vectors)[..., 0] + self.company(mask.float())
        gates = torch.softmax(scores.masked_fill(~mask, -torch.inf), 1)
        summed = (gates[..., None] * vectors).sum(1)
        parts = torch.einsum("bme,mer->bmr", vectors, self.factors)
        # Sum over pairs of products from sums of powers: no loop over pairs, zero with one modality.
        pairs = (parts.sum(1) ** 2 - (parts**2).sum(1)) / 2
        fused = summed + self.interact(pairs)
        return Features(pooled=fused + self.mix(fused), extras={"gates": gates})


@fusions.register(
    "gated", Card(title="Gated sum with interaction", paper="arXiv:1702.01992", facts={"level": "feature"})
)
def gated(
    *, dims: Mapping[str, int], tasks: Mapping[str, Task], embed_dim: int, rank: int = 32, dropout: float = 0.1
) -> Gated:
    """Return a gated fusion."""
    return Gated(dims, embed_dim, rank, dropout)
