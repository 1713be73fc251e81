"""A photograph -> masks -> numbers: the shipped segmenters and the measurements of an eye as one step of `analyze`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .biomarkers import catalogue
from .biomarkers.artery_vein import one_class_per_vessel
from .biomarkers.eye import NASAL, STRUCTURES, UNSURE, EyeFacts, EyeMeasurements, measure_eye
from .biomarkers.fovea import find_fovea
from .biomarkers.optic_disc import disc_of
from .core.errors import UnknownName
from .core.results import Measurement
from .segmenting import Segmenter, largest_region, load_segmenter, masks_of, square_probabilities, surest_region
from .shipped import resolve_segmenter, segmenter_facts, shipped_segmenters
from .transforms.squares import FRAME_PX, Squares

#: Width of the rim of the field, as a share of the frame, where reflexes and shadows look like lesions; the least lesion, px of the
#: frame (about 30 um across); lesions that a bright disc is taken for.
_RIM, _LEAST_PX, _BRIGHT = 0.015, 8, ("EX", "SE")
#: From this lead of one kind over the other, in [0, 1], on a vessel is called an artery or a vein.
_KNOWN = 0.2
#: Share of the frame by which a disc is far from the middle: so far nasal of it a photograph is rarely taken.
_FAR = 0.15
#: Structure of a segmenter to the name under which it is measured.
_MEASURED_AS = {"vessel": "vessels"}

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPhotograph:
    """A photograph, its masks and its numbers, all in the frame of measuring.

    Args:
        image: Which picture of the study, such as "cfp.0".
        pixels: `(FRAME_PX, FRAME_PX, 3)` uint8.
        masks: Structure to bool; "vessels", "disc", "cup", lesions, "artery" and "vein" where a segmenter tells them apart.
        found: Measurements of the eye and what they were taken from; the measurements carry `image`.
        laterality: "OD", "OS" or None.
        facts: JSON-ready: width of the field in the file, scale, structures that were not looked for.
        seconds: Spent.
        notes: Codes of doubts, such as `cfp.0.laterality_doubtful`: the disc lies far on the temporal side of the stated eye.
    """

    image: str
    pixels: npt.NDArray[np.uint8]
    masks: Mapping[str, Bools]
    found: EyeMeasurements
    laterality: str | None
    facts: Mapping[str, Any]
    seconds: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurer:
    """Segmenters by name and how they are used; weights are read when the first photograph comes.

    Args:
        names: Shipped segmenters or folders of trained ones.
        device: Where they run.
        flips: Mirror images averaged: 1, 2 or 4.
        estimate_scale: Take micrometres from the assumed size of a disc where the file states no spacing; marked so.
        unproven: Measure also structures of which a segmenter says that it is often wrong elsewhere.

    Example:
        >>> Measurer(names=("disc_cup",)).sides
        (512,)
    """

    names: tuple[str, ...]
    device: str = "cpu"
    flips: int = 1
    estimate_scale: bool = True
    unproven: bool = False

    @classmethod
    def shipped(cls, *, device: str = "cpu", flips: int = 1, unproven: bool = False) -> Measurer:
        """Return all segmenters of colour photographs that are in the package.

        Raises:
            UnknownName: There is none.
        """
        names = tuple(n for n in shipped_segmenters() if _is_of_photographs(n))
        if not names:
            raise UnknownName(
                "no segmenter is in the package.", code="model.not_found", hint="Install it again, or use --no-measure."
            )
        return cls(names=names, device=device, flips=flips, unproven=unproven)

    @property
    def sides(self) -> tuple[int, ...]:
        """Sides of the squares the segmenters want."""
        return tuple(sorted({int(_facts(n)["field_px"]) for n in self.used} or {FRAME_PX}))

    @property
    def used(self) -> tuple[str, ...]:
        """Segmenters of which any structure is looked for; one that is often wrong in all it finds costs no time."""
        return tuple(n for n in self.names if set(_facts(n)["classes"]) - set(self._held_back(n)))

    def _held_back(self, name: str) -> tuple[str, ...]:
        """Return the structures of a segmenter that are not measured, because it is often wrong there."""
        return () if self.unproven else tuple(_facts(name).get("unproven", ()))

    @property
    def config(self) -> dict[str, Any]:
        """Everything that decides the numbers, JSON-ready; it is also their provenance."""
        return {
            "measured_with": self.measured_with,
            "frame_px": FRAME_PX,
            "flips": self.flips,
            "estimate_scale": self.estimate_scale,
            "unproven": self.unproven,
            "least_lead_of_a_kind": _KNOWN,
            "lesions": {"rim": _RIM, "least_px": _LEAST_PX, "not_in_disc": list(_BRIGHT)},
            "segmenters": {
                _title(n): {"sha256": f["sha256"], "thresholds": f["thresholds"], "terms": f.get("terms", "")}
                for n, f in ((n, _facts(n)) for n in self.used)
            },
        }

    @property
    def measured_with(self) -> str:
        """What made the numbers, short: only numbers that were made alike may be compared."""
        digests = (f"{_title(n)}:{_facts(n)['sha256'][:8]}" for n in self.used)
        return f"{'|'.join(digests)}|frame:{FRAME_PX}|flips:{self.flips}|fovea:found"

    def measure(self, squares: Squares, *, laterality: str | None = None) -> MeasuredPhotograph:
        """Return masks and measurements of one photograph.

        Args:
            squares: The photograph at the scales of `sides`.
            laterality: "OD", "OS" or None; nothing is guessed.
        """
        began = time.perf_counter()
        probabilities: dict[str, Floats] = {}
        masks: dict[str, Bools] = {}
        # Structure to why it is not looked for.
        absent: dict[str, str] = {}
        kinds: tuple[Floats, Floats] | None = None
        for key in self.names:
            held_back = self._held_back(key)
            absent |= {_MEASURED_AS.get(c, c): "segmenter.unproven" for c in held_back}
            if key not in self.used:
                continue
            segmenter = _loaded(key, self.device)
            if squares.side_px < segmenter.least_px:
                names = [_MEASURED_AS.get(c, c) for c in segmenter.classes if c not in held_back]
                absent |= {n: "image.too_small" for n in names if n not in masks}
                continue
            found = self._in_frame(segmenter, squares)
            made = masks_of(segmenter, found)
            if {"artery", "vein"} <= set(found):
                kinds = found["artery"], found["vein"]
            for c in (c for c in segmenter.classes if c not in held_back):
                name = _MEASURED_AS.get(c, c)
                # A segmenter of one structure alone sees more of it than one that has to tell several apart.
                if name not in masks or len(segmenter.classes) == 1:
                    masks[name], probabilities[name] = made[c], _centred(found[c], segmenter.thresholds[c])
        if kinds is not None and "vessels" in masks:
            _tell_apart(masks, probabilities, *kinds)
        _keep_one_disc(masks, probabilities)
        clean_lesions(masks, probabilities, squares.field)
        facts = EyeFacts(spacing_um=squares.um_per_px, laterality=laterality, estimate_scale=self.estimate_scale)
        measured = measure_eye(
            {**masks, "field": squares.field},
            look_for_fovea(facts, squares.frame, masks, squares.field),
            probabilities=probabilities,
        )
        absent = {n: absent[n] for n in sorted(absent.keys() - masks)}
        rows = tuple(replace(m, image=squares.image) for m in _worded(measured.measurements, masks, absent))
        scale = measured.scale
        return MeasuredPhotograph(
            image=squares.image,
            pixels=squares.frame,
            masks=masks,
            found=replace(measured, measurements=rows),
            laterality=laterality,
            facts={
                "field_px": round(squares.side_px, 1),
                "um_per_px": None if scale.um_per_px is None else float(f"{scale.um_per_px:.6g}"),
                "scale": "none"
                if scale.um_per_px is None
                else "estimated from the disc"
                if scale.estimated
                else "stated",
                "not_looked_for": absent,
            },
            seconds=time.perf_counter() - began,
            notes=(f"{squares.image}.laterality_doubtful",) if _on_the_wrong_side(measured) else (),
        )

    def _in_frame(self, segmenter: Segmenter, squares: Squares) -> dict[str, Floats]:
        found = square_probabilities(segmenter, squares.pixels[segmenter.field_px], flips=self.flips)
        scaled = [_scaled(p) for p in found]
        return {c: np.where(squares.field, p, np.float32(0)) for c, p in zip(segmenter.classes, scaled, strict=True)}


@cache
def _facts(name: str) -> dict[str, Any]:
    return segmenter_facts(name)


def _is_of_photographs(name: str) -> bool:
    facts = _facts(name)
    return "surfaces" not in facts and facts.get("modality", "cfp") == "cfp"


def _title(name: str) -> str:
    """Return what outputs call a segmenter: never the path of a folder."""
    return resolve_segmenter(name)[1]


@cache
def _loaded(name: str, device: str) -> Segmenter:
    return load_segmenter(name, device=device)


def _scaled(probability: Floats) -> Floats:
    if probability.shape == (FRAME_PX, FRAME_PX):
        return probability
    made = cv2.resize(probability, (FRAME_PX, FRAME_PX), interpolation=cv2.INTER_LINEAR)
    return np.clip(np.asarray(made, np.float32), 0, 1)


def _centred(probability: Floats, threshold: float) -> Floats:
    """Return probabilities bent so that the threshold lies at one half: what they leave open is asked on both sides of it.

    Example:
        >>> [round(float(p), 3) for p in _centred(np.array([0.0, 0.35, 0.7, 0.85, 1.0], np.float32), 0.7)]
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    low = probability * np.float32(0.5 / threshold)
    high = (probability - np.float32(1.0)) * np.float32(0.5 / (1 - threshold)) + np.float32(1.0)
    return np.where(probability < threshold, low, high)


