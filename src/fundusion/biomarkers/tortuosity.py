"""How much vessels wind: length by chord, integrals of curvature, changes of its sign."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .compiled import kernel
from .outcome import Outcome, mean_of, median_of
from .vessel_graph import VesselGraph

Floats = npt.NDArray[np.float64]

#: Segments shorter than this, or than two of their widths, are left out: on them the steps of pixels outweigh any bend.
SHORTEST_PX = 10.0
#: A bend counts as one when it turns by more than this, rad: about 6 degrees.
LEAST_TURN = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Winding:
    """Of each segment that is long enough, K of them; lengths in pixels.

    Args:
        segment: `(K,)` index.
        arc: Length along the centre line, outside of the branchings.
        chord: Straight distance of its ends.
        total: Integral of the absolute curvature, rad.
        square: Integral of the squared curvature, rad^2 per pixel.
        inflections: Number of changes of the side of the bend.
        bends: Tortuosity density of Grisan times the length.
    """

    segment: npt.NDArray[np.int64]
    arc: Floats
    chord: Floats
    total: Floats
    square: Floats
    inflections: Floats
    bends: Floats


@kernel
def _wind(points, curvature, starts, spans, least, out):  # type: ignore[no-untyped-def]
    """Write arc, chord, total, square, inflections and bends of each segment."""
    for s in range(len(starts) - 1):
        first, last = spans[s]
        arc = total = square = 0.0
        for i in range(first + 1, last):
            arc += np.hypot(points[i, 0] - points[i - 1, 0], points[i, 1] - points[i - 1, 1])
        chord = np.hypot(points[last - 1, 0] - points[first, 0], points[last - 1, 1] - points[first, 1])
        step = arc / (last - first - 1)
        for i in range(first, last):
            share = step / 2 if i == first or i == last - 1 else step
            total += abs(curvature[i]) * share
            square += curvature[i] ** 2 * share
        # Bends of one side, where those that hardly turn join their neighbours.
        side = turn = 0.0
        begin = first
        changes = 0
        bends = 0.0
        pending = 0.0
        turned_at = first
        for i in range(first, last):
            turn = curvature[i] * step
            if side == 0.0:
                pending += turn
                if abs(pending) > least:
                    side = 1.0 if pending > 0 else -1.0
                    pending = 0.0
                continue
            if turn * side < 0:
                if pending == 0.0:
                    turned_at = i
                pending -= turn * side
                if pending > least:
                    bends += _excess(points, begin, turned_at)
                    begin = turned_at
                    changes += 1
                    side = -side
                    pending = 0.0
            else:
                pending = max(pending - turn * side, 0.0)
        bends += _excess(points, begin, last - 1)
        out[s, 0], out[s, 1], out[s, 2], out[s, 3], out[s, 4] = arc, chord, total, square, changes
        out[s, 5] = bends * changes / (changes + 1.0)


@kernel
def _excess(points, a, b):  # type: ignore[no-untyped-def]
    """Return length by chord, less one, between two points of a line."""
    arc = 0.0
    for i in range(a + 1, b + 1):
        arc += np.hypot(points[i, 0] - points[i - 1, 0], points[i, 1] - points[i - 1, 1])
    chord = np.hypot(points[b, 0] - points[a, 0], points[b, 1] - points[a, 1])
    return arc / chord - 1 if chord > 0.5 else 0.0


def winding(graph: VesselGraph) -> Winding:
    """Return what the tortuosities of a graph are made of.

    Source:
        Hart et al. 1999, doi:10.1016/S1386-5056(98)00163-4 (arc, chord, curvature integrals); Grisan et al. 2008,
        doi:10.1109/TMI.2007.904657 (bends); Bullitt et al. 2003, doi:10.1109/TMI.2003.816964 (inflections).

    Example:
        >>> from .vessel_graph import vessel_graph
        >>> mask = np.zeros((20, 60)); mask[8:13, 5:55] = 1
        >>> found = winding(vessel_graph(mask))
        >>> round(float(found.arc[0] / found.chord[0]), 3), float(found.inflections[0])
        (1.0, 0.0)
    """
    table = np.zeros((len(graph), 6))
    _wind(graph.points, graph.curvature, graph.starts, graph.spans, LEAST_TURN, table)
    # A ring, or a segment that comes back to where it began, has no chord.
    long_enough = (
        (table[:, 0] >= np.maximum(SHORTEST_PX, 2 * graph.segment_widths_px)) if len(graph) else np.zeros(0, bool)
    )
    use = np.flatnonzero(long_enough & (table[:, 1] > 1.0))
    arc, chord, total, square, inflections, bends = table[use].T
    return Winding(segment=use, arc=arc, chord=chord, total=total, square=square, inflections=inflections, bends=bends)


def joined(parts: list[Winding]) -> Winding:
    """Return the segments of several graphs together; their indices no longer name segments.

    Source:
        All vessels are arteries and veins together: at a crossing of both, the union of the masks would make a branching that is none.
    """
    return Winding(**{k: np.concatenate([getattr(p, k) for p in parts]) for k in Winding.__slots__})


def tortuosities(found: Winding) -> dict[str, Outcome]:
    """Return the tortuosities over segments; curvatures per pixel.

    Source:
        `tortuosity` median of arc/chord, `total_curvature`, `curvature` and `squared_curvature` medians of the integrals by the arc: Hart et al. 1999,
        doi:10.1016/S1386-5056(98)00163-4; `tortuosity_weighted` mean of arc/chord by length; `tortuosity_density`: Grisan et al. 2008,
        doi:10.1109/TMI.2007.904657; `inflections` mean count and `inflection_tortuosity` (count + 1) arc/chord: Bullitt et al. 2003,
        doi:10.1109/TMI.2003.816964.
    """
    none = "vessels.none"
    ratio = found.arc / found.chord
    return {
        "tortuosity": median_of(ratio, none),
        "tortuosity_weighted": mean_of(ratio, none, found.arc),
        "total_curvature": median_of(found.total, none),
        "curvature": median_of(found.total / found.arc, none),
        "squared_curvature": median_of(found.square / found.arc, none),
        "tortuosity_density": mean_of(found.bends / found.arc, none),
        "inflections": mean_of(found.inflections, none),
        "inflection_tortuosity": median_of((found.inflections + 1) * ratio, none),
    }
