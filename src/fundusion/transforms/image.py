"""Pixels as an encoder wants them: cut to the field, padded to a square, scaled once; and the way back for overlays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from ..core.errors import InvalidInput
from ..core.registry import ImageInput
from .enhance import enhance
from .field_of_view import FieldOfView, find_field_of_view
from .fit import fit_image, foreground_box

#: Changes whenever the same photograph would give other pixels; caches and provenance carry it.
VERSION = 3

#: Pictures of fewer pixels are small enough for the slower resampling, the one that version 1 used for all.
WHOLE_PX = 1_500_000
#: Pixels per wanted pixel from which a picture is made twice as large first.
_MUCH = 4.8

Plane = TypeVar("Plane")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedImage:
    """A square picture for an encoder.

    Args:
        pixels: `(S, S, C)` uint8.
        to_original: float64 `(2, 3)`; maps (x, y, 1) of a pixel centre here to (x, y) in the picture it came from.
    """

    pixels: npt.NDArray[np.uint8]
    to_original: npt.NDArray[np.float64]


def prepare(
    pixels: npt.NDArray[np.uint8],
    image_input: ImageInput,
    *,
    field: FieldOfView | None = None,
    reduction: int = 1,
    full_shape: tuple[int, int] | None = None,
) -> PreparedImage:
    """Return a photograph cut and fitted as an encoder wants: by default to its field of view, padded with black to a square.

    The cut stays fractional: whole-pixel blocks are averaged first while at least three times the wanted size remains, then
    one antialiased resampling does the rest, so that no rounding shifts the picture. A large picture, or one that was reduced while it
    was decoded, is blurred as much as the average of an area asks for and interpolated.

    Args:
        pixels: `(H, W, C)` uint8, C 1 or 3.
        image_input: What the encoder wants.
        field: Field of view already found, in coordinates of the full picture; None searches it when the encoder wants the cut.
        reduction: Full-resolution pixels per pixel, when the picture was reduced while it was decoded.
        full_shape: (height, width) of the full picture; needed with a reduction.

    Raises:
        InvalidInput: Another shape or type.

    Example:
        >>> ready = prepare(np.full((40, 60, 1), 7, np.uint8), ImageInput(size=32, crop="none"))
        >>> ready.pixels.shape, int(ready.pixels[16, 16, 0]), int(ready.pixels[0, 0, 0])
        ((32, 32, 3), 7, 0)
    """
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        shape = getattr(pixels, "shape", type(pixels).__name__)
        raise InvalidInput(f"expected pixels of shape (H, W, 1 or 3), got {shape}.", code="image.shape")
    if pixels.dtype != np.uint8:
        raise InvalidInput(f"expected uint8 pixels, got {pixels.dtype}.", code="image.dtype")
    height, width = full_shape if reduction > 1 and full_shape else pixels.shape[:2]
    box = _kept(pixels, image_input, field, reduction, (height, width))
    if image_input.fit != "square" or image_input.resample != "area":
        fitted, affine = _fitted(pixels, image_input, box, (height, width))
        return PreparedImage(
            pixels=_with_channels(np.rint(fitted).astype(np.uint8), image_input.channels), to_original=affine
        )
    top, left, bottom, right = box
    side = max(bottom - top, right - left, 1.0)
    # Corner of the padded square in edge coordinates, where the frame starts at 0.
    square = ((left + right - side) / 2 + 0.5, (top + bottom - side) / 2 + 0.5)
    seen = (left + 0.5, top + 0.5, right + 0.5, bottom + 0.5)
    if reduction > 1 or height * width > WHOLE_PX:
        scaled = _resample_reduced(pixels, square, (height, width), side=side, size=image_input.size, factor=reduction)
    else:
        scaled = _resample(pixels, square, seen, side=side, size=image_input.size)
    step = side / image_input.size
    shift = step / 2 - 0.5
    to_original = np.array([[step, 0.0, square[0] + shift], [0.0, step, square[1] + shift]])
    if image_input.enhance != "none":
        scaled = enhance(_with_channels(scaled, 3), image_input.enhance)
    return PreparedImage(pixels=_with_channels(scaled, image_input.channels), to_original=to_original)


def model_input(pixels: npt.NDArray[np.uint8], image_input: ImageInput) -> npt.NDArray[np.float32]:
    """Return a photograph as one normalised input `(C, S, S)`, with no rounding that the released code does not do.

    `prepare` keeps 8 bits, so that pictures can be stored and shown; for a fit of "corner" the two differ by at most half a level.

    Args:
        pixels: `(H, W, 1 or 3)` uint8.
        image_input: What the model wants.

    Example:
        >>> wanted = ImageInput(size=32, mean=(0.0,) * 3, std=(1.0,) * 3, crop="none", fit="corner", resample="bilinear")
        >>> [round(float(v), 4) for v in model_input(np.full((40, 64, 3), 51, np.uint8), wanted)[0, [0, 19, 20], 0]]
        [0.2, 0.2, 0.0]
    """
    if image_input.fit != "corner":
        return normalise(prepare(pixels, image_input).pixels[None], image_input)[0]
    shape = pixels.shape[0], pixels.shape[1]
    fitted, _ = _fitted(pixels, image_input, _kept(pixels, image_input, None, 1, shape), shape)
    if fitted.shape[2] != image_input.channels:
        fitted = (
            np.repeat(fitted, 3, 2)
            if image_input.channels == 3
            else cv2.cvtColor(fitted, cv2.COLOR_RGB2GRAY)[..., None]
        )
    mean, std = np.array(image_input.mean, np.float32), np.array(image_input.std, np.float32)
    return np.ascontiguousarray(((fitted / np.float32(255) - mean) / std).transpose(2, 0, 1))


def _kept(
    pixels: npt.NDArray[np.uint8],
    image_input: ImageInput,
    field: FieldOfView | None,
    reduction: int,
    shape: tuple[int, int],
) -> tuple[float, float, float, float]:
    """Return (top, left, bottom, right) that is kept, of the full picture, whose frame starts at -0.5."""
    if image_input.crop == "field_of_view":
        found = field or find_field_of_view(pixels).scaled(reduction, shape)
        if found.kind != "none":
            return found.box
    if image_input.crop == "foreground":
        top, left, bottom, right = (v * reduction - 0.5 for v in foreground_box(pixels))
        return top, left, min(bottom, shape[0] - 0.5), min(right, shape[1] - 0.5)
    return -0.5, -0.5, shape[0] - 0.5, shape[1] - 0.5


def _fitted(
    pixels: npt.NDArray[np.uint8],
    image_input: ImageInput,
    box: tuple[float, float, float, float],
    full_shape: tuple[int, int],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
    ratio = [pixels.shape[i % 2] / full_shape[i % 2] for i in range(4)]
    top, left, bottom, right = ((v + 0.5) * r for v, r in zip(box, ratio, strict=True))
    return fit_image(pixels, image_input, box=(top, left, bottom, right), full_shape=full_shape)


def normalise(batch: npt.NDArray[np.uint8], image_input: ImageInput) -> npt.NDArray[np.float32]:
    """Return `(T, H, W, C)` uint8 as float32 `(T, C, H, W)` of the mean and deviation an encoder wants.

    Raises:
        InvalidInput: Another shape or type.

    Example:
        >>> wanted = ImageInput(size=16, mean=(0.5,), std=(0.25,), channels=1)
        >>> float(normalise(np.full((1, 16, 16, 1), 255, np.uint8), wanted)[0, 0, 0, 0])
        2.0
    """
    if batch.ndim != 4 or batch.shape[3] != image_input.channels or batch.dtype != np.uint8:
        raise InvalidInput(
            f"expected uint8 of shape (T, H, W, {image_input.channels}), got {batch.dtype} {batch.shape}.",
            code="image.shape",
        )
    mean, std = np.array(image_input.mean, np.float32), np.array(image_input.std, np.float32)
    scaled = (batch.astype(np.float32) / np.float32(255) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def map_to_original(
    heatmap: npt.NDArray[np.floating], prepared: PreparedImage, shape: tuple[int, ...]
) -> npt.NDArray[np.float32]:
    """Return a map over a prepared picture as `(H, W)` over the picture it came from; zero where it was not seen.

    Args:
        heatmap: `(h, w)` of any resolution that covers the whole prepared square.
        prepared: The picture the map belongs to.
        shape: `(H, W, ...)` of the original.

    Raises:
        InvalidInput: The map is not `(h, w)` or not finite.

    Example:
        >>> ready = prepare(np.full((40, 60, 3), 9, np.uint8), ImageInput(size=32, crop="none"))
        >>> map_to_original(np.ones((7, 7)), ready, (40, 60)).shape
        (40, 60)
    """
    if heatmap.ndim != 2 or 0 in heatmap.shape or not np.isfinite(heatmap).all():
        raise InvalidInput(f"expected a finite map of shape (h, w), got {heatmap.shape}.", code="explain.map")
    size = prepared.pixels.shape[0]
    full = cv2.resize(np.ascontiguousarray(heatmap, np.float32), (size, size), interpolation=cv2.INTER_LINEAR)
    height, width = shape[:2]
    # The rim of the square is repeated outwards by one pixel, so that pixels between the last centre and the edge of
    # the square are not darkened; what lies beyond stays zero.
    framed = cv2.copyMakeBorder(full, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    affine = np.array(prepared.to_original, np.float64)
    affine[:, 2] -= affine[:, :2].sum(axis=1)
    return cv2.warpAffine(framed, affine, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def select_frames(planes: Sequence[Plane], max_frames: int) -> list[Plane]:
    """Return at most `max_frames` planes, spread evenly over a volume and in order.

    Each is the middle of one of `max_frames` equal stretches, so one frame is the middle one.

    Raises:
        InvalidInput: `max_frames` is less than one.

    Example:
        >>> select_frames(range(19), 3), select_frames(range(2), 9), select_frames(range(5), 1)
        ([3, 9, 15], [0, 1], [2])
    """
    if max_frames < 1:
        raise InvalidInput(f"max_frames must be at least 1, got {max_frames}.")
    count = len(planes)
    if count <= max_frames:
        return list(planes)
    return [planes[int((i + 0.5) * count / max_frames)] for i in range(max_frames)]


def preprocessing_signature(image_input: ImageInput) -> str:
    """Return a stable text of everything that decides the pixels an encoder sees.

    Example:
        >>> preprocessing_signature(ImageInput(size=64, mean=(0.5,), std=(0.25,), channels=1))
        'prepare-3 size=64 crop=field_of_view channels=1 mean=0.5 std=0.25 max_frames=9 enhance=none'
    """
    mean, std = (",".join(f"{v:.6g}" for v in values) for values in (image_input.mean, image_input.std))
    words = (
        f"prepare-{VERSION} size={image_input.size} crop={image_input.crop} channels={image_input.channels} "
        f"mean={mean} std={std} max_frames={image_input.max_frames} enhance={image_input.enhance}"
    )
    if image_input.fit != "square" or image_input.resample != "area":
        words += f" fit={image_input.fit} resample={image_input.resample}"
    return words


def _resample(
    pixels: npt.NDArray[np.uint8],
    square: tuple[float, float],
    seen: tuple[float, float, float, float],
    *,
    side: float,
    size: int,
) -> npt.NDArray[np.uint8]:
    """Return the square `(x, y)` .. `+ side` scaled to `size`; all coordinates are edges of full-resolution pixels."""
    factor = max(1, int(side / (3 * size)))
    height, width = pixels.shape[:2]
    # Whole blocks that cover what is seen; blocks start at multiples of the factor, whatever the cut is.
    first = [max(0, math.floor(seen[i] / factor)) for i in range(2)]
    last = [min(math.ceil(limit / factor), math.ceil(seen[i + 2] / factor)) for i, limit in enumerate((width, height))]
    last = [max(last[i], first[i] + 1) for i in range(2)]
    part = pixels[first[1] * factor : last[1] * factor, first[0] * factor : last[0] * factor]
    missing = [(last[i] - first[i]) * factor - part.shape[1 - i] for i in range(2)]
    if any(missing):
        part = cv2.copyMakeBorder(part, 0, missing[1], 0, missing[0], cv2.BORDER_REPLICATE)
    if factor > 1:
        blocks = (last[0] - first[0], last[1] - first[1])
        part = cv2.resize(part, blocks, interpolation=cv2.INTER_AREA)
    # What lies outside the picture is black.
    corner = [square[i] / factor - first[i] for i in range(2)]
    before = [max(0, math.ceil(-c)) for c in corner]
    extent = side / factor
    after = [max(0, math.ceil(corner[i] + extent - part.shape[1 - i] - 1e-9)) for i in range(2)]
    if any(before) or any(after):
        part = cv2.copyMakeBorder(part, before[1], after[1], before[0], after[0], cv2.BORDER_CONSTANT, value=0)
    x, y = corner[0] + before[0], corner[1] + before[1]
    box = (x, y, min(x + extent, part.shape[1]), min(y + extent, part.shape[0]))
    picture = Pillow.fromarray(np.ascontiguousarray(part if part.ndim == 2 or part.shape[2] == 3 else part[..., 0]))
    scaled = np.asarray(picture.resize((size, size), Pillow.Resampling.HAMMING if extent >= size else
                                       Pillow.Resampling.BICUBIC, box=box))  # fmt: skip
    return scaled if scaled.ndim == 3 else scaled[..., None]


def _resample_reduced(
    pixels: npt.NDArray[np.uint8],
    square: tuple[float, float],
    full_shape: tuple[int, int],
    *,
    side: float,
    size: int,
    factor: int,
) -> npt.NDArray[np.uint8]:
    """Return the square scaled to `size` from a picture whose pixel i covers `i * factor` to `(i + 1) * factor`.

    `square` and `side` are edges of full-resolution pixels. Whole blocks are averaged while more than 1.2 pixels per wanted pixel remain.
    The rest is one linear interpolation of a picture that was blurred so much that both together blur as the average of an area does.
    Of a picture that is much larger than wanted four times as many pixels are made, and averaged.
    """
    if side > _MUCH * factor * size:
        return _block_means(_resample_reduced(pixels, square, full_shape, side=side, size=2 * size, factor=factor), 2)
    blocks = int(side / (factor * size) / 1.2)
    if blocks > 1:
        pixels = _block_means(pixels, blocks)
        factor *= blocks
    step = side / (factor * size)
    corner = [c / factor for c in square]
    first = [max(0, math.floor(c) - 2) for c in corner]
    last = [math.ceil(c + side / factor) + 2 for c in corner]
    part = pixels[first[1] : last[1], first[0] : last[0]]
    # Variance of a blur in squared pixels of `part`: the average of an area has step^2 / 12, of which its own pixels have 1 / 12 and
    # interpolation has 1 / 6, taken over all places between two pixels.
    missing = (step * step - 1) / 12 - 1 / 6
    if missing > 0.02:
        weights = np.array([missing / 2, 1 - missing, missing / 2], np.float32)
        part = cv2.sepFilter2D(part, -1, weights, weights, borderType=cv2.BORDER_REPLICATE)
    shift = [corner[i] - first[i] + step / 2 - 0.5 for i in range(2)]
    # The picture is continued beyond the frame, and what lies there is made black afterwards: so the frame ends sharply.
    sampled = cv2.warpAffine(
        part,
        np.array([[step, 0.0, shift[0]], [0.0, step, shift[1]]]),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if missing < -0.02:
        a = -missing / (2 * step * step)
        kernel = np.array([[0, -a, 0], [-a, 1 + 4 * a, -a], [0, -a, 0]], np.float32)
        sampled = cv2.filter2D(sampled, -1, kernel, borderType=cv2.BORDER_REPLICATE)
    sampled = sampled if sampled.ndim == 3 else sampled[..., None]
    for axis in range(2):
        start, stop = (size / side * (edge - square[1 - axis]) for edge in (0, full_shape[axis]))
        _blacken(np.moveaxis(sampled, axis, 0), start, stop)
    return sampled


def _blacken(rows: npt.NDArray[np.uint8], start: float, stop: float) -> None:
    """Make rows outside `start` to `stop` (edges) black, in place; a row of which a share is inside keeps that share."""
    first, last = max(0, math.floor(start)), min(len(rows), math.ceil(stop))
    rows[:first] = 0
    rows[last:] = 0
    for row, share in ((first, first + 1 - start), (last - 1, stop - last + 1)):
        if share < 0.999:
            rows[row] = np.rint(rows[row] * np.float32(share))


def _block_means(pixels: npt.NDArray[np.uint8], factor: int) -> npt.NDArray[np.uint8]:
    """Return means of blocks; the rim is continued so that every block is whole."""
    missing = [-n % factor for n in pixels.shape[:2]]
    if any(missing):
        pixels = cv2.copyMakeBorder(pixels, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
    size = pixels.shape[1] // factor, pixels.shape[0] // factor
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _with_channels(pixels: npt.NDArray[np.uint8], channels: int) -> npt.NDArray[np.uint8]:
    if pixels.shape[2] == channels:
        return np.ascontiguousarray(pixels)
    if channels == 3:
        return np.repeat(pixels, 3, axis=2)
    return cv2.cvtColor(np.ascontiguousarray(pixels), cv2.COLOR_RGB2GRAY)[..., None]