def _tell_apart(masks: dict[str, Bools], probabilities: dict[str, Floats], artery: Floats, vein: Floats) -> None:
    """Call every vessel that was found an artery or a vein; the segmenter of kinds alone misses more of them than that of vessels.

    Where it leaves a vessel open, that stays of unknown kind and counts among all vessels only.
    """
    side = one_class_per_vessel(artery, vein, masks["vessels"])
    for name, sign in (("artery", 1), ("vein", -1)):
        # Just beside a mask its vessel is the nearest one: uncertainty moves the walls and not the kind.
        mine = masks["vessels"] & (sign * side > _KNOWN)
        near = cv2.dilate(mine.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        masks[name] = mine
        probabilities[name] = np.where(mine | near & ~masks["vessels"], probabilities["vessels"], np.float32(0))


def _keep_one_disc(masks: Mapping[str, Bools], probabilities: dict[str, Floats]) -> None:
    """Leave of disc and cup what belongs to one disc, as their masks do."""
    if "disc" not in probabilities:
        return
    likely, chosen = probabilities["disc"] >= UNSURE, masks["disc"]
    if chosen.any():
        # The region that holds the mask; another one may be larger where less is asked.
        _, labels = cv2.connectedComponents((likely | chosen).astype(np.uint8), connectivity=8)
        disc = labels == np.bincount(labels[chosen]).argmax()
    else:
        disc = surest_region(likely, probabilities["disc"])
    probabilities["disc"] = np.where(disc, probabilities["disc"], np.float32(0))
    if "cup" in probabilities:
        cup = largest_region((probabilities["cup"] >= UNSURE) & disc)
        probabilities["cup"] = np.where(cup, probabilities["cup"], np.float32(0))


def clean_lesions(masks: dict[str, Bools], probabilities: dict[str, Floats], visible: Bools) -> None:
    """Take away what is no lesion: reflexes at the rim of the field, the bright disc itself, and specks of few pixels.

    Args:
        masks: Structure to `(FRAME_PX, FRAME_PX)`; lesions are changed, the others only looked at.
        probabilities: Of the same structures, 0.5 at the threshold; changed alike.
        visible: The field of view.
    """
    rim = round(_RIM * FRAME_PX)
    # The frame may cut the field: what lies beyond it is no field either.
    inner = cv2.erode(
        visible.astype(np.uint8), np.ones((2 * rim + 1, 2 * rim + 1), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
    ).astype(np.bool_)  # fmt: skip
    disc = masks.get("disc")
    around = None if disc is None else cv2.dilate(disc.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    for name in (n for n in list(masks) if n not in STRUCTURES):
        allowed = inner & ~around if around is not None and name in _BRIGHT else inner
        masks[name] = _lesions_inside(masks[name], allowed)
        # Other thresholds are asked only around what is left, and where nothing was taken away.
        wide = _lesions_inside(probabilities[name] >= UNSURE, allowed)
        probabilities[name] = np.where(wide, probabilities[name], np.float32(0))


def _lesions_inside(mask: Bools, allowed: Bools) -> Bools:
    """Return the parts of a mask that are large enough and of which most lies where lesions may be."""
    if not mask.any():
        return mask
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    here = labels[mask]
    sizes = np.bincount(here, minlength=count)
    inside = np.bincount(labels[mask & allowed], minlength=count)
    kept = (sizes >= _LEAST_PX) & (inside > 0.5 * sizes)
    found = np.zeros_like(mask)
    found[mask] = kept[here]
    return found


def look_for_fovea(
    facts: EyeFacts, pixels: npt.NDArray[np.uint8], masks: Mapping[str, Any], field: Bools | None
) -> EyeFacts:
    """Return what is known of an eye with the fovea that its photograph shows; one that was stated is left as it is.

    Args:
        facts: Of the eye.
        pixels: `(H, W, 3)` uint8, the photograph in the frame of the masks.
        masks: Structure to `(H, W)`; "disc" is needed, "vessels" helps.
        field: `(H, W)`, or None for the whole picture.
    """
    disc = disc_of(masks["disc"], field) if "disc" in masks else "disc.absent"
    if facts.fovea is not None or isinstance(disc, str):
        return facts
    nasal = NASAL.get(str(facts.laterality))
    found = find_fovea(pixels, disc, vessels=masks.get("vessels"), field=field, nasal=nasal)
    if isinstance(found, str):
        return replace(facts, no_fovea=found)
    return replace(facts, fovea=found.center, fovea_found=True)


def _worded(rows: Sequence[Measurement], masks: Mapping[str, Any], absent: Mapping[str, str]) -> list[Measurement]:
    """Return the rows that were asked for: kinds of vessels that no segmenter tells apart and empty sectors of lesions are left out.

    What was not looked for says why instead of saying that its mask is absent.
    """
    kept = []
    for m in rows:
        kind = catalogue.structure_of(m.name)
        if m.failure in ("mask.absent", "disc.absent", "cup.absent"):
            if kind in absent:
                m = replace(m, failure=absent[kind])
            elif kind not in masks:
                continue
        # Eleven sectors without a fovea are one fact, which the disc-fovea distance already tells.
        if m.failure and (m.region or "").startswith("ETDRS"):
            continue
        kept.append(m)
    for name in (n for n in absent if n not in STRUCTURES):
        for base, unit in (("count", "count"), ("area", "um^2")):
            fact = catalogue.fact_of(f"{name}_{base}")
            kept.append(
                Measurement(name=f"{name}_{base}", value=None, unit=unit, region="field", source=fact.source,
                            failure=absent[name])
            )  # fmt: skip
    return kept


def _on_the_wrong_side(found: EyeMeasurements) -> bool:
    """Return whether the disc lies far on the temporal side, as in a photograph of the other eye or one that is mirrored."""
    if found.disc is None or found.nasal is None:
        return False
    return (found.disc.center[1] - (FRAME_PX - 1) / 2) * found.nasal < -_FAR * FRAME_PX
