"""On which side of a photograph the optic disc lies, or no answer where that is not plain.

In a photograph that is not mirrored the disc of a right eye lies right of the middle and that of a left eye left of it, unless the
picture is centred on the disc or shows another field. Two signs are looked for apart from each other: a bright spot of the size
of a disc, and thin dark lines that run upright, as the great vessels do where they leave it. Only where both have
their peak in one place, and both are plainly weaker on the other side, is there an answer.

Measured with the thresholds below on photographs whose file names tell the eye: see `MEASURED`.

Source:
    Vessels that run upright mark the disc: Mahfouz and Fahmy 2010, doi:10.1109/TIP.2010.2050647. Here by morphological
    closing with lines, which a glare or a dark rim does not imitate; the thresholds are our own.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..core.vocabulary import Laterality
from .picture import Pixels

#: What the detector was measured to do: set, pictures, share with an answer, share of answers that name the right eye.
#: Pictures centred on the disc (all 20 of CHASE_DB1) get none.
MEASURED: tuple[tuple[str, int, float, float], ...] = (
    ("ODIR", 4291, 0.762, 0.9966),
    ("IDRiD segmentation", 51, 0.765, 1.0),
)

_SIDE = 128
#: Sigma of the blob, in pixels of the small picture: a disc is about a seventh of a 45 degree field.
_DISC = 6.5
#: Least lead of a side over the other, in units of the map's own spread.
_LEAD = 0.5
#: Half width of the middle, in radii of the field: a disc in it says nothing about the eye.
_MIDDLE = 0.2
#: Greatest distance between the two peaks, in radii of the field.
_APART = 0.6


def disc_side(picture: Pixels) -> Laterality | None:
    """Return the eye that the place of the optic disc means, None where it is not plain.

    Args:
        picture: `(S, S, 3)` of `picture.normalise`, by the circle.
    """
    maps = _evidence(picture)
    if maps is None:
        return None
    columns, allowed = _grid()
    bright, vessels, inner = maps
    answers, peaks = [], []
    for evidence in (bright + vessels, bright, vessels):
        level = np.where(inner & allowed, evidence, -np.inf)
        left, right = (np.where(s, level, -np.inf).max() for s in (columns < -_MIDDLE, columns > _MIDDLE))
        middle = np.where(np.abs(columns) <= _MIDDLE, level, -np.inf).max()
        if not np.isfinite([left, right]).all() or middle > max(left, right) or abs(left - right) < _LEAD:
            return None
        answers.append(bool(right > left))
        peaks.append(np.array(np.unravel_index(int(level.argmax()), level.shape), float))
    if len(set(answers)) > 1 or np.hypot(*(peaks[1] - peaks[2])) > _APART * _SIDE / 2:
        return None
    return Laterality.RIGHT if answers[0] else Laterality.LEFT


def _evidence(picture: Pixels) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[np.bool_]] | None:
    small = cv2.resize(picture, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    lit = ((small.max(axis=2) > 15) & _circle()).astype(np.uint8)
    inner = cv2.erode(lit, np.ones((11, 11), np.uint8)).astype(np.bool_)
    if inner.mean() < 0.25:
        return None
    weight = lit.astype(np.float32)

    def mean(values: npt.NDArray[Any], sigma: float) -> npt.NDArray[Any]:
        return cv2.GaussianBlur(values * weight, (0, 0), sigma) / (cv2.GaussianBlur(weight, (0, 0), sigma) + 1e-3)

    red, green, blue = (small[..., c] for c in range(3))
    # Reflections of the lens are bluish, the disc is not.
    light = green + 0.5 * red - 0.5 * blue
    spot = mean(light, 0.6 * _DISC) - mean(light, 2 * _DISC)
    bright = spot / (np.sqrt((spot[inner] ** 2).mean()) + 1)
    fine = mean(green, 0.8)
    lines = [(cv2.morphologyEx(fine, cv2.MORPH_CLOSE, np.ones(s, np.uint8)) - fine) * inner for s in ((1, 9), (9, 1))]
    upright = cv2.GaussianBlur(lines[0], (0, 0), _DISC) - 0.4 * cv2.GaussianBlur(lines[1], (0, 0), _DISC)
    return bright, upright / (np.sqrt((upright[inner] ** 2).mean()) + 0.2), inner


@cache
def _grid() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Return the columns in radii from the middle, and where a disc may be."""
    rows, columns = (np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2) / (_SIDE / 2)
    return columns, (np.hypot(rows, columns) < 0.88) & (np.abs(rows) < 0.5)


@cache
def _circle() -> npt.NDArray[np.bool_]:
    rows, columns = (np.mgrid[:_SIDE, :_SIDE] - (_SIDE - 1) / 2) / (_SIDE / 2)
    inside: npt.NDArray[np.bool_] = np.hypot(rows, columns) < 0.95
    return inside
