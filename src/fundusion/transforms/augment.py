"""Random geometry and colour of photographs, on whole batches of tensors."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(
    pixels: Tensor, size: int, *, generator: torch.Generator, strength: float = 1.0, flip: bool = True
) -> Tensor:
    """Return differently cut, turned and lit versions of images.

    One affine resampling (rotation, scale, aspect, shift, mirror) serves as resize too, so small detail is
    interpolated once. Colour: contrast about the mean, gamma, channel gains; then blur or sharpening.

    Args:
        pixels: uint8 `(T, H, W, C)`.
        size: Side of the result, px.
        generator: CPU generator.
        strength: 0 resizes only; 1 is for training from scratch.
        flip: Mirror half of the images; wrong where left and right differ in meaning.

    Returns:
        float32 `(T, C, size, size)` in [0, 1.2], not normalised.
    """
    images = pixels.permute(0, 3, 1, 2).float() / 255
    count, channels = images.shape[:2]
    theta = _affine(count, strength, flip, generator).to(images.device)
    grid = F.affine_grid(theta, [count, channels, size, size], align_corners=False)
    images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    if strength <= 0:
        return images
    contrast = _spread((count, 1, 1, 1), 0.3 * strength, generator).to(images.device)
    gamma = _spread((count, 1, 1, 1), 0.3 * strength, generator).to(images.device)
    gain = _spread((count, channels, 1, 1), 0.15 * strength, generator).to(images.device)
    mean = images.mean((2, 3), keepdim=True)
    images = ((images - mean) * contrast + mean).clamp(1e-4, 1.0) ** gamma * gain
    sharpen = (torch.rand((count, 1, 1, 1), generator=generator) * 1.2 - 0.5).to(images.device) * strength
    images = images + sharpen * (images - F.avg_pool2d(images, 5, 1, 2))
    return images.clamp(0.0, 1.2)


def _spread(shape: tuple[int, ...], width: float, generator: torch.Generator) -> Tensor:
    return torch.exp((torch.rand(shape, generator=generator) * 2 - 1) * width)


def _affine(count: int, strength: float, flip: bool, generator: torch.Generator) -> Tensor:
    def uniform(width: float) -> Tensor:
        return (torch.rand(count, generator=generator) * 2 - 1) * width * strength

    angle = uniform(math.pi / 9)
    scale = torch.exp(uniform(0.175))
    aspect = torch.exp(uniform(0.05))
    mirror = torch.ones(count)
    if flip:
        mirror = (torch.rand(count, generator=generator) < 0.5).float() * 2 - 1
    shift_x, shift_y = uniform(0.05), uniform(0.05)
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    top = torch.stack([cos * mirror * aspect, -sin, shift_x], 1)
    bottom = torch.stack([sin * mirror, cos / aspect, shift_y], 1)
    return torch.stack([top, bottom], 1)
