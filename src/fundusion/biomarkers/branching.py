"""Bifurcations: where they are, at which angle the daughters part, and how widths and flow divide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .compiled import kernel
from .outcome import Outcome, failed, finite, median_of
from .vessel_graph import VesselGraph

Floats = npt.NDArray[np.float64]

#: Points outside of the branching that make a direction (as many widths of the widest arm, but at least 28 and at most 40; fewer than 8 are too few),
#: and that make a width.
DIRECTION_WIDTHS, LEAST_DIRECTION, MOST_DIRECTION, LEAST_POINTS, WIDTH_POINTS = 5, 28, 40, 8, 12
#: An arm that is straight gives its direction by more points, because along it the steps of pixels last longer than those. Straight is what pixels can
#: make of a line: its points deviate by no more than what is uniform over one pixel (root mean square, px), and its arch is no higher than half a pixel.
LONGEST, STRAIGHT_PX, ARCH_PX = 160, 12**-0.5, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Bifurcations:
    """Branchings with three arms that can be measured, K of them.

    Args:
        count: Number of branchings with three arms, also of those that are too short to be measured.
        node: `(K,)` index of the node.
        segments: `(K, 3)` the arriving segment, then the wider and the narrower daughter.
        widths_px: `(K, 3)` in the same order.
        angle_deg: `(K,)` between the daughters.
        directions: `(K, 3, 2)` unit vectors (row, col) away from the node, in the same order.
    """

    count: int
    node: npt.NDArray[np.int64]
    segments: npt.NDArray[np.int64]
    widths_px: Floats
    angle_deg: Floats
    directions: Floats


@kernel
def _gather(ends, arms, which, side):  # type: ignore[no-untyped-def]
    """Write the three segments that meet at each branching, and which of their ends it is."""
    count = np.zeros(len(arms), np.int64)
    for s in range(len(ends)):
        for k in range(2):
            node = ends[s, k]
            if node >= 0 and arms[node] == 3 and ends[s, 0] != ends[s, 1]:
                which[node, count[node]] = s
                side[node, count[node]] = k
                count[node] += 1
    return count


@kernel
def _direction(points, first, sign, count):  # type: ignore[no-untyped-def]
    """Return the direction of `count` points (row, col), and whether they lie on a straight line."""
    row = col = mean_row = mean_col = 0.0
    for j in range(count):
        lever = j - (count - 1) / 2
        row += lever * points[first + sign * j, 0]
        col += lever * points[first + sign * j, 1]
        mean_row += points[first + sign * j, 0] / count
        mean_col += points[first + sign * j, 1] / count
    length = np.hypot(row, col)
    if length == 0:
        return 0.0, 0.0, False
    row, col = row / length, col / length
    middle = (count * count - 1) / 12.0
    away = arch = bow = 0.0
    for j in range(count):
        lever = (j - (count - 1) / 2) ** 2 - middle
        aside = (points[first + sign * j, 0] - mean_row) * col - (points[first + sign * j, 1] - mean_col) * row
        away += aside * aside / count
        bow += aside * lever
        arch += lever * lever
    height = abs(bow) / arch * (count / 2) ** 2 if arch > 0 else 0.0
    return row, col, height <= ARCH_PX and away <= STRAIGHT_PX**2


@kernel
def _arms(points, widths, segment_widths, bounds, which, side, out, used):  # type: ignore[no-untyped-def]
    """Write direction and width of each arm of each node, and whether it was long enough for them; bounds are where the arms are outside of branchings."""
    for node in range(len(which)):
        if which[node, 2] < 0:
            continue
        widest = max(segment_widths[which[node, 0]], segment_widths[which[node, 1]], segment_widths[which[node, 2]])
        usual = min(MOST_DIRECTION, max(LEAST_DIRECTION, int(DIRECTION_WIDTHS * widest)))
        for arm in range(3):
            s = which[node, arm]
            sign = 1 if side[node, arm] == 0 else -1
            i = bounds[s, 0] if sign > 0 else bounds[s, 1] - 1
            available = bounds[s, 1] - bounds[s, 0]
            count = min(LONGEST, available)
            row, col, straight = _direction(points, i, sign, count)
            while count > usual and not straight:
                count = max(usual, 2 * count // 3)
                row, col, straight = _direction(points, i, sign, count)
            if count < LEAST_POINTS or (row == 0 and col == 0):
                continue
            total = 0.0
            number = min(WIDTH_POINTS, available)
            for j in range(number):
                total += widths[i + sign * j]
            out[node, arm, 0], out[node, arm, 1], out[node, arm, 2] = row, col, total / number
            used[node, arm] = True


def bifurcations(graph: VesselGraph, *, outside: tuple[tuple[float, float], float] | None = None) -> Bifurcations:
    """Return the branchings of a graph where three arms are long enough to have a direction.

    The daughters are the two arms with the smallest angle between them; the third arrives.

    Args:
        graph: Vessels.
        outside: Centre and radius of a disc: within it vessels lie on each other, and what looks like a branching is mostly none.

    Source:
        Geometry of a bifurcation: Patton et al. 2006, doi:10.1016/j.preteyeres.2005.07.001.
    """
    n = len(graph.nodes)
    found, used = np.zeros((n, 3, 3)), np.zeros((n, 3), bool)
    which, side = np.full((n, 3), -1, np.int64), np.zeros((n, 3), np.int64)
    _gather(graph.ends, graph.arms, which, side)
    _arms(graph.points, graph.widths_px, graph.segment_widths_px, graph.spans, which, side, found, used)
    three = graph.arms == 3
    if outside is not None and n:
        three &= np.hypot(*(graph.nodes - outside[0]).T) > outside[1]
    node = np.flatnonzero(used.all(1) & three)
    way, width, segment = found[node, :, :2], found[node, :, 2], which[node]
    cosine = np.stack([(way[:, (k + 1) % 3] * way[:, (k + 2) % 3]).sum(1) for k in range(3)], 1)
    parent = cosine.argmax(1) if len(node) else np.zeros(0, np.int64)
    rows = np.arange(len(node))
    one, two = (parent + 1) % 3, (parent + 2) % 3
    swap = width[rows, one] < width[rows, two]
    one, two = np.where(swap, two, one), np.where(swap, one, two)
    order = np.stack([parent, one, two], 1)
    return Bifurcations(
        count=int(three.sum()),
        node=node,
        segments=np.take_along_axis(segment, order, 1),
        widths_px=np.take_along_axis(width, order, 1),
        angle_deg=np.degrees(np.arccos(np.clip(cosine[rows, parent], -1, 1))),
        directions=np.take_along_axis(way, order[..., None], 1),
    )


def junction_exponents(widths: Floats) -> Floats:
    """Return x with d0^x = d1^x + d2^x for rows (parent, daughter, daughter) `(K, 3)`; NaN where no daughter is narrower than the parent.

    Source:
        Murray 1926, doi:10.1073/pnas.12.3.207 (x = 3); Sherman 1981, doi:10.1085/jgp.78.4.431.

    Example:
        >>> junction_exponents(np.array([[2 ** (1 / 3), 1.0, 1.0], [1.0, 2.0, 1.0]])).round(3).tolist()
        [3.0, nan]
    """
    parent = widths[:, :1]
    share = widths[:, 1:] / np.where(parent > 0, parent, np.nan)
    # The sum of the powers falls from 2 at x = 0, as long as both daughters are narrower than their parent.
    low, high = np.zeros(len(widths)), np.full(len(widths), 50.0)
    solvable = (share < 1).all(1) & ((share**50).sum(1) < 1)
    for _ in range(60):
        middle = (low + high) / 2
        above = (np.where(share < 1, share, 1.0) ** middle[:, None]).sum(1) > 1
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(solvable, (low + high) / 2, np.nan)


def branchings(parts: list[Bifurcations]) -> dict[str, Outcome]:
    """Return number and medians of angle, branching coefficient, asymmetry and junction exponent.

    Args:
        parts: Of one graph, or of several together.

    Source:
        Branching coefficient (d1^2 + d2^2) / d0^2 and asymmetry d2 / d1: Patton et al. 2006, doi:10.1016/j.preteyeres.2005.07.001; exponent:
        Sherman 1981, doi:10.1085/jgp.78.4.431.
    """
    none = "vessels.no_branching"
    count = sum(p.count for p in parts)
    widths = np.concatenate([p.widths_px for p in parts]) if parts else np.zeros((0, 3))
    angles = np.concatenate([p.angle_deg for p in parts]) if parts else np.zeros(0)
    widths_used = widths[(widths > 0).all(1)]
    parent, wide, narrow = widths_used.T
    exponents = junction_exponents(widths_used)
    exponents = exponents[np.isfinite(exponents)]
    return {
        "bifurcations": finite(float(count), count),
        "bifurcation_angle": median_of(angles, none),
        "branching_coefficient": median_of((wide**2 + narrow**2) / parent**2, none),
        "branching_asymmetry": median_of(narrow / wide, none),
        "junction_exponent": median_of(exponents, none) if len(exponents) else failed(none, 0),
    }
