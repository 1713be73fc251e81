"""Bifurcations: where they are, at which angle the daughters part, and how widths and flow divide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .compiled import kernel
from .outcome import Outcome, failed, finite, median_of
from .vessel_graph import VesselGraph

Floats = npt.NDArray[np.float64]

#: Widths are averaged over this many points beyond the branching; directions over two of the widest arm, at least so many.
_WIDTH_POINTS, _LEAST_POINTS = 12, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Bifurcations:
    """Branchings with three arms that can be measured, K of them.

    Args:
        node: `(K,)` index of the node.
        segments: `(K, 3)` the arriving segment, then the wider and the narrower daughter.
        widths_px: `(K, 3)` in the same order.
        angle_deg: `(K,)` between the daughters.
        directions: `(K, 3, 2)` unit vectors (row, col) away from the node, in the same order.
    """

    node: npt.NDArray[np.int64]
    segments: npt.NDArray[np.int64]
    widths_px: Floats
    angle_deg: Floats
    directions: Floats


@kernel
def _arms(points, widths, starts, ends, spans, nodes, radius, arms, least, window, out, which, n_arms):  # type: ignore[no-untyped-def]
    """Write direction and width of each arm of each node; -1 in `which` where an arm is too short."""
    for s in range(len(ends)):
        for k in range(2):
            node = ends[s, k]
            if node < 0 or arms[node] != 3 or ends[s, 0] == ends[s, 1]:
                continue
            a, b = starts[s], starts[s + 1]
            first = a if k == 0 else b - 1
            sign = 1 if k == 0 else -1
            arm = n_arms[node]
            n_arms[node] += 1
            # Where walls of the arms still overlap, the line in the middle of the mask is not that of the vessel.
            reach = max(1.3 * radius[node] + 1, 2.0)
            i = first
            row, col = nodes[node]
            while a <= i < b and np.hypot(points[i, 0] - row, points[i, 1] - col) < reach:
                i += sign
            span = max(least, int(2.5 * radius[node]))
            available = (b - i) if k == 0 else (i - a + 1)
            count = min(span, available)
            if count < 4:
                continue
            half = count // 2
            r0 = c0 = r1 = c1 = 0.0
            for j in range(half):
                r0 += points[i + sign * j, 0]
                c0 += points[i + sign * j, 1]
                r1 += points[i + sign * (count - 1 - j), 0]
                c1 += points[i + sign * (count - 1 - j), 1]
            length = np.hypot(r1 - r0, c1 - c0)
            if length == 0:
                continue
            total = 0.0
            used = 0
            for j in range(min(window, available)):
                total += widths[i + sign * j]
                used += 1
            out[node, arm, 0], out[node, arm, 1], out[node, arm, 2] = (r1 - r0) / length, (c1 - c0) / length, total / used
            which[node, arm] = s


def bifurcations(graph: VesselGraph) -> Bifurcations:
    """Return the branchings of a graph where three arms are long enough to have a direction.

    The daughters are the two arms with the smallest angle between them; the third arrives.

    Source:
        Geometry of a bifurcation: Patton et al. 2006, doi:10.1016/j.preteyeres.2005.07.001.
    """
    n = len(graph.nodes)
    found, which, count = np.zeros((n, 3, 3)), np.full((n, 3), -1, np.int64), np.zeros(n, np.int64)
    _arms(graph.points, graph.widths_px, graph.starts, graph.ends, graph.spans, graph.nodes, graph.node_radius_px, graph.arms,
          _LEAST_POINTS, _WIDTH_POINTS, found, which, count)  # fmt: skip
    node = np.flatnonzero((which >= 0).all(1))
    way, width, segment = found[node, :, :2], found[node, :, 2], which[node]
    cosine = np.stack([(way[:, (k + 1) % 3] * way[:, (k + 2) % 3]).sum(1) for k in range(3)], 1)
    parent = cosine.argmax(1) if len(node) else np.zeros(0, np.int64)
    rows = np.arange(len(node))
    one, two = (parent + 1) % 3, (parent + 2) % 3
    swap = width[rows, one] < width[rows, two]
    one, two = np.where(swap, two, one), np.where(swap, one, two)
    order = np.stack([parent, one, two], 1)
    return Bifurcations(
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


def branchings(parts: list[Bifurcations], count: int) -> dict[str, Outcome]:
    """Return number and medians of angle, branching coefficient, asymmetry and junction exponent.

    Args:
        parts: Of one graph, or of several together.
        count: All branchings with three arms, also those that are too short to be measured.

    Source:
        Branching coefficient (d1^2 + d2^2) / d0^2 and asymmetry d2 / d1: Patton et al. 2006, doi:10.1016/j.preteyeres.2005.07.001; exponent:
        Sherman 1981, doi:10.1085/jgp.78.4.431.
    """
    none = "vessels.no_branching"
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
