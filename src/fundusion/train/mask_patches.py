"""Random patches of pictures and masks: one affine resampling, drawn from a generator."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from .mask_data import UNKNOWN, MaskData


def cut_patches(
    data: MaskData,
    rows: npt.NDArray[np.int64],
    size: int,
    *,
    generator: np.random.Generator,
    centred: float,
    zoom: float,
    turn: float,
    detail: float = 1.0,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Return images `(B, 3, P, P)` in [0, 1], shares `(B, K, P, P)` and which are known.

    Args:
        data: Pictures and masks.
        rows: Picture of each patch.
        size: Side of a patch, px.
        generator: Decides everything.
        centred: Share of patches around a pixel of a structure; the others lie anywhere in the picture.
        zoom: Greatest factor of size, up or down.
        turn: Greatest angle, degrees; mirrors go with it when it is above 0.
        detail: Least share of the resolution that half of the patches keep, so that a picture's sharpness says nothing; 1 keeps all.
    """
    if zoom < 1:
        raise InvalidInput(f"zoom is a factor of at least 1, got {zoom}.")
    if not 0 < detail <= 1:
        raise InvalidInput(f"detail is a share above 0 and at most 1, got {detail}.")
    count, structures = len(rows), data.masks.shape[1]
    images = np.empty((count, 3, size, size), np.float32)
    target = np.empty((count, structures, size, size), np.float32)
    known = np.empty((count, structures, size, size), np.bool_)
    side, flags = data.masks.shape[2], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    for i, row in enumerate(rows):
        places = [data.places(row, k) for k in range(structures)]
        affine = _affine(places, side, size, generator=generator, centred=centred, zoom=zoom, turn=turn)
        # The whole picture is some thirty times what a patch sees.
        inside, affine = _window(affine, size, side)
        warped = cv2.warpAffine(data.pixels[row][inside], affine, (size, size), flags=flags)
        if detail < 1 and generator.random() < 0.5:
            warped = _coarser(warped, generator.uniform(detail, 1))
        images[i] = warped.transpose(2, 0, 1).astype(np.float32) / 255
        for k in range(structures):
            if places[k] is None:
                target[i, k], known[i, k] = 0, False
                continue
            mask = data.masks[row, k][inside]
            unknown = mask == UNKNOWN
            target[i, k] = (
                cv2.warpAffine(np.where(unknown, 0, mask), affine, (size, size), flags=flags).astype(np.float32) / 254
            )
            known[i, k] = True
            if unknown.any():
                hidden = cv2.warpAffine(unknown.astype(np.uint8) * 255, affine, (size, size), flags=flags)
                known[i, k] = hidden == 0
    return images, target, known


def _coarser(pixels: npt.NDArray[np.uint8], share: float) -> npt.NDArray[np.uint8]:
    """Return a patch as a camera of fewer pixels sees it, enlarged again."""
    size = pixels.shape[0]
    small = max(1, round(size * share))
    fewer = cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(fewer, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def _window(
    affine: npt.NDArray[np.float64], size: int, side: int
) -> tuple[tuple[slice, slice], npt.NDArray[np.float64]]:
    """Return the part of the picture that a patch sees, one pixel more on each side, and the map into that part."""
    corners = affine @ np.array([[0, size - 1, 0, size - 1], [0, 0, size - 1, size - 1], [1, 1, 1, 1]])
    low = np.clip(np.floor(corners.min(1)).astype(int) - 1, 0, side - 2)
    high = np.clip(np.ceil(corners.max(1)).astype(int) + 2, low + 2, side)
    moved = affine.copy()
    moved[:, 2] -= low
    return (slice(low[1], high[1]), slice(low[0], high[0])), moved


def _affine(
    places: Sequence[npt.NDArray[np.int32] | None],
    side: int,
    size: int,
    *,
    generator: np.random.Generator,
    centred: float,
    zoom: float,
    turn: float,
) -> npt.NDArray[np.float64]:
    """Return the map from (x, y) of the patch to (x, y) of the picture."""
    scale = math.exp(generator.uniform(-1, 1) * math.log(zoom))
    angle = math.radians(generator.uniform(-turn, turn))
    mirror = -1.0 if turn > 0 and generator.random() < 0.5 else 1.0
    half = size * scale / 2
    # A patch as large as the picture may move a little all the same.
    slack = max(side / 2 - half * 0.8, 0.05 * side)
    middle = (side - 1) / 2 + generator.uniform(-slack, slack, 2)
    if generator.random() < centred:
        middle = _near_a_structure(places, side, middle, generator) + generator.uniform(-half / 2, half / 2, 2)
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    linear = np.array([[cos * mirror, -sin], [sin * mirror, cos]])
    shift = middle - linear @ np.full(2, (size - 1) / 2)
    return np.column_stack([linear, shift])


def _near_a_structure(
    places: Sequence[npt.NDArray[np.int32] | None],
    side: int,
    otherwise: npt.NDArray[np.float64],
    generator: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Return (x, y) of a pixel of a structure, each structure that is there as likely as the others."""
    there = [p for p in places if p is not None and len(p)]
    if not there:
        return otherwise
    found = there[generator.integers(len(there))]
    row, column = divmod(int(found[generator.integers(len(found))]), side)
    return np.array([column, row], np.float64)
