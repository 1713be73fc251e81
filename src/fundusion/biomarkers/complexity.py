"""How a vessel tree fills the plane: share of the area, boxes it takes to cover it, gaps between its branches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .compiled import kernel
from .outcome import Outcome, failed, finite

#: Most and fewest boxes along one side: parts of the figure and not pixels, so that the size of the picture does not matter.
_MOST, _FEWEST = 256, 4
#: Of the lacunarity, which in small boxes tells the width of vessels only.
_MOST_GAPS = 64
#: Least side of a box, px.
_SMALLEST_PX = 1.0


@kernel
def _bounds(pixels, width):  # type: ignore[no-untyped-def]
    """Return first and last row and column of flat indices."""
    top, bottom, left, right = pixels[0] // width, pixels[0] // width, width, 0
    row, first = top, top * width
    for p in pixels:
        while p - first >= width:
            row += 1
            first += width
        while p < first:
            row -= 1
            first -= width
        top, bottom = min(top, row), max(bottom, row)
        left, right = min(left, p - first), max(right, p - first)
    return top, bottom, left, right


@kernel
def _fill(pixels, width, top, left, side, m, grid):  # type: ignore[no-untyped-def]
    """Count the pixels in each of m x m boxes of a square."""
    scale = m / side
    row = pixels[0] // width
    first = row * width
    for p in pixels:
        while p - first >= width:
            row += 1
            first += width
        while p < first:
            row -= 1
            first -= width
        r = min(int((row - top + 0.5) * scale), m - 1)
        c = min(int((p - first - left + 0.5) * scale), m - 1)
        grid[r, c] += 1


@kernel
def _pyramid(grid, m, fewest, counts, gaps):  # type: ignore[no-untyped-def]
    """Halve m x m boxes until `fewest` are left; write occupied boxes and lacunarity of each level; return their number."""
    level = 0
    while m >= fewest:
        occupied = 0
        total = square = 0.0
        for r in range(m):
            for c in range(m):
                value = grid[r, c]
                if value:
                    occupied += 1
                    total += value
                    square += float(value) * value
        counts[level] = occupied
        gaps[level] = square * m * m / (total * total) if total else 0.0
        level += 1
        if m % 2:
            break
        m //= 2
        for r in range(m):
            for c in range(m):
                grid[r, c] = (
                    grid[2 * r, 2 * c] + grid[2 * r, 2 * c + 1] + grid[2 * r + 1, 2 * c] + grid[2 * r + 1, 2 * c + 1]
                )
    return level


@dataclass(frozen=True, slots=True, kw_only=True)
class Boxes:
    """Boxes over the square around a figure, L sizes from fine to coarse.

    Args:
        side: `(L,)` boxes along one side.
        occupied: `(L,)` boxes that hold a pixel of the figure.
        lacunarity: `(L,)` mean of the squared pixel count by the squared mean.
        box_px: `(L,)` side of a box.
    """

    side: npt.NDArray[np.int64]
    occupied: npt.NDArray[np.int64]
    lacunarity: npt.NDArray[np.float64]
    box_px: npt.NDArray[np.float64]


def count_boxes(mask: npt.ArrayLike) -> Boxes:
    """Return box counts of a figure `(H, W)`.

    The square is centred on the figure and divided into m x m boxes, m = 2^k and 3 x 2^k, so that boxes fill it without remainder.

    Source:
        Liebovitch, Toth 1989, doi:10.1016/0375-9601(89)90854-2 (boxes); Allain, Cloitre 1991, doi:10.1103/PhysRevA.44.3552 (lacunarity; there boxes glide,
        here they are those of the grid).

    Example:
        >>> boxes = count_boxes(np.ones((64, 64)))
        >>> boxes.side.tolist(), boxes.occupied.tolist()
        ([64, 48, 32, 24, 16, 12, 8, 6, 4], [4096, 2304, 1024, 576, 256, 144, 64, 36, 16])
    """
    figure = np.asarray(mask)
    return count_pixels(np.flatnonzero(figure if figure.dtype == np.bool_ else figure != 0), figure.shape[1])


def count_pixels(pixels: npt.NDArray[np.int64], width: int) -> Boxes:
    """Return box counts of the pixels with flat indices `(N,)` in a picture of a width; see `count_boxes`.

    Source:
        Liebovitch, Toth 1989, doi:10.1016/0375-9601(89)90854-2.

    Example:
        >>> count_pixels(np.arange(64), 8).occupied.tolist()
        [64, 36, 16]
    """
    if not len(pixels):
        return Boxes(
            side=np.zeros(0, np.int64), occupied=np.zeros(0, np.int64), lacunarity=np.zeros(0), box_px=np.zeros(0)
        )
    top, bottom, left, right = _bounds(pixels, width)
    high, wide = bottom - top + 1, right - left + 1
    side = max(high, wide)
    top, left = top - (side - high) / 2, left - (side - wide) / 2
    table = []
    for base in (2, 3):
        m = base * 2 ** int(math.log2(max(min(_MOST, side / _SMALLEST_PX) / base, 1)) + 1e-9)
        grid = np.zeros((m, m), np.int32)
        _fill(pixels, width, float(top), float(left), float(side), m, grid)
        counts, gaps = np.zeros(16, np.int64), np.zeros(16)
        levels = _pyramid(grid, m, _FEWEST, counts, gaps)
        table += [(m >> k, counts[k], gaps[k]) for k in range(levels)]
    table.sort(reverse=True)
    sides, occupied, lacunarity = zip(*table, strict=True) if table else ((), (), ())
    return Boxes(
        side=np.array(sides, np.int64),
        occupied=np.array(occupied, np.int64),
        lacunarity=np.array(lacunarity, float),
        box_px=side / np.array(sides, float),
    )


def fractal_dimension(boxes: Boxes) -> Outcome:
    """Return the box-counting dimension: the slope of log(occupied) on log(boxes along a side).

    Source:
        Liebovitch, Toth 1989, doi:10.1016/0375-9601(89)90854-2.

    Example:
        >>> round(fractal_dimension(count_boxes(np.ones((200, 200)))).value, 3)
        2.0
    """
    if len(boxes.side) < 4:
        return failed("vessels.too_small", len(boxes.side))
    x, y = np.log(boxes.side), np.log(boxes.occupied)
    slope, offset = np.polyfit(x, y, 1)
    rest = y - slope * x - offset
    error = math.sqrt(float(rest @ rest) / (len(x) - 2) / float(((x - x.mean()) ** 2).sum()))
    # Of a few single pixels it is 0, which rounding must not turn negative.
    return finite(max(float(slope), 0.0), len(x), error)


def lacunarity(boxes: Boxes) -> Outcome:
    """Return the mean lacunarity over 4 to 64 boxes along a side; 1 for an even figure, more for one with gaps of many sizes.

    Source:
        Allain, Cloitre 1991, doi:10.1103/PhysRevA.44.3552; mean over sizes as Karperien 2013, FracLac.

    Example:
        >>> round(lacunarity(count_boxes(np.ones((96, 96)))).value, 2)
        1.0
    """
    # In smaller boxes the number of whole pixels that fall into one varies from box to box.
    use = (boxes.box_px >= 4) & (boxes.side <= _MOST_GAPS)
    if use.sum() < 4:
        return failed("vessels.too_small", int(use.sum()))
    return finite(float(boxes.lacunarity[use].mean()), int(use.sum()))


def density(area_px: int, field_px: int) -> Outcome:
    """Return the share of the field that vessels cover.

    Source:
        Definition: pixels of the mask by pixels of the field; as Ortín Vela et al. 2024, doi:10.1038/s41467-024-52334-1, for a field instead of a fixed disc.

    Example:
        >>> density(5, 100).value
        0.05
    """
    return finite(area_px / field_px, area_px) if field_px else failed("mask.size")
