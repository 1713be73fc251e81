"""One modality asks the tokens of the others.

Source: Vaswani et al. 2017, arXiv:1706.03762; between modalities as in Lu et al. 2019, arXiv:1908.02265. With an anchor the question is
its vector; without one, or where the anchor is absent, it is a learned query, so that any modality may be missing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Features
from ..core.registry import Card, fusions
from ..core.tasks import Task
from ..layers.projection import Projections


class CrossAttention(nn.Module):
    """Attention of one query over all tokens that are present."""

    def __init__(self, dims: Mapping[str, int], embed_dim: int, depth: int, num_heads: int, anchor: str | None) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.anchor = anchor
        self.projections = Projections(dims, embed_dim)
        self.kinds = nn.ParameterDict({m: nn.Parameter(torch.randn(embed_dim) * 0.02) for m in self.projections.names})
        self.query = nn.Parameter(torch.randn(embed_dim) * 0.02)
        self.norms = nn.ModuleList(nn.LayerNorm(embed_dim) for _ in range(depth))
        self.attend = nn.ModuleList(nn.MultiheadAttention(embed_dim, num_heads, batch_first=True) for _ in range(depth))
        self.feed = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(embed_dim), nn.Linear(embed_dim, 2 * embed_dim), nn.GELU(),
                          nn.Linear(2 * embed_dim, embed_dim)) for _ in range(depth)
        )  # fmt: skip

    def forward(self, features: Mapping[str, Features], present: Mapping[str, Tensor]) -> Features:
        """Return the fused vector; extras hold the attention mass per modality as "gates"."""
        pooled, mask = self.projections.pooled(features, present)
        tokens = self.projections.tokens(features, present)
        names = [m for m in self.projections.names if m in tokens]
        keys = torch.cat([tokens[m][0] + self.kinds[m] for m in names], 1)
        seen = torch.cat([tokens[m][1] for m in names], 1)
        asked = self.query.expand(len(pooled), 1, -1)
        if self.anchor is not None:
            i = self.projections.names.index(self.anchor)
            asked = torch.where(mask[:, i, None, None], pooled[:, i : i + 1] + asked, asked)
        attention = None
        for norm, attend, feed in zip(self.norms, self.attend, self.feed, strict=True):
            heard, attention = attend(norm(asked), keys, keys, key_padding_mask=~seen)
            asked = asked + heard
            asked = asked + feed(asked)
        # The mean of what is present is a short cut that keeps one-modality studies easy.
        mean = (pooled * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
        gates = self._mass(attention, tokens, names, mask)
        return Features(pooled=asked[:, 0] + mean, extras={"gates": gates})

    def _mass(
        self, attention: Tensor | None, tokens: Mapping[str, tuple[Tensor, Tensor]], names: list[str], mask: Tensor
    ) -> Tensor:
        mass = torch.zeros(mask.shape, device=mask.device)
        if attention is None:
            return mass
        start = 0
        for name in names:
            width = tokens[name][1].shape[1]
            mass[:, self.projections.names.index(name)] = attention[:, 0, start : start + width].sum(1).float()
            start += width
        return mass


@fusions.register(
    "cross_attention", Card(title="Cross-attention", paper="arXiv:1908.02265", facts={"level": "feature"})
)
def cross_attention(
    *,
    dims: Mapping[str, int],
    tasks: Mapping[str, Task],
    embed_dim: int,
    depth: int = 2,
    num_heads: int = 4,
    anchor: str | None = None,
) -> CrossAttention:
    """Return a cross-attention fusion; `anchor` names the modality that asks."""
    if anchor is not None and anchor not in dims:
        raise InvalidInput(f"anchor {anchor!r} is none of the modalities {sorted(dims)}.")
    return CrossAttention(dims, embed_dim, depth, num_heads, anchor)
