"""Random cuts and colours for training without labels, on whole batches of tensors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_crops(
    pixels: Tensor,
    size: int,
    *,
    generator: torch.Generator,
    scale: tuple[float, float] = (0.2, 1.0),
    ratio: tuple[float, float] = (0.75, 4 / 3),
    flip: bool = True,
) -> Tensor:
    """Return a random part of each picture at one size, half of them mirrored.

    Args:
        pixels: uint8 `(T, H, W, C)`.
        size: Side of the result, px.
        generator: CPU generator.
        scale: Smallest and largest share of the area.
        ratio: Smallest and largest width over height.
        flip: Mirror half of the pictures.

    Returns:
        float32 `(T, C, size, size)` in [0, 1].
    """
    images = pixels.permute(0, 3, 1, 2)
    count, _, rows, columns = images.shape

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(count, generator=generator)

    area, aspect = draw(*scale), torch.exp(draw(math.log(ratio[0]), math.log(ratio[1])))
    width = ((area * aspect).sqrt() * columns).round().clamp(1, columns).int()
    height = ((area / aspect).sqrt() * rows).round().clamp(1, rows).int()
    left = (draw(0, 1) * (columns - width)).round().int()
    top = (draw(0, 1) * (rows - height)).round().int()
    mirror = torch.rand(count, generator=generator) < 0.5 if flip else torch.zeros(count, dtype=torch.bool)
    # Whole pixels and bytes: fast routines with antialiasing exist for these only.
    cuts = [
        F.interpolate(images[i : i + 1, :, y : y + h, x : x + w], (size, size), mode="bicubic", antialias=True)
        for i, (y, x, h, w) in enumerate(torch.stack([top, left, height, width], 1).tolist())
    ]
    cut = torch.cat(cuts)
    return torch.where(mirror[:, None, None, None], cut.flip(3), cut).float().div_(255)


def random_colours(images: Tensor, *, generator: torch.Generator, blur: float, solarise: float) -> Tensor:
    """Return pictures in [0, 1] in other light: brightness, contrast, saturation; some grey, blurred or solarised.

    Args:
        images: `(T, 3, H, W)`.
        generator: CPU generator.
        blur: Share that is blurred.
        solarise: Share whose bright pixels are inverted.

    Source: settings of iBOT and VisionFM, jitter (0.4, 0.4, 0.2) on 80 %, grey on 20 %. Deviation: hue is left alone, which in
    photographs of the retina is a sign.
    """
    shape = (len(images), 1, 1, 1)

    def chosen(share: float) -> Tensor:
        return torch.rand(shape, generator=generator) < share

    def factor(width: float) -> Tensor:
        return 1 + (torch.rand(shape, generator=generator) * 2 - 1) * width

    grey = images.mean(1, keepdim=True)
    bright, contrast, saturation = factor(0.4), factor(0.4), factor(0.2)
    lit = (images * bright).clamp(0, 1)
    lit = (lit - lit.mean((1, 2, 3), keepdim=True)) * contrast + lit.mean((1, 2, 3), keepdim=True)
    own = lit.mean(1, keepdim=True)
    lit = ((lit - own) * saturation + own).clamp(0, 1)
    x = torch.where(chosen(0.8), lit, images)
    x = torch.where(chosen(0.2), grey.expand_as(x), x)
    x = torch.where(chosen(blur), F.avg_pool2d(F.pad(x, (2, 2, 2, 2), mode="replicate"), 5, 1), x)
    inverted = torch.where(x >= 0.5, 1 - x, x)
    return torch.where(chosen(solarise), inverted, x)
