"""The place of the fovea in a photograph whose disc is known: dark, without vessels, two and a half disc diameters temporal of the disc."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .optic_disc import Disc

#: One standard error of a place that was found, along each axis, in disc diameters: benchmarks/reproduce/foveas.py.
ERROR_DD = 0.1
#: Pixels of a disc diameter in the picture that is searched.
_UNIT = 24.0
#: How far around the disc the picture is looked at, up and down and to the sides, in disc diameters.
_REACH = (4.5, 6.0)
#: Where foveas lie: distance in disc diameters and angle below the horizontal in degrees, mean and spread.
_DISTANCE, _ANGLE = (2.5, 0.35), (7.0, 6.0)
#: Distances and angles that are searched.
_DISTANCES, _ANGLES = np.arange(1.5, 3.61, 0.03), np.arange(-18.0, 32.1, 0.75)
#: A fovea is darker than the median of what is searched by this many robust standard deviations, and than its surroundings by this share.
_LEAST_DARK, _LEAST_SHARE = 1.0, 0.02
#: Least share of the places, by how likely they are, that the field must show.
_LEAST_SEEN = 0.6
#: Weight of a lack of vessels beside that of darkness; neither counts beyond this many deviations.
_VESSELS, _MOST = 0.7, 6.0
#: A disc this near to the middle of the field, as a share of its width, does not tell on which side the fovea lies.
_MIDDLE = 0.1

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFovea:
    """A place that was found in the picture, not stated by anyone.

    Args:
        center: (row, col).
        darkness: By how many robust standard deviations it is darker than where else a fovea may lie.
    """

    center: tuple[float, float]
    darkness: float


def find_fovea(
    pixels: npt.NDArray[np.uint8],
    disc: Disc,
    *,
    vessels: Bools | None = None,
    field: Bools | None = None,
    nasal: float | None = None,
) -> FoundFovea | str:
    """Return the fovea of a colour photograph, or the code of the reason why it was not found.

    Among the places where foveas lie, seen from the disc, the darkest one with the fewest vessels is taken; darkness is that of red and green against a wider
    neighbourhood, with vessels and disc left out of both.

    Args:
        pixels: `(H, W, 3)` uint8.
        disc: Optic disc in the same frame.
        vessels: `(H, W)`; without them more depends on darkness.
        field: `(H, W)` what the camera shows; the whole picture when None.
        nasal: +1 where nasal is to the right, -1 to the left. None takes the side of the disc on which there is more field, and none where the
            disc lies in its middle (`fovea.side`).

    Source:
        Dark avascular place 2.5 disc diameters temporal of the disc: Sinthanayothin et al. 1999, doi:10.1136/bjo.83.8.902; distance and angle of foveas: Jonas et al.
        2015, doi:10.1371/journal.pone.0138701 and doi:10.1371/journal.pone.0141771.

    Example:
        >>> rows, cols = np.ogrid[:300, :400]
        >>> disc = Disc(center=(140.0, 80.0), diameter_px=60.0, height_px=60.0, width_px=60.0, long_px=60.0, short_px=60.0, tilt_deg=0.0, area_px=2827)
        >>> spot = np.exp(-((rows - 160) ** 2 + (cols - 230) ** 2) / 400)
        >>> pixels = np.repeat((200 - 90 * spot)[..., None], 3, axis=2).astype(np.uint8)
        >>> [round(v / 5) * 5 for v in find_fovea(pixels, disc, nasal=-1.0).center]
        [160, 230]
        >>> find_fovea(np.full_like(pixels, 200), disc, nasal=-1.0)
        'fovea.unsure'
    """
    seen = np.ones(pixels.shape[:2], np.bool_) if field is None else field
    side = _side(disc, seen) if nasal is None else -math.copysign(1.0, nasal)
    if not side:
        return "fovea.side"
    maps = _maps(pixels, disc, vessels, seen)
    distance, angle = np.meshgrid(_DISTANCES, np.radians(_ANGLES), indexing="ij")
    rows = (maps.disc[0] + distance * _UNIT * np.sin(angle)).astype(np.float32)
    cols = (maps.disc[1] + side * distance * _UNIT * np.cos(angle)).astype(np.float32)
    likely = -0.5 * ((distance - _DISTANCE[0]) / _DISTANCE[1]) ** 2
    likely -= 0.5 * ((np.degrees(angle) - _ANGLE[0]) / _ANGLE[1]) ** 2
    visible = _at(maps.inside, rows, cols) > 0.5
    odds = np.exp(likely) * distance
    if odds[visible].sum() < _LEAST_SEEN * odds.sum():
        return "fovea.outside"
    share = _at(maps.dark, rows, cols)
    dark, crossed = _deviations(share, visible), _deviations(_at(maps.crossed, rows, cols), visible)
    best = np.unravel_index(int(np.argmax(np.where(visible, dark - _VESSELS * crossed + likely, -np.inf))), dark.shape)
    if dark[best] < _LEAST_DARK or share[best] < _LEAST_SHARE:
        return "fovea.unsure"
    row, col = (
        (float(v[best]) + 0.5) / s - 0.5 + c for v, s, c in zip((rows, cols), maps.step, maps.corner, strict=True)
    )
    return FoundFovea(center=(row, col), darkness=float(dark[best]))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maps:
    """The surroundings of a disc that is `_UNIT` px wide: what the field shows, darkness, share of vessels; where the disc lies in them.

    Args:
        inside: 1 in the field, 0 elsewhere.
        dark: How much darker than a wider neighbourhood, natural logarithm.
        crossed: Share of vessels.
        disc: (row, col).
        step: Pixels for one of the photograph, down and across.
        corner: First row and column of the photograph.
    """

    inside: Floats
    dark: Floats
    crossed: Floats
    disc: tuple[float, float]
    step: tuple[float, float]
    corner: tuple[int, int]


def _maps(pixels: npt.NDArray[np.uint8], disc: Disc, vessels: Bools | None, field: Bools) -> _Maps:
    low = [max(math.floor(c - r * disc.diameter_px), 0) for c, r in zip(disc.center, _REACH, strict=True)]
    high = [math.ceil(c + r * disc.diameter_px) for c, r in zip(disc.center, _REACH, strict=True)]
    window = slice(low[0], high[0]), slice(low[1], high[1])
    shape = field[window].shape
    height, width = (max(round(side * _UNIT / disc.diameter_px), 1) for side in shape)

    def small(values: npt.NDArray[Any]) -> Floats:
        return np.asarray(cv2.resize(values[window], (width, height), interpolation=cv2.INTER_AREA), np.float32)

    seen = (small(field.astype(np.float32)) > 0.99).astype(np.float32)
    inside = np.asarray(
        cv2.erode(seen, np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0), np.float32
    )
    lines = np.zeros_like(inside) if vessels is None else small(vessels.astype(np.float32))
    step = height / shape[0], width / shape[1]
    row, col = ((c - first + 0.5) * s - 0.5 for c, first, s in zip(disc.center, low, step, strict=True))
    rows, cols = np.indices(inside.shape, dtype=np.float32)
    beyond = np.hypot(rows - row, cols - col) > 0.75 * _UNIT
    colors = small(pixels)
    light = np.log1p(0.3 * colors[..., 0] + 0.7 * colors[..., 1])
    weight = (inside * np.clip(1 - 3 * lines, 0, 1) * beyond).astype(np.float32)
    dark = _mean(light, weight, 0.8) - _mean(light, weight, 0.22)
    crossed = _mean(lines, inside, 0.3)
    return _Maps(inside=inside, dark=dark, crossed=crossed, disc=(row, col), step=step, corner=(low[0], low[1]))


def _at(values: Floats, rows: Floats, cols: Floats) -> Floats:
    """Return a map at places; 0 outside of it."""
    return np.asarray(cv2.remap(values, cols, rows, cv2.INTER_LINEAR, borderValue=0), np.float32)


def _side(disc: Disc, field: Bools) -> float:
    """Return +1 where the fovea lies to the right of the disc, -1 to the left, 0 where that cannot be told."""
    columns = np.flatnonzero(field.any(axis=0))
    if not len(columns):
        return 0.0
    low, high = float(columns[0]), float(columns[-1])
    off = (disc.center[1] - (low + high) / 2) / max(high - low, 1.0)
    return 0.0 if abs(off) < _MIDDLE else -math.copysign(1.0, off)


def _mean(values: Floats, weight: Floats, sigma_dd: float) -> Floats:
    """Return weighted means over a neighbourhood; sigma in disc diameters."""
    sigma = sigma_dd * _UNIT
    total = cv2.GaussianBlur(weight, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(
        cv2.GaussianBlur(values * weight, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) / np.maximum(total, 1e-3),
        np.float32,
    )


def _deviations(values: Floats, visible: Bools) -> Floats:
    """Return robust standard deviations from the median of what is visible."""
    middle = float(np.median(values[visible]))
    spread = 1.4826 * float(np.median(np.abs(values[visible] - middle)))
    return np.asarray(np.clip((values - middle) / (spread + 1e-6), -_MOST, _MOST), np.float32)
