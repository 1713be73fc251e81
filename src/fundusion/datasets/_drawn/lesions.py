"""Lesions of an eye as blobs in field radii: where they lie follows the grade and what else the eye has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .anatomy import FloatArray, Frame, Layout
from .raster import add_blob, cover_line, sample_line
from .vessels import Vessel

#: Names in `Truth.lesions`.
LESIONS = ("MA", "HE", "EX", "SE", "NV", "drusen")

#: Least and greatest number of lesions by ICDR grade. Grade 1 is microaneurysms alone, as the scale defines it.
COUNTS: dict[int, dict[str, tuple[int, int]]] = {
    0: {},
    1: {"MA": (4, 12)},
    2: {"MA": (6, 20), "HE": (4, 12), "EX": (10, 70)},
    3: {"MA": (15, 35), "HE": (20, 42), "EX": (0, 80), "SE": (2, 6)},
    4: {"MA": (8, 30), "HE": (8, 28), "EX": (0, 60), "SE": (0, 4), "NV": (1, 3)},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One lesion in field radii.

    Args:
        name: One of `LESIONS`.
        place: (x, y) of its centre.
        radius: Mean radius.
        wobble: `(K, 2)` harmonics of the outline.
        stretch: Length by width.
        angle: Direction of the length, rad.
        strands: New vessels only: polylines `(N, 2)`.
        flat: Boat-shaped: everything above the centre is cut off, as blood settles in front of the retina.
    """

    name: str
    place: tuple[float, float]
    radius: float
    wobble: npt.NDArray[np.float64]
    stretch: float = 1.0
    angle: float = 0.0
    strands: tuple[FloatArray, ...] = ()
    flat: bool = False


def draw_lesions(
    generator: np.random.Generator,
    layout: Layout,
    vessels: Sequence[Vessel],
    *,
    grade: int,
    drusen: bool = False,
    hypertensive: bool = False,
) -> list[Lesion]:
    """Return the lesions of an eye.

    Args:
        generator: Source of chance.
        layout: Where disc and fovea are.
        vessels: Along which flame haemorrhages and new vessels lie.
        grade: ICDR grade; `COUNTS` says what it shows.
        drusen: Age-related drusen around the fovea.
        hypertensive: Flame haemorrhages and cotton-wool spots near the disc, without microaneurysms.
    """
    found: list[Lesion] = []
    counts = {k: int(generator.integers(low, high + 1)) for k, (low, high) in COUNTS[grade].items()}
    for _ in range(counts.get("MA", 0)):
        found.append(_round(generator, "MA", _macular(generator, layout, 0.5), (0.008, 0.013), 0.06))
    for _ in range(counts.get("HE", 0)):
        if generator.random() < 0.25:
            found.append(_flame(generator, layout, vessels, near_disc=False))
        else:
            found.append(_round(generator, "HE", _macular(generator, layout, 0.6), (0.014, 0.045), 0.22))
    found += _exudates(generator, layout, counts.get("EX", 0))
    for _ in range(counts.get("SE", 0)):
        place = _ring(generator, layout.disc, 0.28, 0.75)
        found.append(_round(generator, "SE", place, (0.03, 0.06), 0.2, stretch=generator.uniform(1, 1.8)))
    for i in range(counts.get("NV", 0)):
        found.append(_tuft(generator, layout, vessels, at_disc=i == 0 and generator.random() < 0.5))
    if grade == 4 and generator.random() < 0.6:
        side = 1 if generator.random() < 0.6 else -1
        place = layout.fovea[0] + generator.uniform(-0.25, 0.3), layout.fovea[1] + side * generator.uniform(0.3, 0.5)
        boat = _round(generator, "HE", place, (0.1, 0.2), 0.06, stretch=generator.uniform(1.2, 1.8))
        found.append(_with(boat, flat=True, angle=0.0))
    if drusen:
        for _ in range(int(generator.integers(20, 70))):
            place = _ring(generator, layout.fovea, 0.0, 0.4)
            found.append(_round(generator, "drusen", place, (0.008, 0.026), 0.15))
    if hypertensive:
        for _ in range(int(generator.integers(4, 9))):
            found.append(_flame(generator, layout, vessels, near_disc=True))
        for _ in range(int(generator.integers(1, 4))):
            place = _ring(generator, layout.disc, 0.25, 0.6)
            found.append(_round(generator, "SE", place, (0.03, 0.055), 0.2))
    clear = 1.15 * layout.disc_radius
    kept = [s for s in found if s.name == "NV" or _distance(s.place, layout.disc) > clear + s.radius]
    return [s for s in kept if np.hypot(*s.place) + s.radius < 0.96]


def paint_lesions(lesions: Sequence[Lesion], name: str, frame: Frame) -> FloatArray:
    """Return the coverage `(H, W)` in [0, 1] by the lesions of one kind."""
    canvas = np.zeros((frame.size, frame.size), np.float32)
    for lesion in lesions:
        if lesion.name != name:
            continue
        if lesion.strands:
            lines = [
                sample_line(frame.to_pixels(s), np.full(len(s), 0.0055 * frame.radius_px, np.float32))
                for s in lesion.strands
            ]
            points, widths = (np.concatenate(part) for part in zip(*lines, strict=True))
            np.maximum(canvas, cover_line(points, widths, canvas.shape)[0], out=canvas)
            continue
        row, col = (float(v) for v in frame.to_pixels(lesion.place))
        before = canvas[: max(0, int(row))].copy() if lesion.flat else None
        radius = lesion.radius * frame.radius_px
        angle = lesion.angle if frame.sign > 0 else np.pi - lesion.angle
        soft = max(0.5, radius * {"SE": 0.5, "drusen": 0.3, "HE": 0.14}.get(name, 0.1))
        add_blob(canvas, (row, col), radius, wobble=lesion.wobble, stretch=lesion.stretch, angle=angle, soft=soft)
        if before is not None:
            canvas[: len(before)] = before
    return canvas


