"""One transformer over the patches of all modalities at once: EyeFM's joint encoder as a fusion.

Encoders of the trunk's width (`eyefm.patches`) give their patch tokens as they are; any other modality (a table, a report, another encoder)
gives its pooled vector, projected, as one token. Absent modalities are nobody's context, so every subset works with the same weights.

Source: Bachmann et al. 2022, arXiv:2204.01678 (MultiViT); Wu et al. 2025, doi:10.1038/s41591-025-03900-7. The answer is the mean over the patch
tokens that are there, as the published classifier's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.interfaces import Features
from ..core.registry import Card, fusions
from ..core.tasks import Task
from ..layers.plain_vit import make_blocks
from ..layers.projection import Projections
from ..layers.weights import fit_state, load_state


class JointTokens(nn.Module):
    """Blocks over all tokens and a global one at the end."""

    def __init__(
        self, dims: Mapping[str, int], embed_dim: int, depth: int, num_heads: int, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.names = tuple(sorted(dims))
        # Presence is checked by the projections; those of modalities that give patches are not used.
        self.projections = Projections(dims, embed_dim)
        self.direct = {m for m, d in dims.items() if d == embed_dim}
        for m in self.direct:
            self.projections.maps[m].requires_grad_(False)
        self.global_tokens = nn.Parameter(torch.zeros(1, 1, embed_dim))
        nn.init.trunc_normal_(self.global_tokens, std=0.02)
        self.encoder = nn.ModuleList(make_blocks(depth, embed_dim, num_heads, drop_path=drop_path))

    def forward(self, features: Mapping[str, Features], present: Mapping[str, Tensor]) -> Features:
        """Return the fused vector `(B, E)`."""
        pooled, mask = self.projections.pooled(features, present)
        parts, masks = [], []
        for i, name in enumerate(self.projections.names):
            f, here = features.get(name), mask[:, i : i + 1]
            if name not in self.direct or f is None:
                parts.append(pooled[:, i : i + 1])
                masks.append(here)
                continue
            tokens = f.tokens if f.tokens is not None else f.pooled[:, None]
            seen = here.expand(tokens.shape[:2])
            if f.tokens is not None and f.token_mask is not None:
                seen = seen & f.token_mask
            parts.append(torch.where(seen[..., None], tokens, torch.zeros((), device=tokens.device)))
            masks.append(seen)
        tokens, seen = torch.cat(parts, 1), torch.cat(masks, 1)
        x = torch.cat([tokens, self.global_tokens.expand(len(tokens), -1, -1)], 1)
        attention = None
        if not bool(seen.all()):
            attention = torch.cat([seen, torch.ones_like(seen[:, :1])], 1)[:, None, None]
        for block in self.encoder:
            x = block(x, attn_mask=attention)
        weight = seen[..., None].to(x.dtype)
        return Features(pooled=(x[:, :-1] * weight).sum(1) / weight.sum(1), tokens=x[:, :-1], token_mask=seen)


@fusions.register(
    "joint_tokens",
    Card(title="Joint transformer over patches", paper="arXiv:2204.01678", facts={"level": "feature"}),
)
def joint_tokens(
    *,
    dims: Mapping[str, int],
    tasks: Mapping[str, Task],
    embed_dim: int,
    depth: int = 2,
    num_heads: int = 4,
    drop_path: float = 0.0,
    weights: str | None = None,
) -> JointTokens:
    """Return the joint transformer.

    Args:
        dims: Width of each modality's encoder.
        tasks: Heads; not used.
        embed_dim: Width of the trunk: 1024 for EyeFM's, with depth 24 and 16 heads.
        depth: Blocks.
        num_heads: Of each block.
        drop_path: Greatest share of skipped blocks.
        weights: Checkpoint of a MultiMAE, or folder of `fundusion pretrain`: blocks and global token are taken from it.
    """
    fusion = JointTokens(dims, embed_dim, depth, num_heads, drop_path)
    if weights:
        path = Path(weights)
        state = load_state(path / "encoder.safetensors" if path.is_dir() else path)
        fit_state(
            fusion, state, allow_missing=("projections.",), allow_unexpected=("input_adapters.", "output_adapters.")
        )
    return fusion
