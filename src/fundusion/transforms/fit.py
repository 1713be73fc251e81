"""Cut and fit of released models: the foreground by brightness, and four ways to bring a picture to a square.

Source: rules read from the released code of FLAIR (corner, foreground), RetiZero (stretch) and CLIP (center); threshold of the foreground
Li and Tam 1998, doi:10.1016/S0167-8655(98)00057-9.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image as Pillow
from torch.nn import functional as F

from ..core.registry import ImageInput

_FILTERS = {"bilinear": Pillow.Resampling.BILINEAR, "bicubic": Pillow.Resampling.BICUBIC}


def li_threshold(plane: npt.NDArray[np.uint8]) -> float:
    """Return the brightness above which a pixel is foreground, by minimum cross entropy.

    Source: Li and Tam 1998, doi:10.1016/S0167-8655(98)00057-9, the iteration of section 2, started at the mean; it stops when a
    step is less than half the smallest difference of two brightnesses.

    Example:
        >>> plane = np.repeat(np.array([10, 12, 200, 210], np.uint8), 5).reshape(4, 5)
        >>> 12 < li_threshold(plane) < 200
        True
    """
    counts = np.bincount(plane.reshape(-1), minlength=256).astype(np.float64)
    levels = np.nonzero(counts)[0]
    if len(levels) < 2:
        return float(levels[0])
    low = levels[0]
    values, weights = (levels - low).astype(np.float64), counts[levels]
    tolerance = float(np.diff(levels).min()) / 2
    following = float((values * weights).sum() / weights.sum())
    current = -2 * tolerance
    while abs(following - current) > tolerance:
        current = following
        bright = values > current
        front = (values[bright] * weights[bright]).sum() / weights[bright].sum()
        behind = (values[~bright] * weights[~bright]).sum() / weights[~bright].sum()
        if behind == 0:
            break
        following = float((behind - front) / (np.log(behind) - np.log(front)))
    return following + float(low)


def foreground_box(pixels: npt.NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right) of the largest bright region of the red channel, the last row and column excluded.

    This is FLAIR's optional cut; its authors used it for MESSIDOR only. An even picture comes back whole.

    Args:
        pixels: `(H, W, 1 or 3)` uint8.

    Source: Silva-Rodriguez et al. 2025, doi:10.1016/j.media.2024.103357, released code.

    Example:
        >>> picture = np.zeros((20, 30, 3), np.uint8)
        >>> picture[4:12, 6:20, 0] = 90
        >>> foreground_box(picture)
        (4, 6, 12, 20)
    """
    red = np.ascontiguousarray(pixels[..., 0])
    bright = (red > li_threshold(red)).astype(np.uint8)
    count, _, found, _ = cv2.connectedComponentsWithStats(bright, connectivity=8)
    if count < 2:
        return 0, 0, pixels.shape[0], pixels.shape[1]
    left, top, width, height, _ = found[1 + int(found[1:, cv2.CC_STAT_AREA].argmax())]
    return int(top), int(left), int(top + height), int(left + width)


