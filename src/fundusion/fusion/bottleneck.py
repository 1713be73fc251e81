"""A few shared tokens carry all exchange between modalities.

Source: Nagrani et al. 2021, arXiv:2107.00135: in each layer every modality attends to its own tokens and the bottleneck; the new
bottleneck is the mean of the versions the present modalities made of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..core.interfaces import Features
from ..core.registry import Card, fusions
from ..core.tasks import Task
from ..layers.projection import Projections


class Bottleneck(nn.Module):
    """Bottleneck tokens `(B, K, E)` updated by each present modality."""

    def __init__(self, dims: Mapping[str, int], embed_dim: int, depth: int, num_heads: int, width: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.projections = Projections(dims, embed_dim)
        self.shared = nn.Parameter(torch.randn(width, embed_dim) * 0.02)
        self.layers = nn.ModuleList(
            nn.ModuleDict(
                {
                    m: nn.TransformerEncoderLayer(
                        embed_dim,
                        num_heads,
                        2 * embed_dim,
                        dropout=0.0,
                        activation="gelu",
                        batch_first=True,
                        norm_first=True,
                    )
                    for m in self.projections.names
                }
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, features: Mapping[str, Features], present: Mapping[str, Tensor]) -> Features:
        """Return the mean of the bottleneck plus the mean of the present modalities."""
        pooled, mask = self.projections.pooled(features, present)
        tokens = self.projections.tokens(features, present)
        names = [m for m in self.projections.names if m in tokens]
        streams = {m: tokens[m][0] for m in names}
        shared = self.shared.expand(len(pooled), -1, -1)
        width = shared.shape[1]
        weight = torch.stack([present[m] for m in names], 1).float()
        for layer in self.layers:
            versions = []
            for m in names:
                joined = torch.cat([shared, streams[m]], 1)
                hidden = torch.cat([torch.zeros_like(tokens[m][1][:, :1]).expand(-1, width), ~tokens[m][1]], 1)
                done = layer[m](joined, src_key_padding_mask=hidden)
                versions.append(done[:, :width])
                streams[m] = done[:, width:]
            stacked = torch.stack(versions, 1)
            kept = torch.where(weight[..., None, None] > 0, stacked, torch.zeros((), device=stacked.device))
            shared = kept.sum(1) / weight.sum(1)[:, None, None]
        mean = (pooled * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        return Features(pooled=self.norm(shared.mean(1)) + mean, tokens=shared)


@fusions.register(
    "bottleneck", Card(title="Attention bottleneck", paper="arXiv:2107.00135", facts={"level": "feature"})
)
def bottleneck(
    *,
    dims: Mapping[str, int],
    tasks: Mapping[str, Task],
    embed_dim: int,
    depth: int = 2,
    num_heads: int = 4,
    width: int = 4,
) -> Bottleneck:
    """Return a bottleneck fusion with `width` shared tokens."""
    return Bottleneck(dims, embed_dim, depth, num_heads, width)
