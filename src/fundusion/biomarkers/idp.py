"""The 17 image-derived phenotypes of the retinal vasculature, as their authors compute them, under their own names.

Source: Ortín Vela et al. 2024, doi:10.1038/s41467-024-52334-1; behaviour of BergmannLab/retina-phenotypes at 24ec668, rewritten from its specification.
What the authors' program does and its description does not say is kept and named where it is done. The sign of the artery-vein score is that of
their data (positive is an artery), not that of their example's text; the angle works under any version of the libraries.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .outcome import Outcome, failed, finite
from .vessel_graph import VesselGraph

Floats = npt.NDArray[np.float64]

SOURCE = "Ortín Vela et al. 2024, doi:10.1038/s41467-024-52334-1"
#: Name to title and unit, in the order of the paper.
PHENOTYPES = {
    "mean_angle_taa": ("artery temporal angle", "degree"),
    "mean_angle_tva": ("vein temporal angle", "degree"),
    "tau1_vein": ("vein tortuosity", "1"),
    "tau1_artery": ("artery tortuosity", "1"),
    "ratio_AV_DF": ("ratio of tortuosities", "1"),
    "eq_CRAE": ("artery central retinal equivalent", "px"),
    "ratio_CRAE_CRVE": ("ratio of central retinal equivalents", "1"),
    "D_A_std": ("artery standard deviation of diameters", "px"),
    "D_V_std": ("vein standard deviation of diameters", "px"),
    "eq_CRVE": ("vein central retinal equivalent", "px"),
    "ratio_VD": ("ratio of vascular densities", "1"),
    "VD_orig_artery": ("artery vascular density", "1"),
    "bifurcations": ("bifurcations", "count"),
    "VD_orig_vein": ("vein vascular density", "1"),
    "medianDiameter_artery": ("artery median diameter", "px"),
    "medianDiameter_vein": ("vein median diameter", "px"),
    "ratio_AV_medianDiameter": ("ratio of median diameters", "1"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """Lengths in pixels of the pictures of UK Biobank, and angles in degrees.

    Args:
        first_radius: Of the six circles of the temporal angle.
        step: Between those circles.
        angles: Least and greatest temporal angle.
        votes: How far below and above an earlier angle one may lie to join it.
        near: Ends of segments no further apart than this, in each direction, meet.
        merged: Bifurcations closer than this are one.
        field_radius: Of the part of the picture in which density is measured.
    """

    first_radius: float = 240.0
    step: float = 10.0
    angles: tuple[float, float] = (75.0, 200.0)
    votes: tuple[float, float] = (15.0, 2.0)
    near: float = 3.5
    merged: float = 7.5
    field_radius: float = 660.0

    def scaled(self, field_radius: float) -> Constants:
        """Return the constants for pictures of another size.

        Source:
            The field of UK Biobank has a radius of 660 px; the authors' program leaves its constants as they are.

        Example:
            >>> Constants().scaled(330.0).first_radius
            120.0
        """
        k = field_radius / self.field_radius
        return replace(
            self,
            first_radius=k * self.first_radius,
            step=k * self.step,
            near=k * self.near,
            merged=k * self.merged,
            field_radius=field_radius,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Segments:
    """Centre lines with diameters, S of them.

    Args:
        x: Columns of the points of each.
        y: Rows of the points of each.
        diameters: Diameters, px; may be fewer than the points, and then belong to the first of them.
        kinds: `(S,)` 1 artery, -1 vein, 0 neither.
        medians: `(S,)` median diameter of each.
    """

    x: Sequence[Floats]
    y: Sequence[Floats]
    diameters: Sequence[Floats]
    kinds: npt.NDArray[np.int64]
    medians: Floats


def segments_of(artery: VesselGraph, vein: VesselGraph) -> Segments:
    """Return the segments of our own graphs in the authors' form; those shorter than ten pixels are left out, as there.

    Source:
        Ten pixels are the least length of the authors' spline: ARIA, Bankhead et al. 2012, doi:10.1371/journal.pone.0032435.
    """
    x, y, diameters, kinds = [], [], [], []
    for graph, kind in ((artery, 1), (vein, -1)):
        for s in range(len(graph)):
            first, last = graph.spans[s]
            if last - first < 10:
                continue
            x.append(graph.points[first:last, 1])
            y.append(graph.points[first:last, 0])
            diameters.append(graph.widths_px[first:last])
            kinds.append(kind)
    medians = np.array([float(np.median(d)) for d in diameters])
    return Segments(x=x, y=y, diameters=diameters, kinds=np.array(kinds, np.int64), medians=medians)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Points:
    """All points with a whole-pixel place, in the order of the segments."""

    x: Floats
    y: Floats
    diameter: Floats
    segment: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]


def _points(segments: Segments) -> _Points:
    lengths = [len(x) for x in segments.x]
    diameter = [
        np.pad(d[:n].astype(float), (0, max(0, n - len(d))), constant_values=np.nan)
        for d, n in zip(segments.diameters, lengths, strict=True)
    ]
    joined = [np.concatenate(p) if p else np.zeros(0) for p in (segments.x, segments.y, diameter)]
    return _Points(
        x=np.round(joined[0]),
        y=np.round(joined[1]),
        diameter=joined[2],
        segment=np.repeat(np.arange(len(lengths)), lengths),
        kind=np.repeat(segments.kinds, lengths),
    )


def _crossing(points: _Points, center: tuple[float, float], radius: float, kind: int) -> npt.NDArray[np.int64]:
    """Return the points of one kind on a circle, one for each segment, in falling order of diameter.

    The authors go round the circle 57 times (angles from 0 to 360 taken as radians, 0.01 apart) and keep, of each segment, the
    point in the pixel that is come to last for the first time.
    """
    turn = np.arange(0, 360, 0.01)
    x, y = np.round(radius * np.cos(turn) + center[0]), np.round(radius * np.sin(turn) + center[1])
    first: dict[tuple[float, float], int] = {}
    for i, place in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        first.setdefault(place, i)
    chosen: dict[int, tuple[int, int]] = {}
    for i in np.flatnonzero(points.kind == kind).tolist():
        met = first.get((float(points.x[i]), float(points.y[i])))
        if met is not None:
            segment = int(points.segment[i])
            chosen[segment] = max(chosen.get(segment, (-1, -1)), (met, i))
    found = np.array([i for _, i in sorted(chosen.values())], np.int64)
    # Points without a diameter sort last.
    order = np.argsort(-np.nan_to_num(points.diameter[found], nan=-1.0), kind="stable") if len(found) else found
    result: npt.NDArray[np.int64] = found[order]
    return result


def central_equivalent(segments: Segments, center: tuple[float, float], disc_radius: float, kind: int) -> Outcome:
    """Return the equivalent of the three widest vessels on six circles of 2.0 to 2.5 disc radii: the median, px.

    Args:
        segments: Vessels.
        center: (x, y) of the disc.
        disc_radius: (width + height) / 4.
        kind: 1 artery, -1 vein.

    Source:
        Ortín Vela et al. 2024, doi:10.1038/s41467-024-52334-1: 0.88 (arteries) or 0.95 (veins) times the root of the squared sum of the first and the third.
    """
    points, values = _points(segments), []
    for k in range(6):
        widest = points.diameter[_crossing(points, center, (2 + 0.1 * k) * disc_radius, kind)[:3]]
        widest = widest[np.isfinite(widest)]
        if len(widest):
            values.append((0.88 if kind > 0 else 0.95) * math.hypot(widest[0], widest[-1]))
    return finite(float(np.median(values)), len(values)) if values else failed("vessels.few", 0)


def temporal_angle(segments: Segments, center: tuple[float, float], kind: int, constants: Constants) -> Outcome:
    """Return the angle between the two main temporal vessels that most of six circles agree on, degrees.

    Source:
        Ortín Vela et al. 2024, doi:10.1038/s41467-024-52334-1. Of the ordered pairs of vessels the thinnest is left out on one side and the two thinnest
        on the other; angles are rounded to a degree.
    """
    points = _points(segments)
    angles = [
        _main_angle(points, center, constants.first_radius + k * constants.step, kind, constants) for k in range(6)
    ]
    votes = list(range(6))
    below, above = constants.votes
    for i in range(1, 6):
        votes[i] = next(j for j in range(6) if angles[j] - below <= angles[i] <= angles[j] + above)
    winner = min(range(6), key=lambda v: (-votes.count(v), v))
    group = [a for a, v in zip(angles, votes, strict=True) if v == winner]
    mean = float(np.mean(group))
    return finite(mean, len(group)) if len(group) >= 3 and mean else failed("idp.few_votes", len(group))


def _main_angle(points: _Points, center: tuple[float, float], radius: float, kind: int, constants: Constants) -> float:
    """Return the angle of the widest pair on one circle, 0 where there is none."""
    found = _crossing(points, center, radius, kind)
    away = np.stack([points.x[found], points.y[found]], -1) - center
    best: tuple[float, float, float] | None = None
    for i in range(len(found) - 1):
        for j in range(len(found) - 2):
            if i == j:
                continue
            cosine = float(away[i] @ away[j] / np.linalg.norm(away[i]) / np.linalg.norm(away[j]))
            angle = float(np.round(math.degrees(math.acos(min(1.0, max(-1.0, cosine))))))
            one, two = (float(points.diameter[found[k]]) for k in (i, j))
            if constants.angles[0] <= angle <= constants.angles[1] and (best is None or (one, two) > best[:2]):
                best = one, two, angle
    return best[2] if best else 0.0


def bifurcation_count(segments: Segments, constants: Constants) -> Outcome:
    """Return the number of places where ends of two segments of one kind meet.

    Source:
        Ortín Vela et al. 2024, doi:10.1038/s41467-024-52334-1. Pairs are taken from right to left; one is passed over where a column equals one of the
        pair before; of two close places the earlier goes.
    """
    ends = [(float(x[k]), float(y[k]), int(kind), s)
            for s, (x, y, kind) in enumerate(zip(segments.x, segments.y, segments.kinds, strict=True)) for k in (0, -1)]  # fmt: skip
    ends.sort(key=lambda e: -e[0])
    found: list[tuple[float, float]] = []
    used: tuple[float, ...] = (0.0, 0.0)
    for a, (xa, ya, kind_a, segment_a) in enumerate(ends):
        for xb, yb, kind_b, segment_b in ends[a:]:
            if xb < xa - constants.near:
                break
            meets = abs(yb - ya) <= constants.near and segment_a != segment_b and kind_a == kind_b
            if meets and xa not in used and xb not in used:
                used = xa, xb
                found.append((xb, yb))
    kept = 0
    for i, one in enumerate(found):
        kept += not any(0 < math.dist(one, other) < constants.merged for other in found[i + 1 :])
    return finite(float(kept), kept)


def box_dimension(figure: npt.NDArray[np.bool_]) -> Outcome:
    """Return the authors' fractal dimension of a figure `(H, W)`.

    Source:
        BergmannLab/retina-phenotypes: ten box sizes from 2^0.01 to below 2^5, evenly spaced in the logarithm. Rows are divided up to the width of the picture and
        columns up to its height, so that in a picture that is not square the last of the longer side are dropped.
    """
    rows, cols = np.nonzero(figure)
    height, width = figure.shape
    sizes = np.logspace(0.01, 5, num=10, endpoint=False, base=2)
    counts = []
    for size in sizes:
        edges = [np.arange(0, n, size) for n in (width, height)]
        boxes = [np.searchsorted(e, v, side="right") - 1 for e, v in zip(edges, (rows, cols), strict=True)]
        last = [len(e) - 1 for e in edges]
        # What lies on the last edge counts in the box before it.
        boxes = [
            np.where((b == k) & (v == e[-1]), k - 1, b)
            for b, k, v, e in zip(boxes, last, (rows, cols), edges, strict=True)
        ]
        use = (boxes[0] < last[0]) & (boxes[1] < last[1])
        counts.append(len(np.unique(boxes[0][use] * (last[1] + 1) + boxes[1][use])))
    if not min(counts):
        return failed("mask.empty", 0)
    return finite(-float(np.polyfit(np.log(sizes), np.log(counts), 1)[0]), len(sizes))


def disc_density(channel: npt.NDArray[np.generic], radius: float) -> Outcome:
    """Return the mean of a map with values from 0 to 1, `(H, W)`, inside a disc in the middle of the picture.

    Source:
        Ortín Vela et al. 2024, doi:10.1038/s41467-024-52334-1: a disc of 660 px.

    Example:
        >>> disc_density(np.ones((9, 9)), 3.0).value
        1.0
    """
    height, width = channel.shape
    rows, cols = np.ogrid[:height, :width]
    inside = (rows - height // 2) ** 2 + (cols - width // 2) ** 2 <= radius**2
    return finite(float(np.asarray(channel, np.float64)[inside].mean()), int(inside.sum()))


def phenotypes(
    segments: Segments,
    densities: tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]],
    disc: tuple[float, float, float] | None,
    constants: Constants | None = None,
) -> dict[str, Outcome]:
    """Return the 17 phenotypes by the names of `PHENOTYPES`.

    Args:
        segments: Vessels.
        densities: Maps of arteries and of veins `(H, W)`, from 0 to 1.
        disc: (x, y, radius) of the disc, px; radius is (width + height) / 4. None where there is none.
        constants: Those of UK Biobank by default.

    Source:
        Ortín Vela et al. 2024, doi:10.1038/s41467-024-52334-1, Table 1.
    """
    constants = constants or Constants()
    found: dict[str, Outcome] = {}
    for kind, name, equivalent, angle in (
        (1, "artery", "eq_CRAE", "mean_angle_taa"),
        (-1, "vein", "eq_CRVE", "mean_angle_tva"),
    ):
        chosen: list[int] = np.flatnonzero(segments.kinds == kind).tolist()
        if disc is None:
            found[equivalent] = found[angle] = failed("disc.absent")
        else:
            found[equivalent] = central_equivalent(segments, disc[:2], disc[2], kind)
            found[angle] = temporal_angle(segments, disc[:2], kind, constants)
        letter = name[0].upper()
        wound = np.array([_arc_by_chord(segments.x[s], segments.y[s]) for s in chosen])
        wound = wound[np.isfinite(wound)]
        found[f"tau1_{name}"] = (
            finite(float(np.median(wound)) - 1, len(wound)) if len(wound) else failed("vessels.none", 0)
        )
        every = np.concatenate([segments.diameters[s] for s in chosen]) if len(chosen) else np.zeros(0)
        spread = float(every.std(ddof=1)) if len(every) > 1 else math.nan
        found[f"D_{letter}_std"] = finite(spread, len(every)) if len(every) > 1 else failed("vessels.none", len(every))
        median = float(np.median(segments.medians[chosen])) if len(chosen) else math.nan
        found[f"medianDiameter_{name}"] = finite(median, len(chosen)) if len(chosen) else failed("vessels.none", 0)
        found[f"VD_orig_{name}"] = disc_density(densities[0 if kind > 0 else 1], constants.field_radius)
    found["bifurcations"] = bifurcation_count(segments, constants) if len(segments.x) else failed("vessels.none", 0)
    found["ratio_AV_DF"] = _ratio(found["tau1_artery"], found["tau1_vein"], add=1.0)
    found["ratio_CRAE_CRVE"] = _ratio(found["eq_CRAE"], found["eq_CRVE"])
    found["ratio_VD"] = _ratio(found["VD_orig_artery"], found["VD_orig_vein"])
    found["ratio_AV_medianDiameter"] = _ratio(found["medianDiameter_artery"], found["medianDiameter_vein"])
    return {name: found[name] for name in PHENOTYPES}


def _arc_by_chord(x: Floats, y: Floats) -> float:
    chord = math.hypot(x[-1] - x[0], y[-1] - y[0])
    return float(np.hypot(np.diff(x), np.diff(y)).sum()) / chord if chord else math.nan


def _ratio(one: Outcome, two: Outcome, *, add: float = 0.0) -> Outcome:
    if one.value is None or two.value is None:
        return failed(one.failure or two.failure or "measure.undefined")
    below = two.value + add
    return finite((one.value + add) / below, min(one.n or 0, two.n or 0)) if below else failed("measure.undefined")
