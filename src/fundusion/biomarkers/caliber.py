"""Arteriolar and venular equivalents: what one vessel would carry as much as the six that cross a ring around the disc."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from .outcome import Outcome, failed, finite
from .vessel_graph import VesselGraph

#: Rings around the disc in radii of the disc, from its centre: zone B 0.5-1 and zone C 0.5-2 disc diameters from the margin of the disc.
#: Source: Hubbard et al. 1999, doi:10.1016/S0161-6420(99)90525-0 (B); Cheung et al. 2010, Microcirculation 17:495 (C).
ZONES = {"B": (2.0, 3.0), "C": (2.0, 5.0)}
#: Circles on which a ring is measured.
CIRCLES = {"B": 11, "C": 25}
#: Branching coefficients of Knudtson.
KNUDTSON = {"artery": 0.88, "vein": 0.95}
#: A vessel that runs along a circle rather than across is not counted: least cosine of its angle to the radius.
ACROSS = 0.5


def knudtson(widths: Sequence[float] | npt.NDArray[np.float64], vessel: str) -> float:
    """Return the central retinal equivalent of the six widest vessels, in the unit of the widths.

    Args:
        widths: Full widths; the six largest are used.
        vessel: "artery" or "vein"; selects the coefficient 0.88 or 0.95.

    Raises:
        InvalidInput: Fewer than six widths, one that is not positive, or another vessel.

    Source:
        Knudtson et al. 2003, doi:10.1076/ceyr.27.3.143.16049: widest with narrowest, until one is left; of an odd number the middle waits.

    Example:
        >>> round(knudtson([120, 110, 100, 90, 85, 80], "artery"), 2)
        172.2
    """
    return _paired(widths, lambda a, b: KNUDTSON[vessel] * math.hypot(a, b), vessel, 6)


def hubbard(widths_um: Sequence[float] | npt.NDArray[np.float64], vessel: str) -> float:
    """Return the central retinal equivalent by the formulas of Parr and Hubbard, which hold for micrometres only.

    Args:
        widths_um: Full widths; all are used, as the method asks, at least two.
        vessel: "artery" or "vein".

    Raises:
        InvalidInput: See `knudtson`.

    Source:
        Hubbard et al. 1999, doi:10.1016/S0161-6420(99)90525-0, with a the wider and b the narrower of a pair: arterioles
        sqrt(0.87 b^2 + 1.01 a^2 - 0.22 a b - 10.76), venules sqrt(0.72 b^2 + 0.91 a^2 + 450.05).

    Example:
        >>> round(hubbard([120, 110, 100, 90, 85, 80], "artery"), 1), round(hubbard([150, 140, 130, 120, 110, 90], "vein"), 1)
        (193.9, 244.2)
    """

    def pair(a: float, b: float) -> float:
        if vessel == "artery":
            return math.sqrt(max(0.87 * b * b + 1.01 * a * a - 0.22 * a * b - 10.76, 0.0))
        return math.sqrt(0.72 * b * b + 0.91 * a * a + 450.05)

    return _paired(widths_um, pair, vessel, None)


def _paired(widths: Sequence[float] | npt.NDArray[np.float64], pair, vessel: str, most: int | None) -> float:  # type: ignore[no-untyped-def]
    values = sorted((float(w) for w in widths), reverse=True)
    if vessel not in KNUDTSON:
        raise InvalidInput(f"vessel is {vessel!r}; needed is 'artery' or 'vein'.")
    if len(values) < (most or 2) or not all(w > 0 and math.isfinite(w) for w in values):
        raise InvalidInput(f"needed are at least {most or 2} positive widths, got {values[:8]}.")
    values = values[:most]
    while len(values) > 1:
        half = len(values) // 2
        joined = [pair(values[k], values[-1 - k]) for k in range(half)]
        values = sorted(joined + values[half : len(values) - half], reverse=True)
    return float(values[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Crossings:
    """Where vessels cross circles around the disc; K crossings.

    Args:
        circle: `(K,)` index of the circle.
        segment: `(K,)` index of the segment.
        width_px: `(K,)` width of the vessel there.
        angle_deg: `(K,)` direction from the centre, counter-clockwise from the right.
        cosine: `(K,)` of the angle between vessel and radius.
    """

    circle: npt.NDArray[np.int64]
    segment: npt.NDArray[np.int64]
    width_px: npt.NDArray[np.float64]
    angle_deg: npt.NDArray[np.float64]
    cosine: npt.NDArray[np.float64]


def crossings(graph: VesselGraph, center: tuple[float, float], radii_px: npt.NDArray[np.float64]) -> Crossings:
    """Return where the segments of a graph cross circles of evenly spaced radii.

    Source:
        Circles instead of one ring, so that the spread between them tells the error: as the phenotypes of Ortín Vela et al. 2024,
        doi:10.1038/s41467-024-52334-1.

    Example:
        >>> from .vessel_graph import vessel_graph
        >>> mask = np.zeros((41, 90)); mask[18:23, 10:80] = 1
        >>> found = crossings(vessel_graph(mask), (20.0, 0.0), np.array([30.0, 40.0]))
        >>> found.circle.tolist(), found.width_px.round(1).tolist()
        ([0, 1], [5.0, 5.0])
    """
    away = graph.points - center
    distance = np.hypot(away[:, 0], away[:, 1])
    step = radii_px[1] - radii_px[0]
    ring = np.floor((distance - radii_px[0]) / step).astype(np.int64)
    here = np.flatnonzero(ring[1:] != ring[:-1])
    segment = graph.segment_of
    here = here[segment[here] == segment[here + 1]]
    circle = np.maximum(ring[here], ring[here + 1])
    use = (circle >= 0) & (circle < len(radii_px))
    here, circle = here[use], circle[use]
    way = graph.points[here + 1] - graph.points[here]
    length = np.hypot(way[:, 0], way[:, 1]) * distance[here]
    cosine = np.abs((way * away[here]).sum(1)) / np.maximum(length, 1e-9)
    angle = np.degrees(np.arctan2(-away[here, 0], away[here, 1]))
    order = np.argsort(circle, kind="stable")
    here, circle = here[order], circle[order]
    return Crossings(
        circle=circle,
        segment=segment[here],
        width_px=graph.widths_px[here],
        angle_deg=angle[order],
        cosine=cosine[order],
    )


def zone_radii(zone: str, disc_radius_px: float) -> npt.NDArray[np.float64]:
    """Return the radii of the circles of a zone, px.

    Source:
        See `ZONES`.

    Example:
        >>> zone_radii("B", 10.0)[[0, -1]].tolist()
        [20.0, 30.0]
    """
    low, high = ZONES[zone]
    return disc_radius_px * np.linspace(low, high, CIRCLES[zone])


def widths_by_circle(found: Crossings, circles: int) -> list[npt.NDArray[np.float64]]:
    """Return the widths on each circle of vessels that run across it, widest first.

    Source:
        Only vessels that pass through the zone count: Hubbard et al. 1999, doi:10.1016/S0161-6420(99)90525-0; here, those within 60 degrees of the radius.
    """
    across = found.cosine >= ACROSS
    return [np.sort(found.width_px[across & (found.circle == k)])[::-1] for k in range(circles)]


def equivalent(by_circle: list[npt.NDArray[np.float64]], vessel: str, *, um_per_px: float | None = None) -> Outcome:
    """Return the equivalent of a zone: the median over the circles that six vessels or more cross.

    Args:
        by_circle: Widths in pixels.
        vessel: "artery" or "vein".
        um_per_px: Given, the formula of Hubbard is used and the result is in micrometres; else that of Knudtson, in pixels.

    Source:
        Knudtson et al. 2003, doi:10.1076/ceyr.27.3.143.16049; Hubbard et al. 1999, doi:10.1016/S0161-6420(99)90525-0.
    """
    usable = [w for w in by_circle if len(w) >= 6]
    if len(usable) < max(3, 0.5 * len(by_circle)):
        return failed("vessels.few", max((len(w) for w in by_circle), default=0))
    values = [knudtson(w, vessel) if um_per_px is None else hubbard(w * um_per_px, vessel) for w in usable]
    # Circles of one ring see the same vessels: their spread is the error of one, not of the mean of many.
    return finite(
        float(np.median(values)),
        6 if um_per_px is None else int(np.median([len(w) for w in usable])),
        float(np.std(values)),
    )


def ratio(artery: Outcome, vein: Outcome) -> Outcome:
    """Return the arteriole-to-venule ratio of two equivalents.

    Source:
        Hubbard et al. 1999, doi:10.1016/S0161-6420(99)90525-0.

    Example:
        >>> ratio(Outcome(8.0), Outcome(10.0)).value
        0.8
    """
    if artery.value is None or vein.value is None:
        return failed(artery.failure or vein.failure or "measure.undefined")
    value = artery.value / vein.value
    errors = [o.error / o.value for o in (artery, vein) if o.error is not None and o.value]
    return finite(value, min(artery.n or 0, vein.n or 0), value * math.hypot(*errors) if errors else None)
