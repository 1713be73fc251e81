"""Small dark spots of a photograph and what the first stages of a tower see of each: one row per place that may be a microaneurysm.

Pooled statistics of a whole map hide a few spots among vessels; a list of places does not. Which of them are lesions is learned by
what reads the list.

Source: candidates by a difference of local means before anything is classified, as in Baudoin et al. 1984 and after them
Niemeijer et al. 2005, doi:10.1109/TMI.2005.843738; here with box filters in the green channel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

#: Sides of the boxes of spot and surround, px, each applied twice; spots of three to six px stand out most.
_SPOT, _AROUND = 3, 7
#: A spot is the greatest within as many px, and as far from the border of the field at least.
_APART, _MARGIN = 9, 15
#: Least brightness of the field over the darkest place of the picture, in units of normalised pixels.
_FIELD = 0.3
_NOTHING = -9.0


def dark_spots(images: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return rows, columns and contrasts `(B, S)` of the spots that are darkest against what surrounds them.

    Where a picture has fewer, contrast is -9.

    Args:
        images: Normalised `(B, 3, H, W)`, red, green, blue.
        count: Of spots.

    Example:
        >>> picture = torch.ones(1, 3, 64, 64)
        >>> picture[:, :, 29:32, 40:43] = 0
        >>> picture[:, :, :2] = -2
        >>> rows, columns, contrast = dark_spots(picture, 2)
        >>> rows[0, 0].item(), columns[0, 0].item(), bool(contrast[0, 0] > 0.3)
        (30, 41, True)
    """
    images = images.float()
    contrast = _smooth(images[:, 1:2], _AROUND) - _smooth(images[:, 1:2], _SPOT)
    greatest = F.max_pool2d(contrast, _APART, 1, _APART // 2) == contrast
    light = images.mean(1, keepdim=True)
    bright = (light > light.amin((2, 3), keepdim=True) + _FIELD).float()
    inside = F.avg_pool2d(bright, _MARGIN, 1, _MARGIN // 2) > 0.99
    contrast = contrast.masked_fill(~(greatest & inside), _NOTHING)
    values, places = contrast.flatten(1).topk(min(count, contrast[0].numel()), 1)
    return places // images.shape[-1], places % images.shape[-1], values


def spot_features(images: Tensor, maps: list[Tensor], count: int) -> Tensor:
    """Return features `(B, S, F)` of the dark spots: of each map the greatest around the place, its colour and its contrast.

    Args:
        images: Normalised `(B, 3, H, W)`.
        maps: Of the same pictures, `(B, C, H/k, W/k)`; the finest is maximised over three by three places.
        count: Of spots; rows of pictures with fewer are zero.
    """
    rows, columns, contrast = dark_spots(images, count)
    finest = F.max_pool2d(maps[0].float(), 3, 1, 1)
    found = [_at(m, rows, columns, images.shape[-2:]) for m in (finest, *maps[1:], images)]
    features = torch.cat([*found, contrast[..., None]], -1)
    return features * (contrast > _NOTHING)[..., None]


def _smooth(one: Tensor, side: int) -> Tensor:
    for _ in range(2):
        one = F.avg_pool2d(one, side, 1, side // 2, count_include_pad=False)
    return one


def _at(maps: Tensor, rows: Tensor, columns: Tensor, size: torch.Size) -> Tensor:
    """Return `(B, S, C)` of a map at places of the picture."""
    height, width = maps.shape[-2:]
    places = rows * height // size[0] * width + columns * width // size[1]
    return maps.float().flatten(2).gather(2, places[:, None].expand(-1, maps.shape[1], -1)).transpose(1, 2)