def lesion_mask(coverage: FloatArray, lesions: Sequence[Lesion], name: str, frame: Frame) -> npt.NDArray[np.bool_]:
    """Return the pixels of one kind: half covered, and of a lesion smaller than a pixel the one at its centre."""
    mask = coverage >= 0.5
    for lesion in lesions:
        if lesion.name == name and not lesion.flat and not lesion.strands:
            row, col = (int(v) for v in np.rint(frame.to_pixels(lesion.place)))
            if 0 <= row < mask.shape[0] and 0 <= col < mask.shape[1]:
                mask[row, col] = True
    return mask


def _distance(a: tuple[float, float], b: tuple[float, float]) -> float:
    return float(np.hypot(a[0] - b[0], a[1] - b[1]))


def _with(lesion: Lesion, **changes: object) -> Lesion:
    values = {name: getattr(lesion, name) for name in lesion.__dataclass_fields__}
    return Lesion(**{**values, **changes})  # type: ignore[arg-type]


def _ring(generator: np.random.Generator, center: tuple[float, float], low: float, high: float) -> tuple[float, float]:
    """A place between two distances from a centre, even over the area."""
    distance = np.sqrt(generator.uniform(low**2, high**2))
    angle = generator.uniform(0, 2 * np.pi)
    return float(center[0] + distance * np.cos(angle)), float(center[1] + distance * np.sin(angle))


def _macular(generator: np.random.Generator, layout: Layout, spread: float) -> tuple[float, float]:
    x, y = generator.normal(0, 0.62 * spread, 2)
    return float(layout.fovea[0] + x), float(layout.fovea[1] + y)


def _round(
    generator: np.random.Generator,
    name: str,
    place: tuple[float, float],
    radii: tuple[float, float],
    rough: float,
    *,
    stretch: float = 1.0,
) -> Lesion:
    # Many small and few large: the square of a uniform number.
    radius = radii[0] + (radii[1] - radii[0]) * generator.random() ** 2
    amplitude = generator.uniform(0, rough, 4) / np.array([1, 1.4, 2, 2.6])
    return Lesion(
        name=name,
        place=place,
        radius=float(radius),
        wobble=np.stack([amplitude, generator.uniform(0, 2 * np.pi, 4)], -1),
        stretch=float(stretch),
        angle=float(generator.uniform(0, np.pi)),
    )


def _flame(generator: np.random.Generator, layout: Layout, vessels: Sequence[Vessel], *, near_disc: bool) -> Lesion:
    """A haemorrhage in the nerve fibres beside a vessel, drawn out along it."""
    main = [v for v in vessels if v.order == 0 and len(v.points) > 14]
    vessel = main[int(generator.integers(len(main)))]
    first = 9
    last = min(len(vessel.points) - 1, 24 if near_disc else len(vessel.points) - 1)
    at = int(generator.integers(first, max(first + 1, last)))
    way = vessel.points[at] - vessel.points[at - 2]
    angle = float(np.arctan2(way[1], way[0]))
    aside = generator.uniform(0.02, 0.06) * (1 if generator.random() < 0.5 else -1)
    place = float(vessel.points[at][0] - aside * np.sin(angle)), float(vessel.points[at][1] + aside * np.cos(angle))
    blob = _round(generator, "HE", place, (0.018, 0.04), 0.25, stretch=generator.uniform(2, 4))
    return _with(blob, angle=angle)


def _exudates(generator: np.random.Generator, layout: Layout, count: int) -> list[Lesion]:
    """Hard exudates in one to three clusters, some as a ring around a leaking point."""
    found: list[Lesion] = []
    clusters = [_ring(generator, layout.fovea, 0.06, 0.42) for _ in range(int(generator.integers(1, 4)))]
    rings = [generator.uniform(0.05, 0.14) if generator.random() < 0.5 else 0.0 for _ in clusters]
    for i in range(count):
        center, ring = clusters[i % len(clusters)], rings[i % len(clusters)]
        angle = generator.uniform(0, 2 * np.pi)
        distance = ring + generator.normal(0, 0.014 if ring else 0.05)
        place = float(center[0] + distance * np.cos(angle)), float(center[1] + distance * np.sin(angle))
        found.append(_round(generator, "EX", place, (0.005, 0.017), 0.3, stretch=generator.uniform(1, 1.6)))
    return found


def _tuft(generator: np.random.Generator, layout: Layout, vessels: Sequence[Vessel], *, at_disc: bool) -> Lesion:
    """New vessels: a fan of curled thin strands on the disc or on a vein."""
    if at_disc:
        place = layout.disc
    else:
        veins = [v for v in vessels if v.order == 0 and v.kind == "vein" and len(v.points) > 20]
        vein = veins[int(generator.integers(len(veins)))]
        at = int(generator.integers(14, len(vein.points) - 4))
        place = float(vein.points[at][0]), float(vein.points[at][1])
    reach = float(generator.uniform(0.09, 0.16))
    strands = []
    for _ in range(int(generator.integers(9, 17))):
        turn = np.cumsum(generator.normal(0, 0.5, 22)) + generator.uniform(0, 2 * np.pi)
        steps = np.stack([np.cos(turn), np.sin(turn)], -1) * reach / 9
        strands.append((np.asarray(place) + np.concatenate([np.zeros((1, 2)), np.cumsum(steps, 0)])).astype(np.float32))
    blank = np.zeros((0, 2))
    return Lesion(name="NV", place=place, radius=reach, wobble=blank, strands=tuple(strands))
