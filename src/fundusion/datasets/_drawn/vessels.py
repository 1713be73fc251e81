"""A tree of arteries and veins that leaves the disc, arches around the macula, branches and tapers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .anatomy import FloatArray, Frame, Layout, VesselSegment

#: Length of a step of growth, in field radii.
STEP = 0.02
#: Side of the cells in which two vessels of one kind may not meet, in field radii.
_CELL = 0.026
_CELLS = int(2.6 / _CELL)
#: Full widths at the disc, in field radii: about 120 and 150 micrometres in a field of 45 degrees.
_WIDTH = {"artery": 0.0185, "vein": 0.0235}
_KINDS = ("artery", "vein")


@dataclass(slots=True, kw_only=True)
class _Paths:
    """Vessels of one order while they grow; n of them. Aims: 0 along a parabola, 1 to a place, 2 in a direction."""

    start: npt.NDArray[np.float64]
    heading: npt.NDArray[np.float64]
    length: npt.NDArray[np.float64]
    kind: npt.NDArray[np.int64]
    ratio: npt.NDArray[np.float64]
    aim: npt.NDArray[np.int64]
    target: npt.NDArray[np.float64]
    parent: npt.NDArray[np.int64]
    parent_point: npt.NDArray[np.int64]


@dataclass(slots=True, kw_only=True)
class Vessel:
    """One vessel from its origin to its end, in field radii.

    Args:
        points: `(N, 2)` places (x, y).
        widths: `(N,)` full widths.
        kind: "artery" or "vein".
        order: 0 at the disc.
        parent: Index of the vessel it comes from, or -1.
        parent_point: Index of the point of the parent where it begins.
        ratio: Width at its origin by that of its parent there; at the disc, by the usual width.
    """

    points: FloatArray
    widths: FloatArray
    kind: str
    order: int
    parent: int
    parent_point: int
    ratio: float


def grow_vessels(
    generator: np.random.Generator, layout: Layout, *, narrowing: float = 0.0, tortuosity: float = 1.0
) -> list[Vessel]:
    """Return the vessels of an eye, parents before children.

    Args:
        generator: Source of chance.
        layout: Where disc and fovea are.
        narrowing: Share by which arteries are narrower than usual, in [0, 0.6].
        tortuosity: Factor on the usual bending.

    Source:
        Arcades along parabolas with the disc at the apex: Foracchia, Grisan, Ruggeri 2004, doi:10.1109/TMI.2004.829331.
        Widths at a branching by the cube law: Murray 1926, doi:10.1073/pnas.12.3.207.
    """
    taken = np.full((2, _CELLS, _CELLS), -1, np.int64)
    vessels: list[Vessel] = []
    paths = _first_order(generator, layout)
    for order in range(3):
        places = _walk(generator, paths, layout, tortuosity * (1.0, 1.3, 1.6)[order])
        first = len(vessels)
        _settle(vessels, paths, places, taken, layout, order)
        if order < 2:
            paths = _branches(generator, vessels, first, layout)
    _set_widths(vessels, narrowing)
    return vessels


def _first_order(generator: np.random.Generator, layout: Layout) -> _Paths:
    """Four arcades, two or three nasal vessels and some to the macula, of each kind."""
    rows: list[tuple[float, ...]] = []
    lead = generator.uniform(0.012, 0.035) * (1 if generator.random() < 0.5 else -1)
    for kind in (0, 1):
        lead = -lead
        for sign in (-1.0, 1.0):
            # (x, y, heading, length, kind, ratio, aim, target, target)
            bend = generator.uniform(1.5, 2.4) + (0.2, -0.2)[kind]
            x = 0.02 + lead + generator.uniform(-0.02, 0.02)
            rows.append((x, 0.006 * sign, sign * np.pi / 2, 2.4, kind, generator.uniform(0.9, 1.1), 0, bend, sign))
            bend = -generator.uniform(0.7, 1.8)
            x = 0.05 + lead + generator.uniform(-0.02, 0.02)
            ratio = generator.uniform(0.55, 0.8)
            rows.append((x, 0.006 * sign, sign * np.pi / 2.4, 1.5, kind, ratio, 0, bend, sign))
            if generator.random() < 0.7:
                way = sign * generator.uniform(0.1, 0.6)
                rows.append((0.07, 0.02 * sign, way, 1.2, kind, generator.uniform(0.35, 0.5), 2, way, 0.0))
            if generator.random() < 0.75:
                to = (
                    layout.fovea[0] + generator.uniform(0.1, 0.3),
                    layout.fovea[1] + sign * generator.uniform(0.04, 0.16),
                )
                begin = -0.5 * layout.disc_radius, sign * generator.uniform(0.1, 0.6) * layout.disc_radius
                rows.append((*begin, np.pi - sign * 0.5, 0.9, kind, generator.uniform(0.25, 0.36), 1, *to))
    table = np.array(rows)
    n = len(table)
    return _Paths(
        start=table[:, :2] + layout.disc,
        heading=table[:, 2] + generator.uniform(-0.1, 0.1, n),
        length=table[:, 3],
        kind=table[:, 4].astype(np.int64),
        ratio=table[:, 5],
        aim=table[:, 6].astype(np.int64),
        target=table[:, 7:9],
        parent=np.full(n, -1),
        parent_point=np.zeros(n, np.int64),
    )


def _walk(generator: np.random.Generator, paths: _Paths, layout: Layout, tortuosity: float) -> npt.NDArray[np.float64]:
    """Return places `(n, P, 2)` of all vessels of one order; those that end earlier are cut by `_settle`."""
    n = len(paths.start)
    steps = int(np.ceil(paths.length.max(initial=STEP) / STEP))
    places = np.empty((n, steps + 1, 2))
    places[:, 0] = paths.start
    heading = paths.heading.copy()
    wave = generator.uniform(0.09, 0.5, (n, 3))
    phase = generator.uniform(0, 2 * np.pi, (n, 3))
    swing = generator.gamma(4.0, 0.25, (n, 1)) * np.array([0.5, 1.0, 0.6]) * 1.1 * tortuosity
    distance = np.arange(steps)[:, None, None] * STEP
    # A sum of waves in the direction bends the vessel without leading it away from its aim.
    sway = (swing * (wave / 0.5) ** 0.5 * np.sin(2 * np.pi * distance / wave + phase)).sum(-1) * 0.22
    follow = np.where(paths.aim == 0, 0.30, np.where(paths.aim == 1, 0.12, 0.10))
    arched, placed = paths.aim == 0, paths.aim == 1
    here = paths.start.copy()
    for step in range(steps):
        rise = np.abs(here[:, 1] - layout.disc[1])
        parabola = np.arctan2(paths.target[:, 1], -2 * paths.target[:, 0] * rise)
        to_place = np.arctan2(paths.target[:, 1] - here[:, 1], paths.target[:, 0] - here[:, 0])
        wanted = np.where(arched, parabola, np.where(placed, to_place, paths.target[:, 0]))
        heading += follow * np.sin(wanted - heading)
        way = heading + sway[step]
        here = here + STEP * np.stack([np.cos(way), np.sin(way)], -1)
        places[:, step + 1] = here
    return places


def _settle(
    vessels: list[Vessel],
    paths: _Paths,
    places: npt.NDArray[np.float64],
    taken: npt.NDArray[np.int64],
    layout: Layout,
    order: int,
) -> None:
    """Cut each vessel where it leaves the field, reaches the fovea, its place or its kind; keep what is long enough."""
    from_fovea = np.hypot(places[..., 0] - layout.fovea[0], places[..., 1] - layout.fovea[1])
    blocked = (np.hypot(places[..., 0], places[..., 1]) > 1.08) | (from_fovea < 1.7 * layout.fovea_radius)
    at_target = np.hypot(*(places - paths.target[:, None]).transpose(2, 0, 1)) < 0.04
    blocked |= at_target & (paths.aim == 1)[:, None]
    cells = np.clip(((places + 1.3) / _CELL).astype(np.int64), 0, _CELLS - 1)
    counts = np.minimum(np.ceil(paths.length / STEP).astype(np.int64) + 1, places.shape[1])
    for i in range(len(places)):
        kind, count = paths.kind[i], int(counts[i])
        rows, cols = cells[i, :count].T
        met = blocked[i, :count].copy()
        if order:
            met[4:] |= taken[kind, rows[4:], cols[4:]] >= 0
        end = int(np.argmax(met)) if met.any() else count
        if end < 5:
            continue
        # The mark is set only where nothing else is, so that a later vessel finds its parent under its first steps.
        taken[kind, rows[:end], cols[:end]] = len(vessels)
        vessels.append(
            Vessel(
                points=places[i, :end].astype(np.float32),
                widths=np.zeros(end, np.float32),
                kind=_KINDS[kind],
                order=order,
                parent=int(paths.parent[i]),
                parent_point=int(paths.parent_point[i]),
                ratio=float(paths.ratio[i]),
            )
        )


def _branches(generator: np.random.Generator, vessels: list[Vessel], first: int, layout: Layout) -> _Paths:
    """Return what leaves the vessels from index `first` on: along them to both sides in turn, and a fork at the end."""
    rows: list[tuple[float, ...]] = []
    for index in range(first, len(vessels)):
        vessel = vessels[index]
        last = len(vessel.points) - 1
        begin = int(layout.disc_radius / STEP) + 1 if vessel.order == 0 else 3
        spots: list[int] = []
        at = begin + int(generator.integers(0, 4))
        while at < last - 2:
            spots.append(at)
            at += int(generator.integers(5, 11) if vessel.order == 0 else generator.integers(4, 9))
        side = 1.0 if generator.random() < 0.5 else -1.0
        for spot in spots:
            rows.append((index, spot, side, generator.uniform(0.55, 1.25), generator.uniform(0.42, 0.72)))
            side = -side if generator.random() < 0.8 else side
        if vessel.order and last > 8:
            rows.append((index, last, side, generator.uniform(0.3, 0.6), 0.79))
            rows.append((index, last, -side, generator.uniform(0.3, 0.6), 0.79))
    table = np.array(rows).reshape(-1, 5)
    index, spot = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    here = np.array([vessels[i].points[s] for i, s in zip(index, spot, strict=True)], np.float64).reshape(-1, 2)
    before = np.array([vessels[i].points[s - 2] for i, s in zip(index, spot, strict=True)], np.float64).reshape(-1, 2)
    arriving = np.arctan2(here[:, 1] - before[:, 1], here[:, 0] - before[:, 0])
    heading = arriving + table[:, 2] * table[:, 3]
    to_fovea = np.arctan2(layout.fovea[1] - here[:, 1], layout.fovea[0] - here[:, 0])
    n, order = len(table), vessels[first].order
    inward = np.cos(heading - to_fovea) > 0.1
    inward &= (here[:, 0] < layout.disc[0] - 0.05) & (here[:, 0] > layout.fovea[0] - 0.35)
    place = np.stack(
        [
            layout.fovea[0] + generator.uniform(-0.55, 0.3, n),
            layout.fovea[1] + np.sign(here[:, 1] - layout.fovea[1]) * generator.uniform(0.03, 0.22, n),
        ],
        -1,
    )
    away = np.stack([heading - 0.35 * table[:, 2], np.zeros(n)], -1)
    low, high = ((0.4, 0.95), (0.12, 0.36))[order]
    return _Paths(
        start=here,
        heading=heading,
        length=generator.uniform(low, high, n),
        kind=np.array([_KINDS.index(vessels[i].kind) for i in index], np.int64),
        ratio=table[:, 4],
        aim=np.where(inward, 1, 2),
        target=np.where(inward[:, None], place, away),
        parent=index,
        parent_point=spot,
    )


def _set_widths(vessels: list[Vessel], narrowing: float) -> None:
    """Give every vessel its widths: a slow taper, and at each branching the cube law with those that were kept."""
    leaving: dict[int, list[tuple[int, float]]] = {}
    for vessel in vessels:
        if vessel.parent >= 0 and vessel.parent_point < len(vessels[vessel.parent].points) - 1:
            leaving.setdefault(vessel.parent, []).append((vessel.parent_point, vessel.ratio))
    for index, vessel in enumerate(vessels):
        if vessel.parent < 0:
            usual = _WIDTH[vessel.kind] * (1 - narrowing if vessel.kind == "artery" else 1)
        else:
            usual = float(vessels[vessel.parent].widths[vessel.parent_point])
        widths = usual * vessel.ratio * (1 - 0.006 * np.arange(len(vessel.points)))
        for point, ratio in leaving.get(index, ()):
            widths[point + 1 :] *= (1 - ratio**3) ** (1 / 3)
        vessel.widths = np.maximum(widths, 0.003).astype(np.float32)


def segments_in_pixels(vessels: list[Vessel], frame: Frame) -> tuple[VesselSegment, ...]:
    """Return the parts of the vessels between branchings that lie in the field and can be seen."""
    cuts: dict[int, set[int]] = {}
    for vessel in vessels:
        if vessel.parent >= 0:
            cuts.setdefault(vessel.parent, set()).add(vessel.parent_point)
    result: list[VesselSegment] = []
    ending: dict[tuple[int, int], int] = {}
    for index, vessel in enumerate(vessels):
        bounds = sorted({0, len(vessel.points) - 1, *cuts.get(index, ())})
        parent = ending.get((vessel.parent, vessel.parent_point))
        if vessel.parent >= 0 and parent is None:
            continue
        before = vessels[vessel.parent].points[vessel.parent_point - 2] if vessel.parent >= 0 else None
        for start, stop in itertools.pairwise(bounds):
            segment = _segment(vessel, slice(start, stop + 1), frame, parent=parent, before=before)
            if segment is None:
                break
            parent, before = len(result), vessel.points[max(stop - 2, 0)]
            ending[index, stop] = parent
            result.append(segment)
    return tuple(result)


def _segment(
    vessel: Vessel, part: slice, frame: Frame, *, parent: int | None, before: FloatArray | None
) -> VesselSegment | None:
    places, widths = vessel.points[part], vessel.widths[part] * frame.radius_px
    outside = ~frame.shows(places)
    if outside.any():
        places, widths = places[: int(np.argmax(outside))], widths[: int(np.argmax(outside))]
    if len(places) < 2 or widths[1:].mean() < 0.5:
        return None
    points = frame.to_pixels(places)
    widths = widths.copy()
    # The branching point itself still has the width of the vessel that arrives.
    widths[0] = widths[1]
    angle = None
    if before is not None:
        arriving, leaving = places[0] - before, places[min(2, len(places) - 1)] - places[0]
        cosine = float(arriving @ leaving / max(np.linalg.norm(arriving) * np.linalg.norm(leaving), 1e-9))
        angle = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    return VesselSegment(
        points=points,
        widths_px=widths.astype(np.float32),
        length_px=float(np.hypot(*np.diff(points, axis=0).T).sum()),
        kind=vessel.kind,
        order=vessel.order,
        parent=parent,
        angle_deg=angle,
    )
