"""Position tables, the token sequence of a plain vision transformer, and its maps at several scales.

Source: Dosovitskiy et al. 2021, arXiv:2010.11929; fixed positions and their interpolation He et al. 2022, arXiv:2111.06377.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InvalidInput


def sincos_positions(embed_dim: int, grid: tuple[int, int]) -> Tensor:
    """Return the fixed position table `(1, 1 + N, E)` of MAE: a class row of zeros, then sines and cosines of column and row.

    Args:
        embed_dim: A multiple of four.
        grid: Rows and columns.

    Source: He et al. 2022, arXiv:2111.06377; the first half of the channels holds the column, as in the released tables.

    Example:
        >>> sincos_positions(4, (1, 2))[0].tolist()[1]
        [0.0, 1.0, 0.0, 1.0]
    """
    if embed_dim % 4:
        raise InvalidInput(f"a position table needs a width that is a multiple of 4, got {embed_dim}.")
    quarter = embed_dim // 4
    omega = 1.0 / 10000 ** (torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    halves = []
    for places in (columns, rows):
        angle = places.reshape(-1, 1) * omega
        halves += [angle.sin(), angle.cos()]
    table = torch.cat(halves, 1).float()
    return torch.cat([torch.zeros(1, embed_dim), table])[None]


def resize_positions(table: Tensor, grid: tuple[int, int], *, prefix: int = 1) -> Tensor:
    """Return a position table `(1, prefix + N, E)` brought from its square grid to another grid.

    The rule of MAE and RETFound: bicubic, corners not aligned, no antialias, and only when the grids differ.

    Args:
        table: Rows of the class token and registers first.
        grid: Rows and columns that are needed.
        prefix: Rows that are kept as they are.

    Raises:
        InvalidInput: The table is no square.
    """
    side = math.isqrt(max(0, table.shape[1] - prefix))
    if side < 1 or side * side != table.shape[1] - prefix:
        raise InvalidInput(f"a position table of {table.shape[1]} rows is not {prefix} and a square.")
    if tuple(grid) == (side, side):
        return table
    square = table[:, prefix:].reshape(1, side, side, -1).permute(0, 3, 1, 2)
    moved = F.interpolate(square, size=tuple(grid), mode="bicubic", align_corners=False)
    return torch.cat([table[:, :prefix], moved.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], -1)], 1)


def embed_patches(body: nn.Module, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Return patch tokens `(T, N, E)` without positions, and their grid; sides are padded to whole patches.

    Args:
        body: A timm `VisionTransformer` or a module with the same names; layers may carry adapters.
        images: Normalised `(T, 3, H, W)`.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise InvalidInput(f"expected images of shape (T, 3, H, W), got {tuple(images.shape)}.")
    patch = body.patch_embed.patch_size
    missing = [-s % p for s, p in zip(images.shape[-2:], patch, strict=True)]
    if any(missing):
        images = F.pad(images, (0, missing[1], 0, missing[0]))
    patches = body.patch_embed.proj(images)
    return patches.flatten(2).transpose(1, 2), (patches.shape[2], patches.shape[3])


def run_blocks(
    body: nn.Module, images: Tensor, *, taps: Collection[int] = ()
) -> tuple[Tensor, tuple[int, int], list[Tensor]]:
    """Return the tokens after the last block and before the norm, their grid, and the patch maps after the blocks in `taps`.

    Positions of another grid follow `resize_positions`.

    Shapes:
        tokens `(T, 1 + N, E)`; maps `(T, E, h, w)`.
    """
    patches, grid = embed_patches(body, images)
    x = torch.cat([body.cls_token.expand(len(patches), -1, -1), patches], 1)
    x = x + resize_positions(body.pos_embed, grid, prefix=1)
    maps = []
    for i, block in enumerate(body.blocks):
        x = block(x)
        if i in taps:
            maps.append(as_map(x[:, 1:], grid))
    return x, grid, maps


def as_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return patch tokens `(T, N, E)` as a map `(T, E, h, w)`."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)


def pyramid_taps(depth: int) -> tuple[int, int]:
    """Return the blocks whose maps become the fine levels of `pyramid`: one and two thirds of the depth.

    Example:
        >>> pyramid_taps(12), pyramid_taps(2)
        ((3, 7), (0, 0))
    """
    return max(0, depth // 3 - 1), max(0, 2 * depth // 3 - 1)


def pyramid(levels: Sequence[Tensor], last: Tensor) -> tuple[Tensor, ...]:
    """Return maps fine to coarse: earlier levels of a plain transformer enlarged four and two times, then the last map.

    Source: Li et al. 2022, arXiv:2203.16527 (a pyramid from a plain transformer); deviations: earlier blocks give the finer
    levels, and the enlargement is bilinear, so that nothing has to be trained.
    """
    first, second = (levels[0], levels[-1])
    return (
        F.interpolate(first, scale_factor=4.0, mode="bilinear", align_corners=False),
        F.interpolate(second, scale_factor=2.0, mode="bilinear", align_corners=False),
        last,
    )


def map_with_mean(tokens: Tensor, pooled: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return patch tokens as a map moved by one vector per image so that its mean is the pooled vector.

    A class token has no place of its own. This map keeps the differences between places from the patch tokens and the
    level from the class token, so that an activation map adds up to the answer.
    """
    return as_map(tokens - tokens.mean(1, keepdim=True) + pooled[:, None], grid)
