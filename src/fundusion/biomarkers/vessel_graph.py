"""A mask of vessels as a graph: nodes, and between them centre lines with widths.

The mask is turned and mirrored into one of its eight positions that depends on what it shows only, and the results are turned back: so every
number is the same for a mask, its mirror image and its quarter turns, to the last digit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from .centreline import WIDTH_WINDOW, average_widths, draw_lines
from .junctions import join_nodes
from .skeleton import TABLES, thin, tidy
from .tracing import cut_spurs, trace

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class VesselGraph:
    """Vessels between ends and branchings; S segments, N nodes, P points of all segments one after another.

    Args:
        points: `(P, 2)` centre lines (row, col), about one pixel apart; the centre of the first pixel is (0, 0).
        widths_px: `(P,)` full width, averaged over nine points; near a branching the next width outside of it.
        curvature: `(P,)` signed, per pixel.
        starts: `(S + 1,)` where each segment begins in `points`.
        spans: `(S, 2)` first and one past the last point outside the branchings at both ends.
        steps_px: `(S,)` distance of the points.
        ends: `(S, 2)` nodes; -1 for a ring.
        nodes: `(N, 2)` (row, col).
        node_radius_px: `(N,)` radius of the greatest circle in the mask around the node.
        arms: `(N,)` number of segments that meet.
        shape: (H, W) of the mask.
        area_px: Pixels of the mask.
        skeleton_px: `(K,)` flat indices of the pixels of the skeleton, in no order.
    """

    points: Floats
    widths_px: Floats
    curvature: Floats
    starts: Ints
    spans: Ints
    steps_px: Floats
    ends: Ints
    nodes: Floats
    node_radius_px: Floats
    arms: Ints
    shape: tuple[int, int]
    area_px: int
    skeleton_px: Ints

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def segment_of(self) -> Ints:
        """Segment of each point `(P,)`."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    @property
    def lengths_px(self) -> Floats:
        """Length along each centre line `(S,)`."""
        if not len(self):
            return np.zeros(0)
        steps = np.hypot(*np.diff(self.points, axis=0).T)
        total = np.concatenate([[0.0], np.cumsum(steps)])
        last = self.starts[1:] - 1
        found: Floats = total[last] - total[self.starts[:-1]]
        return found

    @property
    def segment_widths_px(self) -> Floats:
        """Mean width of each segment outside the branchings `(S,)`."""
        sums = np.concatenate([[0.0], np.cumsum(self.widths_px)])
        found: Floats = (sums[self.spans[:, 1]] - sums[self.spans[:, 0]]) / np.diff(self.spans, axis=1)[:, 0]
        return found


def _turned(mask: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], tuple[bool, bool, bool]]:
    """Return a mask in the position of the eight that its rows and columns decide, and how it came there (transpose, flips)."""
    rows, cols = (cv2.reduce(mask, k, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel() for k in (1, 0))
    ways = []
    for swap in (False, True):
        first, second = (cols, rows) if swap else (rows, cols)
        for up in (False, True):
            for over in (False, True):
                sign = (first[::-1] if up else first).tobytes(), (second[::-1] if over else second).tobytes()
                ways.append(((len(first), *sign), (swap, up, over)))
    best = max(w[0] for w in ways)
    ties = [w[1] for w in ways if w[0] == best]
    if len(ties) > 1:
        # Equal sums of rows and columns: the pixels decide; a mask that is its own mirror image gives one answer whichever is taken.
        ties.sort(key=lambda way: _turn(mask, way).tobytes())
    return _turn(mask, ties[0]), ties[0]


def _turn(mask: npt.NDArray[np.uint8], way: tuple[bool, bool, bool]) -> npt.NDArray[np.uint8]:
    swap, up, over = way
    turned = cv2.transpose(mask) if swap else mask
    if up or over:
        turned = cv2.flip(turned, -1 if up and over else int(over))
    return np.ascontiguousarray(turned, np.uint8)


def _back(places: npt.NDArray[Any], way: tuple[bool, bool, bool], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Return places of a turned mask of `shape` in the mask as it was given."""
    swap, up, over = way
    rows = shape[0] - 1 - places[:, 0] if up else places[:, 0]
    cols = shape[1] - 1 - places[:, 1] if over else places[:, 1]
    return np.stack([cols, rows] if swap else [rows, cols], -1)


def _filled(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Return a mask with an empty border and without holes of one pixel: around each of them the skeleton would make a ring with two branchings."""
    inside = np.pad(mask, 1)
    hole = inside[:-2, 1:-1] & inside[2:, 1:-1]
    hole &= inside[1:-1, :-2]
    hole &= inside[1:-1, 2:]
    inside[1:-1, 1:-1] |= hole
    return inside


def vessel_graph(mask: npt.ArrayLike) -> VesselGraph:
    """Return the graph of a mask `(H, W)`; an empty mask has a graph without segments.

    Raises:
        InvalidInput: The mask is not two-dimensional.

    Source:
        Skeleton by Guo, Hall 1989, doi:10.1145/62065.62074; pieces shorter than the radius of their vessel are roughness of its wall.
        Branchings whose inscribed circles meet are one (two vessels that cross). See `centreline` for lines and widths.

    Example:
        >>> mask = np.zeros((20, 60)); mask[8:13, 5:55] = 1
        >>> graph = vessel_graph(mask)
        >>> len(graph), round(float(graph.segment_widths_px[0]), 2)
        (1, 5.0)
    """
    given = np.asarray(mask)
    if given.ndim != 2:
        raise InvalidInput(f"a vessel mask has the shape (H, W), got {given.shape}.", code="mask.shape")
    turned, way = _turned(np.ascontiguousarray(given if given.dtype == np.bool_ else given != 0).view(np.uint8))
    inside = _filled(turned)
    skeleton, kept = thin(inside[1:-1, 1:-1])
    # The mask 5 is within 2 % of the exact distance at a tenth of its price; it only bounds searches.
    distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5).ravel()
    flat, m, width = skeleton.ravel(), inside.ravel(), inside.shape[1]
    found = trace(flat, kept, width, TABLES)
    for _ in range(3):
        if not cut_spurs(flat, distance, width, found):
            break
        kept = tidy(flat, kept[flat[kept] != 0], width, TABLES)
        found = trace(flat, kept, width, TABLES)
    nodes, arms, _, _, ends = pieces = join_nodes(distance, width, found)
    points, raw, bends, lines, steps, reach = draw_lines(m, distance, width, pieces)
    widths, spans = average_widths(raw, lines, (reach, steps), WIDTH_WINDOW)
    radius = distance[np.rint(nodes).astype(np.int64) @ [width, 1]].astype(np.float64)
    shape = (turned.shape[0], turned.shape[1])
    rows, cols = np.divmod(kept, width)
    pixel = _back(np.stack([rows, cols], -1) - 1, way, shape)
    return VesselGraph(
        points=_back(points - 1, way, shape),
        widths_px=widths,
        curvature=bends,
        starts=lines,
        spans=spans,
        steps_px=steps,
        ends=ends,
        nodes=_back(nodes - 1, way, shape),
        node_radius_px=radius,
        arms=arms,
        shape=(given.shape[0], given.shape[1]),
        area_px=int(np.count_nonzero(turned)),
        skeleton_px=pixel[:, 0] * given.shape[1] + pixel[:, 1],
    )