def fit_image(
    pixels: npt.NDArray[np.uint8],
    image_input: ImageInput,
    *,
    box: tuple[float, float, float, float] | None = None,
    full_shape: tuple[int, int] | None = None,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    """Return a picture brought to `size` as `image_input.fit` says, and the map of its pixels to the full picture.

    "corner" is computed in floating point, as its code does, so values need not be whole; the others are whole.

    Args:
        pixels: `(H, W, C)` uint8, perhaps reduced while it was decoded.
        image_input: "corner", "stretch", "center", or "square" with a `resample` of a released model.
        box: (top, left, bottom, right) that is kept, in edge coordinates of `pixels` whose frame starts at 0; None keeps all.
        full_shape: (height, width) of the full picture when `pixels` is reduced.

    Shapes:
        `(size, size, C)` float32 in [0, 255]; `(2, 3)` from (x, y, 1) of a pixel centre here to (x, y) there.
    """
    height, width = pixels.shape[:2]
    full = full_shape or (height, width)
    top, left, bottom, right = (0, 0, height, width) if box is None else _whole(box, (height, width))
    part = np.ascontiguousarray(pixels[top:bottom, left:right])
    ratio = (full[0] / height, full[1] / width)
    # The sides decide the size: those of the full picture, so that decoding at less does not round them differently.
    sides = ((bottom - top) * ratio[0], (right - left) * ratio[1])
    new, offset = _placed(sides, image_input)
    if image_input.fit == "corner":
        scaled = _float_resized(part, new)
    else:
        part, new, offset = _squared(part, new, offset, image_input)
        scaled = _whole_resized(part, new, image_input.resample)
    canvas = np.zeros((image_input.size, image_input.size, pixels.shape[2]), np.float32)
    rows, columns = (_overlap(offset[i], new[i], image_input.size) for i in range(2))
    canvas[rows[0], columns[0]] = scaled[rows[1], columns[1]]
    step = (part.shape[0] * ratio[0] / new[0], part.shape[1] * ratio[1] / new[1])
    # A square made before resizing begins outside of the cut.
    start = (
        top * ratio[0] - (part.shape[0] - (bottom - top)) // 2 * ratio[0],
        left * ratio[1] - (part.shape[1] - (right - left)) // 2 * ratio[1],
    )
    affine = np.array([
        [step[1], 0.0, start[1] + (0.5 - offset[1]) * step[1] - 0.5],
        [0.0, step[0], start[0] + (0.5 - offset[0]) * step[0] - 0.5],
    ])  # fmt: skip
    return canvas, affine


def _whole(box: tuple[float, float, float, float], shape: tuple[int, int]) -> tuple[int, int, int, int]:
    top, left = (max(0, int(np.floor(box[i] + 0.5))) for i in range(2))
    bottom, right = (min(shape[i], int(np.floor(box[i + 2] + 0.5))) for i in range(2))
    return top, left, max(bottom, top + 1), max(right, left + 1)


def _placed(sides: tuple[float, float], wanted: ImageInput) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (rows, columns) after resizing and where they begin on the canvas; negative when they are cut."""
    size = wanted.size
    if wanted.fit == "corner":
        scale = size / max(sides)
        return (max(1, int(sides[0] * scale)), max(1, int(sides[1] * scale))), (0, 0)
    if wanted.fit == "center":
        short = min(sides)
        # The shorter side is exact; the longer one is cut to whole pixels.
        new = tuple(size if s == short else int(size * s / short) for s in sides)
        return (new[0], new[1]), (-((new[0] - size) // 2), -((new[1] - size) // 2))
    return (size, size), (0, 0)


def _squared(
    part: npt.NDArray[np.uint8], new: tuple[int, int], offset: tuple[int, int], wanted: ImageInput
) -> tuple[npt.NDArray[np.uint8], tuple[int, int], tuple[int, int]]:
    """Return the part padded with black to a square when the fit is one; others come back as they are."""
    if wanted.fit != "square":
        return part, new, offset
    side = max(part.shape[:2])
    missing = [side - n for n in part.shape[:2]]
    before = [m // 2 for m in missing]
    padded: Any = np.pad(part, [*((b, m - b) for b, m in zip(before, missing, strict=True)), (0, 0)])
    return padded, new, offset


def _overlap(offset: int, length: int, size: int) -> tuple[slice, slice]:
    """Return where a stretch of a length that begins at an offset lies on a canvas, and which part of it."""
    begin, end = max(0, offset), min(size, offset + length)
    return slice(begin, end), slice(begin - offset, end - offset)


def _float_resized(part: npt.NDArray[np.uint8], new: tuple[int, int]) -> npt.NDArray[np.float32]:
    pixels = torch.from_numpy(part.astype(np.float32) / np.float32(255)).permute(2, 0, 1)[None]
    moved = F.interpolate(pixels, size=new, mode="bilinear", align_corners=False, antialias=True)
    return np.ascontiguousarray(moved[0].permute(1, 2, 0).numpy()) * np.float32(255)


def _whole_resized(part: npt.NDArray[np.uint8], new: tuple[int, int], resample: str) -> npt.NDArray[np.float32]:
    picture = Pillow.fromarray(part if part.shape[2] == 3 else part[..., 0])
    scaled = np.asarray(picture.resize((new[1], new[0]), _FILTERS[resample]))
    return (scaled if scaled.ndim == 3 else scaled[..., None]).astype(np.float32)
