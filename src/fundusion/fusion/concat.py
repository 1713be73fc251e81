"""Projections side by side, a learned token where a modality is absent, then an MLP.

Source: plain concatenation, the baseline of the field; absence tokens as in Ma et al. 2022, doi:10.1109/CVPR52688.2022.01764.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..core.interfaces import Features
from ..core.registry import Card, fusions
from ..core.tasks import Task
from ..layers.projection import Projections


class Concat(nn.Module):
    """`(B, M * E)` -> `(B, E)`."""

    def __init__(self, dims: Mapping[str, int], embed_dim: int, dropout: float) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.projections = Projections(dims, embed_dim)
        self.absence = nn.Parameter(torch.randn(len(dims), embed_dim) * 0.02)
        width = len(dims) * embed_dim
        self.mix = nn.Sequential(
            nn.Linear(width, embed_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(embed_dim, embed_dim)
        )

    def forward(self, features: Mapping[str, Features], present: Mapping[str, Tensor]) -> Features:
        """Return the fused vector."""
        vectors, mask = self.projections.pooled(features, present)
        filled = torch.where(mask[..., None], vectors, self.absence)
        return Features(pooled=self.mix(filled.flatten(1)))


@fusions.register("concat", Card(title="Concatenation with absence tokens", facts={"level": "feature"}))
def concat(*, dims: Mapping[str, int], tasks: Mapping[str, Task], embed_dim: int, dropout: float = 0.1) -> Concat:
    """Return a concatenation fusion."""
    return Concat(dims, embed_dim, dropout)
