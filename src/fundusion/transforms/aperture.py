"""Straight edges of an aperture that a brightness threshold does not see: what lies beyond looks like what lies beside the field.

Scanned film has haze between the picture and the edge of the frame. It is brighter than the black around it, so a threshold takes it
for field; but along a row it has the colour of the haze on both sides of the circle, and the field has not.

Source: none; written for the scans of STARE (Hoover 2000, doi:10.1109/42.845178) and measured by `benchmarks/bench_field_of_view.py`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from .rim import Circle

#: Pixels of the small picture that must be beside the circle in a row before the row is compared.
_LEAST_BESIDE = 6
#: Rows that stand for the inner side of an edge, and how much of their contrast may be left beyond it.
_INNER, _LEFT = 5, 0.4


def hidden_rows(small: npt.NDArray[np.uint8], circle: Circle) -> tuple[float | None, float | None]:
    """Return where the field really begins and ends, as edges at .5 of rows of the picture; None where nothing is hidden.

    Args:
        small: `(H, W, C)` uint8.
        circle: Of the field, in its pixels.

    Example:
        >>> rows, columns = np.mgrid[:120, :120]
        >>> film = np.full((120, 120, 1), 30, np.uint8)
        >>> film[(rows >= 24) & ((rows - 60) ** 2 + (columns - 60) ** 2 <= 50**2)] = 130
        >>> hidden_rows(film, Circle(row=60, column=60, radius=50))
        (23.5, None)
    """
    contrast = _contrast(small, circle)
    top = _edge(contrast[: math.floor(circle.row)], first=circle.row - circle.radius)
    below = _edge(
        contrast[::-1][: len(contrast) - 1 - math.ceil(circle.row)],
        first=len(contrast) - 1 - circle.row - circle.radius,
    )
    return top, None if below is None else len(contrast) - 1 - below


def _contrast(small: npt.NDArray[np.uint8], circle: Circle) -> npt.NDArray[np.float64]:
    """Return per row how far the middle of the chord is from what lies beside the circle; NaN where that cannot be said.

    The side that is more alike counts: a mark of the camera stands on one side only.
    """
    height, width = small.shape[:2]
    half = np.sqrt(np.clip(circle.radius**2 - (np.arange(height) - circle.row) ** 2, 0.0, None))
    sums = np.zeros((height, width + 1, small.shape[2]))
    np.cumsum(small, axis=1, out=sums[:, 1:])

    def mean(first: npt.NDArray[np.float64], last: npt.NDArray[np.float64], least: int) -> npt.NDArray[np.float64]:
        """Mean of the pixels from `first` to before `last`, `(H, C)`; NaN where there are fewer than `least`."""
        start, stop = (np.clip(np.ceil(v), 0, width).astype(np.int64) for v in (first, last))
        rows, count = np.arange(height), np.maximum(stop - start, 0)
        total = sums[rows, np.maximum(stop, start)] - sums[rows, start]
        return np.where(count >= least, total.T / np.maximum(count, 1), np.nan).T

    middle = mean(circle.column - 0.85 * half, circle.column + 0.85 * half, 8)
    apart = half + 0.02 * circle.radius + 1
    none, end = np.zeros(height), np.full(height, float(width))
    sides = (mean(none, circle.column - apart, _LEAST_BESIDE), mean(circle.column + apart, end, _LEAST_BESIDE))
    return np.fmin(*(np.abs(middle - side).max(axis=1) for side in sides))


def _edge(contrast: npt.NDArray[np.float64], *, first: float) -> float | None:
    """Return the sharpest step from no contrast to contrast, seen from outside; a field that fades has none."""
    start = max(0, math.ceil(first))
    best: tuple[float, float] | None = None
    for at in range(start + 2, min(len(contrast) - _INNER, start + len(contrast) // 2)):
        outer, inner = contrast[start:at], contrast[at + 2 : at + 2 + _INNER]
        outer = outer[~np.isnan(outer)]
        if len(outer) < 2 or np.isnan(inner).any() or np.isnan(contrast[at - 1]):
            continue
        level = float(inner.mean())
        step = float(contrast[at + 1] - contrast[at - 1])
        if level < 12 or outer.max() > _LEFT * level or step < 0.6 * level:
            continue
        if best is None or step > best[0]:
            share = min(1.0, max(0.0, float(contrast[at]) / level))
            best = step, at + 0.5 - share
    return None if best is None else best[1]
