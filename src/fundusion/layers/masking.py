"""Which tokens are hidden: at random, in blocks, or shared out over modalities; and patches of pictures as vectors.

Source: He et al. 2022, arXiv:2111.06377 (random); Bao et al. 2022, arXiv:2106.08254 and Zhou et al. 2022, arXiv:2111.07832 (blocks);
Bachmann et al. 2022, arXiv:2204.01678 (shares drawn from a Dirichlet distribution).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ..core.errors import InvalidInput


def patchify(images: Tensor, patch_size: int) -> Tensor:
    """Return patches as vectors `(T, N, P * P * C)` in the order row, column, channel.

    Example:
        >>> patchify(torch.arange(16.0).reshape(1, 1, 4, 4), 2)[0, 0].tolist()
        [0.0, 1.0, 4.0, 5.0]
    """
    t, c, h, w = images.shape
    if h % patch_size or w % patch_size:
        raise InvalidInput(f"sides {h} x {w} are no multiples of the patch size {patch_size}.")
    x = images.reshape(t, c, h // patch_size, patch_size, w // patch_size, patch_size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(t, -1, patch_size * patch_size * c)


def unpatchify(patches: Tensor, patch_size: int, grid: tuple[int, int]) -> Tensor:
    """Return the pictures `(T, C, H, W)` of `patchify`.

    Example:
        >>> x = torch.rand(2, 3, 8, 12)
        >>> bool((unpatchify(patchify(x, 4), 4, (2, 3)) == x).all())
        True
    """
    t, _, width = patches.shape
    c = width // patch_size**2
    x = patches.reshape(t, *grid, patch_size, patch_size, c).permute(0, 5, 1, 3, 2, 4)
    return x.reshape(t, c, grid[0] * patch_size, grid[1] * patch_size)


def standardised(patches: Tensor) -> Tensor:
    """Return each patch with mean 0 and (unbiased) variance 1, the target of normalised pixels."""
    mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
    return (patches - mean) / (variance + 1e-6).sqrt()


def random_mask(noise: Tensor, ratio: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return kept positions `(T, V)`, the order that restores them `(T, N)` and the mask `(T, N)`, 1 where hidden.

    Args:
        noise: `(T, N)`; the positions with the least noise are kept.
        ratio: Share that is hidden, in [0, 1).
    """
    if not 0 <= ratio < 1:
        raise InvalidInput(f"the share that is hidden must be at least 0 and below 1, got {ratio}.")
    rows, count = noise.shape
    kept = int(count * (1 - ratio))
    order = torch.argsort(noise, 1)
    restore = torch.argsort(order, 1)
    mask = torch.ones(rows, count, device=noise.device)
    mask[:, :kept] = 0
    return order[:, :kept], restore, mask.gather(1, restore)


def block_mask(
    grid: tuple[int, int],
    ratio: float,
    *,
    generator: torch.Generator,
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> Tensor:
    """Return a bool mask `grid` of blocks, with exactly `int(ratio * N)` hidden positions.

    Args:
        grid: Rows and columns.
        ratio: Share that is hidden.
        generator: Of the draws.
        aspect: Smallest and largest height over width of a block.
    """
    rows, columns = grid
    wanted = int(ratio * rows * columns)
    mask = torch.zeros(grid, dtype=torch.bool)

    def draw(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=generator))

    for _ in range(100):
        missing = wanted - int(mask.sum())
        if missing <= 0:
            break
        area = draw(min(4, missing), missing)
        shape = math.exp(draw(math.log(aspect[0]), math.log(aspect[1])))
        h = max(1, min(rows, round(math.sqrt(area * shape))))
        w = max(1, min(columns, round(math.sqrt(area / shape))))
        top = int(draw(0, rows - h + 1)) if rows > h else 0
        left = int(draw(0, columns - w + 1)) if columns > w else 0
        trial = mask.clone()
        trial[top : top + h, left : left + w] = True
        if int(trial.sum()) <= wanted:
            mask = trial
    # Blocks rarely fill the share exactly; single positions do.
    missing = wanted - int(mask.sum())
    if missing > 0:
        free = torch.nonzero(~mask.flatten())[:, 0]
        mask.view(-1)[free[torch.randperm(len(free), generator=generator)[:missing]]] = True
    return mask


def shared_masks(
    present: Mapping[str, Tensor],
    sizes: Mapping[str, int],
    visible: int,
    *,
    generator: torch.Generator,
    alpha: float = 1.0,
    uniform: bool = False,
) -> dict[str, Tensor]:
    """Return modality to int64 `(B, N)`, 1 where hidden: each study shows `visible` tokens of the modalities it has.

    Args:
        present: Modality to bool `(B,)`; tokens of an absent modality are all hidden.
        sizes: Modality to its number of tokens.
        visible: Tokens that are shown; all of a study's when it has fewer.
        generator: Of the draws.
        alpha: Concentration of the Dirichlet distribution of the shares.
        uniform: Draw a non-empty subset of the modalities first and share evenly over it.
    """
    names = list(sizes)
    rows = len(next(iter(present.values())))
    masks = {m: torch.ones(rows, sizes[m], dtype=torch.int64) for m in names}
    for row in range(rows):
        there = [m for m in names if m in present and bool(present[m][row])]
        if not there:
            raise InvalidInput("a study has none of the modalities.", code="study.empty")
        shares = _shares(len(there), alpha, uniform, generator)
        counts = _counts(shares, [sizes[m] for m in there], visible)
        for name, count in zip(there, counts, strict=True):
            masks[name][row, torch.randperm(sizes[name], generator=generator)[:count]] = 0
    return masks


def _shares(count: int, alpha: float, uniform: bool, generator: torch.Generator) -> list[float]:
    if uniform:
        subset = int(torch.randint(1, 2**count, (), generator=generator))
        chosen = [(subset >> i) & 1 for i in range(count)]
        return [c / sum(chosen) for c in chosen]
    gamma = torch._standard_gamma(torch.full((count,), float(alpha)), generator=generator)
    return (gamma / gamma.sum().clamp(min=1e-12)).tolist()


def _counts(shares: list[float], sizes: list[int], visible: int) -> list[int]:
    """Round shares of the visible tokens, and move what is too much for one modality or lost in rounding to the others."""
    counts = [min(n, round(s * visible)) for s, n in zip(shares, sizes, strict=True)]
    wanted = min(visible, sum(sizes))
    order = sorted(range(len(counts)), key=lambda i: -shares[i])
    while sum(counts) != wanted:
        step = 1 if sum(counts) < wanted else -1
        for i in order:
            if 0 <= counts[i] + step <= sizes[i]:
                counts[i] += step
                break
    return counts
