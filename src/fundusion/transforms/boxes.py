"""Boxes around regions of a mask or a probability map, to prompt a segmenter without a human."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput

#: x0, y0, x1, y1 in pixels, the centre of the first pixel at 0, both ends inside.
Box = tuple[float, float, float, float]


def box_around(
    mask: npt.NDArray[Any], *, threshold: float = 0.5, margin: float = 0.1, least_margin_px: float = 2.0
) -> Box | None:
    """Return the box around everything inside a mask, or None where it is empty.

    Args:
        mask: `(H, W)`, bool or probabilities.
        threshold: Probability from which a pixel is inside.
        margin: Share of the box's sides that it is widened by on each side; boxes that are too tight cost more than wide ones.
        least_margin_px: It is widened by at least as much.

    Raises:
        InvalidInput: Not a plain map, values that are not finite, or a negative margin.

    Example:
        >>> mask = np.zeros((100, 100), bool)
        >>> mask[40:60, 30:70] = True
        >>> box_around(mask)
        (26.0, 38.0, 73.0, 61.0)
        >>> box_around(np.zeros((9, 9))) is None
        True
    """
    inside = _inside(mask, threshold, margin, least_margin_px)
    rows, columns = np.flatnonzero(inside.any(1)), np.flatnonzero(inside.any(0))
    if not len(rows):
        return None
    return _widened((columns[0], rows[0], columns[-1], rows[-1]), inside.shape, margin, least_margin_px)


def boxes_around_regions(
    mask: npt.NDArray[Any],
    *,
    threshold: float = 0.5,
    margin: float = 0.1,
    least_margin_px: float = 2.0,
    least_area_px: int = 4,
    most: int = 64,
) -> list[Box]:
    """Return a box around each connected region of a mask, the largest region first.

    Args:
        mask: `(H, W)`, bool or probabilities.
        threshold: See `box_around`.
        margin: See `box_around`.
        least_margin_px: See `box_around`.
        least_area_px: Smaller regions are left out.
        most: No more than as many.
    """
    inside = _inside(mask, threshold, margin, least_margin_px).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(inside, connectivity=8)
    regions = sorted(stats[1:].tolist(), key=lambda s: (-s[cv2.CC_STAT_AREA], s[cv2.CC_STAT_TOP], s[cv2.CC_STAT_LEFT]))
    return [
        _widened((x, y, x + w - 1, y + h - 1), inside.shape, margin, least_margin_px)
        for x, y, w, h, area in regions
        if area >= least_area_px
    ][:most]


def _inside(mask: npt.NDArray[Any], threshold: float, margin: float, least: float) -> npt.NDArray[np.bool_]:
    if mask.ndim != 2 or mask.size == 0:
        raise InvalidInput(f"expected a map (H, W), got {mask.shape}.")
    if margin < 0 or least < 0:
        raise InvalidInput(f"margins cannot be negative, got {margin} and {least}.", code="config.invalid")
    if mask.dtype == np.bool_:
        return mask
    if not bool(np.isfinite(mask).all()):
        raise InvalidInput("a probability map holds values that are not finite.")
    return np.asarray(mask >= threshold, dtype=np.bool_)


def _widened(found: tuple[Any, Any, Any, Any], shape: tuple[int, ...], margin: float, least: float) -> Box:
    x0, y0, x1, y1 = (float(v) for v in found)
    wider, higher = max(margin * (x1 - x0 + 1), least), max(margin * (y1 - y0 + 1), least)
    return (
        max(0.0, x0 - wider),
        max(0.0, y0 - higher),
        min(shape[1] - 1.0, x1 + wider),
        min(shape[0] - 1.0, y1 + higher),
    )
