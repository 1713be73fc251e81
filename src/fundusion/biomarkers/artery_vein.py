"""Arteries and veins by whole vessels: what a network says of pixels is gathered along segments and handed on at branchings and crossings.

A network often calls one part of a vessel an artery and the next a vein. A vessel between two branchings is one or the other; a branch
continues its parent; where four arms meet, two vessels cross and each goes straight on.
"""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from .vessel_graph import VesselGraph, vessel_graph

#: Evidence of a single point is limited to this many units of log odds, because neighbouring points repeat the same mistake.
_CLIP = 3.0
#: Log odds of a segment for each pixel of its area; low, for the same reason.
_TRUST = 0.01
#: Log odds that two segments which go straight on into each other are the same vessel.
_COUPLING = 3.0
#: Least cosine of the angle between two arms of a crossing that belong together, turned to one for straight on.
_STRAIGHT = 0.7
#: Points past a branching that give the direction of an arm.
_FIRST, _LAST = 3, 15
_ROUNDS = 30


def one_class_per_vessel(
    artery: npt.NDArray[np.float32], vein: npt.NDArray[np.float32], vessels: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    """Return how much each pixel of the vessels belongs to an artery, `(H, W)` in [-1, 1]: 1 artery, -1 vein; 0 outside.

    Args:
        artery: Probability `(H, W)`.
        vein: Probability `(H, W)`.
        vessels: Pixels that are decided.

    Raises:
        InvalidInput: The shapes differ.

    Source:
        That topology decides where pixels do not: Estrada et al. 2015, doi:10.1109/TMI.2015.2443117. Solved here by mean field on the graph
        of segments (Bishop 2006, Pattern Recognition and Machine Learning, 10.1.1); strengths chosen on training pictures of HRF.
    """
    if not artery.shape == vein.shape == vessels.shape:
        raise InvalidInput(
            f"maps of one picture have one shape, got {artery.shape}, {vein.shape} and {vessels.shape}.",
            code="mask.shape",
        )
    odds = np.clip(np.log((artery + 1e-3) / (vein + 1e-3)), -_CLIP, _CLIP).astype(np.float32)
    odds = np.asarray(cv2.GaussianBlur(odds, (0, 0), 1.0), np.float32)
    graph = vessel_graph(vessels)
    if not len(graph):
        return np.where(vessels, np.tanh(odds / 2), np.float32(0)).astype(np.float32)
    rows, columns = _pixels(graph)
    evidence = np.bincount(graph.segment_of, odds[rows, columns] * graph.widths_px, minlength=len(graph))
    own = np.asarray(evidence * _TRUST, np.float64)
    belief = _mean_field(own, _couplings(graph))
    nearest = _nearest_segment(graph, rows, columns)
    return np.where(vessels, belief[nearest], 0).astype(np.float32)


def _pixels(graph: VesselGraph) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return row and column of the pixel under each point."""
    rounded = np.rint(graph.points).astype(np.int64)
    return rounded[:, 0].clip(0, graph.shape[0] - 1), rounded[:, 1].clip(0, graph.shape[1] - 1)


def _couplings(graph: VesselGraph) -> dict[tuple[int, int], float]:
    """Return pairs of segments that are the same vessel, with the log odds of that."""
    arms: dict[int, list[int]] = {}
    for segment, ends in enumerate(graph.ends.tolist()):
        for node in {n for n in ends if n >= 0}:
            arms.setdefault(node, []).append(segment)
    found: dict[tuple[int, int], float] = {}
    for node, segments in arms.items():
        towards = {s: _direction(graph, s, node) for s in segments}
        straight = sorted(((-float(towards[a] @ towards[b]), a, b) for a, b in combinations(segments, 2)), reverse=True)
        taken: set[int] = set()
        for cosine, a, b in straight:
            if len(segments) <= 3:
                strength = _COUPLING * (0.3 + 0.7 * max(cosine, 0.0))
            elif cosine > _STRAIGHT and not taken & {a, b}:
                taken |= {a, b}
                strength = _COUPLING
            else:
                continue
            found[a, b] = found.get((a, b), 0.0) + strength
    return found


def _direction(graph: VesselGraph, segment: int, node: int) -> npt.NDArray[np.float64]:
    """Return the unit vector in which a segment leaves a node."""
    line = graph.points[graph.starts[segment] : graph.starts[segment + 1]]
    if graph.ends[segment, 0] != node:
        line = line[::-1]
    way = line[min(_FIRST, len(line) - 1) : _LAST].mean(0) - graph.nodes[node]
    found: npt.NDArray[np.float64] = way / max(float(np.hypot(*way)), 1e-9)
    return found


def _mean_field(own: npt.NDArray[np.float64], couplings: dict[tuple[int, int], float]) -> npt.NDArray[np.float64]:
    """Return the belief of each segment in [-1, 1] from its own log odds and those it is tied to."""
    belief: npt.NDArray[np.float64] = np.tanh(own / 2)
    if not couplings:
        return belief
    one, other = np.array(list(couplings)).T
    strength = np.array(list(couplings.values()))
    for _ in range(_ROUNDS):
        heard = own.copy()
        np.add.at(heard, one, strength * belief[other])
        np.add.at(heard, other, strength * belief[one])
        # Half a step: full ones can swing between two states for ever.
        belief = 0.5 * belief + 0.5 * np.tanh(heard / 2)
    return belief


def _nearest_segment(
    graph: VesselGraph, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return for every pixel the segment whose centre line is nearest `(H, W)`."""
    lines = np.ones(graph.shape, np.uint8)
    lines[rows, columns] = 0
    _, labels = cv2.distanceTransformWithLabels(lines, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    segment_of_label = np.zeros(int(labels.max()) + 1, np.int64)
    segment_of_label[labels[rows, columns]] = graph.segment_of
    found: npt.NDArray[np.int64] = segment_of_label[labels]
    return found
