"""Masks of one eye -> all of its measurements, each with a number or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.results import Measurement
from . import arcades, branching, caliber, catalogue, complexity, fovea, lesions, optic_disc, tortuosity
from .compiled import warm_up
from .outcome import Outcome, failed, finite, median_of
from .scale import Scale, scale_of
from .vessel_graph import VesselGraph, vessel_graph

Bools = npt.NDArray[np.bool_]

#: A vessel mask that covers more of the field than this is none. Dense hand drawings reach 0.2.
MOST_DENSITY = 0.5
#: Names of masks that are no lesions.
STRUCTURES = ("artery", "vein", "vessels", "disc", "cup", "field")
#: Eye to the side that is nasal: +1 right, as in a photograph of a right eye.
NASAL = {"OD": 1.0, "OS": -1.0}
#: Thresholds between which a probability map says how sure a mask is.
SURE, UNSURE = 0.6, 0.4


_NO_SCALE = Scale()


@dataclass(frozen=True, slots=True, kw_only=True)
class EyeFacts:
    """What is known of an eye beside its masks.

    Args:
        spacing_um: Micrometres per pixel; None where it is not known.
        laterality: "OD", "OS" or None.
        fovea: (row, col) or None.
        fovea_found: Whether `find_fovea` found it, where nobody stated it: what rests on it is marked.
        no_fovea: Code of the reason why it is None.
        ungradable: Whether the picture was judged ungradable.
        estimate_scale: Whether micrometres may be taken from the assumed size of a disc.
    """

    spacing_um: float | None = None
    laterality: str | None = None
    fovea: tuple[float, float] | None = None
    fovea_found: bool = False
    no_fovea: str = "fovea.absent"
    ungradable: bool = False
    estimate_scale: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EyeMeasurements:
    """All measurements of an eye, and what they were taken from, for pictures.

    Args:
        measurements: In the order of the catalogue.
        graphs: "artery", "vein", "vessels" to graph, where one was made.
        disc: Optic disc, or None.
        scale: What a pixel is.
        fovea: (row, col) or None.
        nasal: +1 where nasal is to the right, -1 to the left, None where it is not known.
    """

    measurements: tuple[Measurement, ...]
    graphs: Mapping[str, VesselGraph] = field(default_factory=dict)
    disc: optic_disc.Disc | None = None
    scale: Scale = _NO_SCALE
    fovea: tuple[float, float] | None = None
    nasal: float | None = None

    def by_name(self) -> dict[str, Measurement]:
        """Return the measurements by name; of those of several regions the first, which is of the whole field."""
        found: dict[str, Measurement] = {}
        for m in self.measurements:
            found.setdefault(m.name, m)
        return found


@dataclass(slots=True, kw_only=True)
class _Eye:
    """Masks that were accepted, codes of those that were not, and what was found on the way."""

    facts: EyeFacts
    masks: dict[str, Bools] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    shape: tuple[int, int] = (0, 0)
    graphs: dict[str, VesselGraph] = field(default_factory=dict)
    disc: optic_disc.Disc | None = None
    no_disc: str = "disc.absent"
    scale: Scale = _NO_SCALE
    fovea: tuple[float, float] | None = None
    no_fovea: str = "fovea.absent"
    nasal: float | None = None
    no_side: str = "laterality.absent"
    side_found: bool = False
    rows: list[tuple[str, Outcome, str]] = field(default_factory=list)


def measure_eye(
    masks: Mapping[str, npt.ArrayLike],
    facts: EyeFacts | None = None,
    *,
    probabilities: Mapping[str, npt.NDArray[Any]] | None = None,
) -> EyeMeasurements:
    """Return all measurements of an eye. Bad input never raises: each number that has no meaning is a failure with its code.

    Args:
        masks: Name to `(H, W)`, not zero inside: "artery", "vein", "vessels" (all of them; made of the other two where absent), "disc",
            "cup", "field", and any lesions by name, such as "EX". All of one size.
        facts: What is known beside.
        probabilities: Name to probability `(H, W)` in [0, 1]; each number then carries, as its uncertainty, half the change between the
            thresholds 0.4 and 0.6 where that is more than its standard error.

    Source:
        `catalogue` names the source of each measurement.

    Example:
        >>> found = measure_eye({"vessels": np.zeros((64, 64))}).by_name()
        >>> found["tortuosity_vessels"].failure
        'mask.empty'
    """
    facts = facts or EyeFacts()
    eye = _accepted(masks, facts)
    found = _measured(eye)
    if probabilities:
        low, high = (
            _measured(_accepted({**masks, **{k: _above(p, t) for k, p in probabilities.items()}}, facts))
            for t in (UNSURE, SURE)
        )
        found = replace(found, measurements=_widened(found, low, high))
    return found


def _above(probability: npt.NDArray[Any], threshold: float) -> Bools:
    return np.asarray(probability) >= threshold


def _widened(found: EyeMeasurements, low: EyeMeasurements, high: EyeMeasurements) -> tuple[Measurement, ...]:
    others = [{(m.name, m.region): m.value for m in e.measurements} for e in (low, high)]
    widened = []
    for m in found.measurements:
        a, b = (o.get((m.name, m.region)) for o in others)
        if m.value is not None and a is not None and b is not None:
            m = replace(m, uncertainty=max(abs(a - b) / 2, m.uncertainty or 0.0))
        elif m.value is not None:
            m = replace(m, flags=(*m.flags, "mask.unsure"))
        widened.append(m)
    return tuple(widened)


def _accepted(masks: Mapping[str, npt.ArrayLike], facts: EyeFacts) -> _Eye:
    """Return the masks that can be used; the first vessel mask (or else the first mask) decides the size."""
    eye = _Eye(facts=facts)
    order = sorted(masks, key=lambda n: (STRUCTURES.index(n) if n in STRUCTURES else len(STRUCTURES), n))
    for name in order:
        array = np.asarray(masks[name])
        if array.ndim != 2 or not array.size:
            eye.refused[name] = "mask.shape"
        elif array.dtype.kind not in "biuf" or (array.dtype.kind == "f" and not np.isfinite(array).all()):
            eye.refused[name] = "mask.values"
        elif eye.masks and array.shape != eye.shape:
            eye.refused[name] = "mask.size"
        else:
            eye.masks[name] = array if array.dtype == np.bool_ else array != 0
            eye.shape = (array.shape[0], array.shape[1])
    if "vessels" not in eye.masks and "vessels" not in eye.refused and {"artery", "vein"} <= eye.masks.keys():
        eye.masks["vessels"] = eye.masks["artery"] | eye.masks["vein"]
    eye.sizes = {name: int(np.count_nonzero(mask)) for name, mask in eye.masks.items()}
    return eye


def _measured(eye: _Eye) -> EyeMeasurements:
    _orient(eye)
    for kind in catalogue.VESSELS:
        _vessels(eye, kind)
    _calibres(eye)
    _disc_and_cup(eye)
    _lesions(eye)
    measurements = tuple(_measurement(eye, name, found, region) for name, found, region in eye.rows)
    return EyeMeasurements(
        measurements=measurements, graphs=eye.graphs, disc=eye.disc, scale=eye.scale, fovea=eye.fovea, nasal=eye.nasal
    )


def _measurement(eye: _Eye, name: str, found: Outcome, region: str) -> Measurement:
    fact = catalogue.fact_of(name)
    length = eye.scale.unit
    unit = {
        "length": length,
        "area": f"{length}^2",
        "per length": "1/mm" if length == "um" else "1/DD",
        "per length^2": "1/mm^2" if length == "um" else "1/DD^2",
    }.get(fact.unit, fact.unit)
    if eye.facts.ungradable:
        found = failed("quality.ungradable", found.n)
    return Measurement(
        name=name,
        value=found.value,
        unit=unit,
        region=region,
        source=fact.source,
        failure=found.failure,
        n=found.n,
        uncertainty=found.error if found.value is not None else None,
        flags=found.flags,
    )


def _orient(eye: _Eye) -> None:
    """Find the disc, the scale, the fovea and the nasal side; where they contradict each other none of them is used."""
    if "disc" in eye.masks:
        found = optic_disc.disc_of(eye.masks["disc"], eye.masks.get("field"))
        if isinstance(found, str):
            eye.no_disc = found
        else:
            eye.disc = found
    else:
        eye.no_disc = eye.refused.get("disc", "disc.absent")
    spacing = eye.facts.spacing_um
    usable = spacing is not None and math.isfinite(spacing) and spacing > 0
    eye.scale = scale_of(spacing if usable else None, eye.disc, estimate=eye.facts.estimate_scale)
    place, eye.no_fovea = eye.facts.fovea, eye.facts.no_fovea
    if place is not None:
        inside = all(math.isfinite(v) and 0 <= v <= s - 1 for v, s in zip(place, eye.shape, strict=True))
        eye.fovea, eye.no_fovea = (place, "") if inside else (None, "fovea.outside")
    eye.nasal = NASAL.get(str(eye.facts.laterality))
    if eye.disc and eye.fovea:
        away = optic_disc.to_fovea(eye.disc, eye.fovea, eye.nasal)["disc_fovea_distance"]
        if away.failure:
            eye.fovea, eye.no_fovea = None, away.failure
            if away.failure == "laterality.contradiction":
                eye.nasal, eye.no_side = None, away.failure
        elif eye.nasal is None:
            # Nasal of the fovea is where the disc lies, whichever eye it is.
            eye.nasal, eye.side_found = 1.0 if eye.disc.center[1] > eye.fovea[1] else -1.0, eye.facts.fovea_found


def _field_px(eye: _Eye) -> int:
    return eye.sizes.get("field") or eye.shape[0] * eye.shape[1]


def _vessels(eye: _Eye, kind: str) -> None:
    """Measure arteries, veins or all vessels."""
    names = [f"{base}_{kind}" for base in catalogue.OF_VESSELS]
    mask = eye.masks.get(kind)
    code = eye.refused.get(kind, "mask.absent") if mask is None else _unusable(eye, kind)
    if mask is None or code:
        eye.rows += [(name, failed(code or "mask.absent"), "field") for name in names]
        return
    graphs = [eye.graphs[k] for k in ("artery", "vein") if k in eye.graphs] if kind == "vessels" else []
    if len(graphs) < 2 or not _explained(eye):
        eye.graphs[kind] = vessel_graph(mask)
        graphs = [eye.graphs[kind]]
    found = _of_graphs(graphs, mask, _field_px(eye), eye.disc)
    flag = () if "field" in eye.masks else ("field.absent",)
    for base, fact in catalogue.OF_VESSELS.items():
        power = {"length": 1, "per length": -1, "per length^2": -2}.get(fact.unit)
        outcome = eye.scale.convert(found[base], power) if power else found[base]
        if power and power < 0 and eye.scale.unit == "um":
            # Curvatures of vessels are some tenths per millimetre.
            outcome = outcome.times(1000.0**-power)
        eye.rows.append((f"{base}_{kind}", outcome.flagged(*flag) if "density" in base else outcome, "field"))


def _unusable(eye: _Eye, kind: str) -> str | None:
    area = eye.sizes[kind]
    if area == 0:
        return "mask.empty"
    return "mask.full" if area > MOST_DENSITY * _field_px(eye) else None


def _explained(eye: _Eye) -> bool:
    """Return whether arteries and veins together are all vessels, but for 2 %."""
    both = eye.masks["artery"] | eye.masks["vein"]
    return bool(np.count_nonzero(both ^ eye.masks["vessels"]) <= 0.02 * eye.sizes["vessels"])


def _of_graphs(
    graphs: list[VesselGraph], mask: Bools, field_px: int, disc: optic_disc.Disc | None
) -> dict[str, Outcome]:
    """Return the measures of vessels, in pixels."""
    wound = [tortuosity.winding(g) for g in graphs]
    joined = wound[0] if len(wound) == 1 else tortuosity.joined(wound)
    lengths = np.concatenate([g.lengths_px for g in graphs])
    total, count = float(lengths.sum()), len(lengths)
    # Widths of segments that are long enough, not of every stump.
    widths = np.concatenate([g.segment_widths_px[w.segment] for g, w in zip(graphs, wound, strict=True)])
    points = np.concatenate([g.widths_px for g in graphs])
    boxes = complexity.count_boxes(mask)
    skeleton = np.concatenate([g.skeleton_px for g in graphs])
    lines = complexity.count_pixels(skeleton, mask.shape[1])
    spread = float(points.std() / points.mean()) if len(points) and points.mean() > 0 else math.nan
    found = {
        "density": complexity.density(int(np.count_nonzero(mask)), field_px),
        "length": finite(total, count) if count else failed("vessels.none", 0),
        "length_density": finite(total / field_px, count) if count else failed("vessels.none", 0),
        "width": median_of(widths, "vessels.none"),
        "width_variability": finite(spread, len(points)) if len(widths) else failed("vessels.none", 0),
        **tortuosity.tortuosities(joined),
        "fractal_dimension": complexity.fractal_dimension(boxes),
        "fractal_dimension_skeleton": complexity.fractal_dimension(lines),
        "lacunarity": complexity.lacunarity(boxes),
    }
    if not len(widths):
        return found | {k: failed("vessels.none", 0) for k in ("bifurcations", *_ANGLES)}
    inner = (disc.center, disc.diameter_px / 2) if disc else None
    parts = [branching.bifurcations(g, outside=inner) for g in graphs]
    return found | branching.branchings(parts)


_ANGLES = ("bifurcation_angle", "branching_coefficient", "branching_asymmetry", "junction_exponent")


def _calibres(eye: _Eye) -> None:
    """Measure what depends on circles around the disc."""
    for zone in caliber.ZONES:
        found: dict[str, Outcome] = {}
        for name, kind in (("crae", "artery"), ("crve", "vein")):
            found[name], found[f"{name}_hubbard"] = _equivalents(eye, zone, kind)
        found["avr"] = caliber.ratio(found["crae"], found["crve"])
        found["avr_hubbard"] = caliber.ratio(found["crae_hubbard"], found["crve_hubbard"])
        if eye.scale.estimated:
            found["avr_hubbard"] = found["avr_hubbard"].flagged("scale.estimated")
        for name in ("crae", "crve"):
            found[name] = eye.scale.convert(found[name])
        eye.rows += [(f"{name}_zone_{zone.lower()}", o, f"zone {zone}") for name, o in found.items()]
    for kind in ("artery", "vein"):
        eye.rows.append((f"arcade_angle_{kind}", _arcade(eye, kind), "1-2.5 DD"))


def _equivalents(eye: _Eye, zone: str, kind: str) -> tuple[Outcome, Outcome]:
    code = _no_circles(eye, kind, caliber.ZONES[zone][1])
    if code or eye.disc is None:
        return failed(code or eye.no_disc), failed(code or eye.no_disc)
    radii = caliber.zone_radii(zone, eye.disc.diameter_px / 2)
    widths = caliber.widths_by_circle(caliber.crossings(eye.graphs[kind], eye.disc.center, radii), len(radii))
    plain = caliber.equivalent(widths, kind)
    if eye.scale.um_per_px is None:
        return plain, failed("scale.no_micrometres", plain.n)
    by_hubbard = caliber.equivalent(widths, kind, um_per_px=eye.scale.um_per_px)
    return plain, by_hubbard.flagged("scale.estimated") if eye.scale.estimated else by_hubbard


def _no_circles(eye: _Eye, kind: str, outer: float) -> str | None:
    """Return why circles around the disc cannot be measured, or None."""
    if kind not in eye.graphs:
        return eye.refused.get(kind) or ("mask.absent" if kind not in eye.masks else _unusable(eye, kind))
    if eye.disc is None:
        return eye.no_disc
    if not len(eye.graphs[kind]):
        return "vessels.none"
    angles = np.radians(np.arange(0, 360, 5))
    radius = outer * eye.disc.diameter_px / 2
    rows = np.rint(eye.disc.center[0] - radius * np.sin(angles)).astype(np.int64)
    cols = np.rint(eye.disc.center[1] + radius * np.cos(angles)).astype(np.int64)
    seen = (rows >= 0) & (cols >= 0) & (rows < eye.shape[0]) & (cols < eye.shape[1])
    if eye.sizes.get("field"):
        seen[seen] = eye.masks["field"][rows[seen], cols[seen]]
    return "zone.outside" if seen.mean() < (0.6 if outer <= 3 else 0.4) else None


def _arcade(eye: _Eye, kind: str) -> Outcome:
    code = _no_circles(eye, kind, 2.0)
    if code or eye.disc is None:
        return failed(code or eye.no_disc)
    if eye.nasal is None:
        return failed(eye.no_side)
    tilt = 0.0
    if eye.fovea:
        tilt = optic_disc.to_fovea(eye.disc, eye.fovea, None)["disc_fovea_angle"].value or 0.0
    found = caliber.crossings(eye.graphs[kind], eye.disc.center, arcades.ARCADE_RADII * eye.disc.diameter_px / 2)
    return arcades.arcade_angle(found, -eye.nasal, tilt).flagged(*_of_fovea(eye))


def _of_fovea(eye: _Eye) -> tuple[str, ...]:
    """Return the remark on what rests on a fovea that nobody stated."""
    return ("fovea.found",) if eye.fovea and eye.facts.fovea_found else ()


def _disc_and_cup(eye: _Eye) -> None:
    names = [n for n, fact in catalogue.OF_EYE.items() if fact.group in ("disc", "cup", "fovea")]
    found = {n: failed(eye.no_disc) for n in names}
    if eye.disc is not None:
        found |= optic_disc.disc_measures(eye.disc)
        for name, power in (("disc_height", 1), ("disc_width", 1), ("disc_area", 2)):
            found[name] = failed("scale.circular") if _circular(eye) else eye.scale.convert(found[name], power)
        cup = eye.masks.get("cup")
        if cup is not None:
            found |= optic_disc.cup_measures(eye.masks["disc"], cup, eye.disc, eye.nasal)
            sided = ("rim_nasal", "rim_temporal", "isnt")
            if eye.nasal is None:
                found |= {n: failed(eye.no_side) for n in sided if found[n].failure == "laterality.absent"}
            elif eye.side_found:
                found |= {n: found[n].flagged(*_of_fovea(eye)) for n in sided}
        else:
            code = eye.refused.get("cup", "cup.absent")
            found |= {n: failed(code) for n in names if catalogue.OF_EYE[n].group == "cup"}
        found |= {n: failed(eye.no_fovea) for n in ("disc_fovea_distance", "disc_fovea_angle")}
        if eye.fovea is not None:
            error = fovea.ERROR_DD * eye.disc.diameter_px if eye.facts.fovea_found else None
            way = optic_disc.to_fovea(eye.disc, eye.fovea, eye.nasal, error)
            way |= {"disc_fovea_distance": eye.scale.convert(way["disc_fovea_distance"])}
            found |= {name: outcome.flagged(*_of_fovea(eye)) for name, outcome in way.items()}
    eye.rows += [(n, found[n], "disc" if catalogue.OF_EYE[n].group != "fovea" else "disc to fovea") for n in names]


def _circular(eye: _Eye) -> bool:
    """Return whether the scale came from the disc, so that it cannot measure it."""
    return eye.scale.estimated or eye.scale.um_per_px is None


def _lesions(eye: _Eye) -> None:
    names = sorted({*eye.masks, *eye.refused} - set(STRUCTURES))
    grid, code = None, ""
    if eye.fovea is None:
        code = eye.no_fovea
    elif eye.nasal is None:
        code = eye.no_side
    elif eye.scale.um_per_px is None:
        code = "scale.no_micrometres"
    elif names:
        grid = lesions.Grid(fovea=eye.fovea, um_per_px=eye.scale.um_per_px, nasal=eye.nasal)
    for name in names:
        if name in eye.refused:
            found = {"all": (failed(eye.refused[name]),) * 2} | lesions.no_sectors(eye.refused[name])
        else:
            found = lesions.count_lesions(eye.masks[name], grid)
            found = found if grid is not None else found | lesions.no_sectors(code)
        for region, (number, area) in found.items():
            place = "field" if region == "all" else f"ETDRS {region}"
            if region != "all":
                number, area = (o.flagged(*_of_fovea(eye)) for o in (number, area))
                number = number.flagged("scale.estimated") if eye.scale.estimated else number
            eye.rows += [(f"{name}_count", number, place), (f"{name}_area", eye.scale.convert(area, 2), place)]


def prepare() -> float:
    """Return the seconds it took to make the compiled functions ready; the first call of all on a machine compiles them.

    Source:
        No formula.
    """
    rows, cols = np.ogrid[:96, :96]
    cross = (np.abs(rows - 40) < 3) | (np.abs(cols - rows) < 3)
    masks = {"artery": cross & (rows + cols < 150), "disc": (rows - 48) ** 2 + (cols - 48) ** 2 < 144}
    return warm_up(lambda: measure_eye(masks))
