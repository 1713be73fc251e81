"""The plain vision transformer whose names of tensors published retinal checkpoints use, and its two rules for other input sizes.

Blocks are timm's, so `blocks.N.{norm1,attn.qkv,attn.proj,norm2,mlp.fc1,mlp.fc2}` need no renaming.

Source: Dosovitskiy et al. 2021, arXiv:2010.11929; position rule "dino" after Caron et al. 2021, arXiv:2104.14294.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InvalidInput

PositionRule = Literal["dino", "size"]


def make_blocks(
    depth: int, embed_dim: int, num_heads: int, *, mlp_ratio: float = 4.0, drop_path: float = 0.0, eps: float = 1e-6
) -> list[nn.Module]:
    """Return transformer blocks with normalisation first; drop path grows linearly with depth."""
    from timm.models.vision_transformer import Block

    rates = [drop_path * i / max(1, depth - 1) for i in range(depth)]
    norm: Any = partial(nn.LayerNorm, eps=eps)
    return [Block(embed_dim, num_heads, mlp_ratio, qkv_bias=True, drop_path=r, norm_layer=norm) for r in rates]


class PatchEmbed(nn.Module):
    """One convolution of patch size; `(T, 3, H, W)` -> `(T, E, H/P, W/P)`."""

    def __init__(self, patch_size: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.proj = nn.Conv2d(3, embed_dim, patch_size, patch_size)

    def forward(self, images: Tensor) -> Tensor:
        """Return patch vectors on their grid."""
        if images.ndim != 4 or images.shape[1] != 3 or any(s % self.patch_size for s in images.shape[-2:]):
            raise InvalidInput(
                f"expected images (T, 3, H, W) with sides that are multiples of {self.patch_size}, got {tuple(images.shape)}."
            )
        return self.proj(images)


def resized_positions(table: Tensor, grid: tuple[int, int], *, rule: PositionRule = "size") -> Tensor:
    """Return a position table `(1, 1 + N, E)` with its class row kept and its square grid brought to another one.

    Args:
        table: Class row first.
        grid: Rows and columns that are needed.
        rule: "dino" interpolates by the factor `(grid + 0.1) / side`, which differs from "size", interpolation to the
            grid, by some 0.005 on a 4 x 4 table; both are bicubic without antialias.
    """
    side = math.isqrt(table.shape[1] - 1)
    if side * side != table.shape[1] - 1:
        raise InvalidInput(f"a position table of {table.shape[1]} rows is no class row and a square.")
    if grid == (side, side):
        return table
    square = table[:, 1:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    if rule == "dino":
        factors = ((grid[0] + 0.1) / side, (grid[1] + 0.1) / side)
        moved = F.interpolate(square, scale_factor=factors, mode="bicubic", recompute_scale_factor=False)
    else:
        moved = F.interpolate(square, size=grid, mode="bicubic", align_corners=False)
    return torch.cat([table[:, :1], moved.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], -1)], 1)


class PlainViT(nn.Module):
    """Class token, learned positions, blocks, last norm.

    Args:
        image_size: Side of the position table's pictures, px.
        position_rule: For pictures of another size; see `resized_positions`.
        masked: Has a learned vector for hidden patches (iBOT).
    """

    def __init__(
        self,
        *,
        image_size: int = 224,
        patch_size: int = 16,
        embed_dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        drop_path: float = 0.0,
        position_rule: PositionRule = "size",
        masked: bool = False,
    ) -> None:
        super().__init__()
        self.embed_dim, self.position_rule = embed_dim, position_rule
        self.patch_embed = PatchEmbed(patch_size, embed_dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, embed_dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (image_size // patch_size) ** 2, embed_dim))
        if masked:
            self.masked_embed = nn.Parameter(torch.zeros(1, embed_dim))
        self.blocks = nn.ModuleList(make_blocks(depth, embed_dim, num_heads, drop_path=drop_path))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        for table in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(table, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def tokens(self, images: Tensor, *, mask: Tensor | None = None) -> tuple[Tensor, tuple[int, int]]:
        """Return the input of the first block `(T, 1 + N, E)` and its grid; `mask` `(T, h, w)` is True where hidden."""
        patches = self.patch_embed(images)
        grid = (patches.shape[2], patches.shape[3])
        x = patches.flatten(2).transpose(1, 2)
        if mask is not None:
            x = torch.where(mask.flatten(1).bool()[..., None], self.masked_embed.to(x.dtype), x)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1)
        return x + resized_positions(self.pos_embed, grid, rule=self.position_rule), grid

    def levels(
        self, images: Tensor, wanted: Sequence[int], *, norm: bool = True
    ) -> tuple[list[Tensor], tuple[int, int]]:
        """Return the tokens after some blocks (0-based, negative from the end) and the grid.

        Args:
            images: Normalised `(T, 3, H, W)`.
            wanted: Blocks, ascending.
            norm: Through the last norm.
        """
        x, grid = self.tokens(images)
        places = [w % len(self.blocks) for w in wanted]
        found = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in places:
                found.append(self.norm(x) if norm else x)
        return found, grid

    def forward(self, images: Tensor, *, mask: Tensor | None = None) -> Tensor:
        """Return all tokens after the last norm, class token first."""
        x, _ = self.tokens(images, mask=mask)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def last_attention(self, images: Tensor) -> Tensor:
        """Return the attention of the last block `(T, heads, 1 + N, 1 + N)`; rows sum to one."""
        x, _ = self.tokens(images)
        for block in self.blocks[:-1]:
            x = block(x)
        attention: Any = self.blocks[-1].attn
        qkv = attention.qkv(self.blocks[-1].norm1(x))
        q, k, _ = qkv.reshape(*x.shape[:2], 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
        return (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return patch tokens `(T, N, E)` as a map `(T, E, h, w)`."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)
