"""What is known of a DICOM picture besides its pixels: eye, kind, spacing, time, camera, place of B-scans. No identifier."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.errors import ReadError
from ...core.vocabulary import Laterality
from .header import value_of

_PHOTOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.5."
_MODALITY_OF = {"1": "cfp", "2": "slo", "4": "oct", "5": "uwf", "6": "uwf", "7": "octa", "8": "octa"}
_EYES = {"R": Laterality.RIGHT, "L": Laterality.LEFT}
#: SNOMED CT and the older SRT codes of "right" and "left".
_SIDE_CODES = {"24028007": "R", "G-A100": "R", "7771000": "L", "G-A101": "L"}
#: SNOMED CT and SRT codes of what makes a grey photograph an angiogram or a scan.
_AGENTS = {"35321007": "ffa", "C-B02CC": "ffa", "7292004": "icga", "C-B0156": "icga"}
_DEVICES = {"409898007": "slo", "A-00E8B": "slo", "392012008": "slo"}
_MAX_FRAMES = 4096


def modality_of(dataset: Any) -> str:
    """Return the modality of an object class; a contrast agent makes a photograph an angiogram."""
    uid = str(value_of(dataset, "SOPClassUID", ""))
    kind = "oct" if str(value_of(dataset, "Modality", "")) == "OPT" else "cfp"
    if uid.startswith(_PHOTOGRAPHY):
        kind = _MODALITY_OF.get(uid.removeprefix(_PHOTOGRAPHY).split(".")[0], "cfp")
    if kind in ("cfp", "slo"):
        for code in _codes(dataset, "ContrastBolusAgentSequence"):
            if code in _AGENTS:
                return _AGENTS[code]
    if kind == "cfp" and any(c in _DEVICES for c in _codes(dataset, "AcquisitionDeviceTypeCodeSequence")):
        return "slo"
    return kind


def laterality_of(dataset: Any, *, functional_groups: bool = True) -> Laterality | None:
    """Return the eye that every place of the object agrees on; None where none names one eye.

    Read are Image Laterality (0020,0062), Laterality (0020,0060), Frame Laterality (0020,9072) of the shared and the
    per-frame anatomy, and the modifier of the anatomic region. "B" (both) names no single eye.

    Raises:
        ReadError: `laterality.conflict`: they name different eyes.
    """
    named: dict[str, Laterality] = {}
    for keyword in ("ImageLaterality", "Laterality"):
        _collect(named, keyword, value_of(dataset, keyword))
    for region in _items(dataset, "AnatomicRegionSequence"):
        for code in _codes(region, "AnatomicRegionModifierSequence"):
            _collect(named, "the anatomic region", _SIDE_CODES.get(code))
    if functional_groups:
        for group in _groups(dataset):
            for anatomy in _items(group, "FrameAnatomySequence"):
                _collect(named, "Frame Laterality", value_of(anatomy, "FrameLaterality"))
    if len(set(named.values())) > 1:
        raise ReadError(
            f"{' and '.join(dict.fromkeys(k.rstrip(' RL') for k in named))} name different eyes.",
            code="laterality.conflict",
            hint="Correct the object; the study is held until then.",
        )
    return next(iter(named.values()), None)


def _collect(named: dict[str, Laterality], place: str, value: Any) -> None:
    word = str(value or "").strip().upper()
    if word in _EYES:
        named[f"{place} {word}"] = _EYES[word]


def spacing_of(dataset: Any, frame: int | None, notes: list[str]) -> tuple[float, float] | None:
    """Return micrometres per pixel of rows and columns; None with a note where they are missing, zero or not the same.

    Args:
        dataset: The object.
        frame: Number of the frame from 1; None for all, which must then agree.
        notes: Receives `spacing.missing`, `spacing.invalid` or `spacing.varies`.
    """
    found = []
    per_frame = _items(dataset, "PerFrameFunctionalGroupsSequence")
    chosen = per_frame if frame is None else per_frame[frame - 1 : frame]
    for holder in [dataset, *_measures(_items(dataset, "SharedFunctionalGroupsSequence")), *_measures(chosen)]:
        value = value_of(holder, "PixelSpacing")
        if value is not None:
            found.append(_pair(value))
    if not found:
        notes.append("spacing.missing")
    elif None in found:
        notes.append("spacing.invalid")
    elif len(set(found)) > 1:
        notes.append("spacing.varies")
    else:
        return found[0]
    return None


def distance_of(dataset: Any) -> float | None:
    """Return micrometres between neighbouring B-scans where the object states one distance, else None."""
    found = {
        _number(value_of(holder, "SpacingBetweenSlices"))
        for holder in [dataset, *_measures(_groups(dataset))]
        if value_of(holder, "SpacingBetweenSlices") is not None
    }
    distance = found.pop() if len(found) == 1 else None
    return None if distance is None else distance * 1000


def lines_of(dataset: Any, frames: int) -> npt.NDArray[np.float64] | None:
    """Return where each B-scan lies on the localiser, `(D, 4)`: row and column of its start and of its end.

    Source: DICOM PS3.3 Ophthalmic Frame Location, Reference Coordinates (0022,0032) as row, column pairs.
    """
    groups = _items(dataset, "PerFrameFunctionalGroupsSequence")
    if len(groups) != frames or frames > _MAX_FRAMES:
        return None
    lines = []
    for group in groups:
        places = _items(group, "OphthalmicFrameLocationSequence")
        try:
            points = [float(v) for v in places[0].get("ReferenceCoordinates")]
        except Exception:
            return None
        if len(points) < 4 or not np.isfinite(points).all():
            return None
        lines.append([*points[:2], *points[-2:]])
    return np.asarray(lines, np.float64)


def stack_order(dataset: Any, frames: int) -> list[int] | None:
    """Return the place in the stack of each frame from 1, where every frame states one.

    Raises:
        ReadError: `volume.gap`: places are left out or taken twice.
    """
    groups = _items(dataset, "PerFrameFunctionalGroupsSequence")
    if len(groups) != frames:
        return None
    places, stacks = [], set()
    for group in groups:
        content = _items(group, "FrameContentSequence")
        place = value_of(content[0], "InStackPositionNumber") if content else None
        if not isinstance(place, int):
            return None
        places.append(int(place))
        stacks.add(str(value_of(content[0], "StackID", "")))
    if len(stacks) > 1:
        # Several stacks in one object count from 1 each.
        return None
    if sorted(places) != list(range(1, frames + 1)):
        raise ReadError(
            f"the {frames} B-scans say they take the places {min(places)} to {max(places)}; some are missing or double.",
            code="volume.gap",
            hint="Export the whole volume again.",
        )
    return places


def acquired_of(dataset: Any) -> datetime | None:
    """Return when the picture was taken, local time of the device."""
    text = str(value_of(dataset, "AcquisitionDateTime", "")) or (
        f"{value_of(dataset, 'AcquisitionDate', '')}{value_of(dataset, 'AcquisitionTime', '')}"
    )
    try:
        return datetime.strptime(text[:14], "%Y%m%d%H%M%S")
    except ValueError:
        return None


def device_of(dataset: Any) -> str | None:
    """Return maker and model; never a serial number, station or institution."""
    words: list[str] = []
    for keyword in ("Manufacturer", "ManufacturerModelName"):
        text = re.sub(r"[^\w .,()/&+-]", "", str(value_of(dataset, keyword, ""))).strip()[:64]
        if text and text.casefold() not in " ".join(words).casefold():
            words.append(text)
    return " ".join(words) or None


def _items(dataset: Any, keyword: str) -> list[Any]:
    value = value_of(dataset, keyword)
    try:
        return [item for item in value if hasattr(item, "get")][:_MAX_FRAMES] if value else []
    except Exception:
        return []


def _groups(dataset: Any) -> Iterator[Any]:
    yield from _items(dataset, "SharedFunctionalGroupsSequence")
    yield from _items(dataset, "PerFrameFunctionalGroupsSequence")


def _measures(groups: Any) -> Iterator[Any]:
    for group in groups:
        yield from _items(group, "PixelMeasuresSequence")


def _codes(dataset: Any, keyword: str) -> list[str]:
    return [str(value_of(item, "CodeValue", "")) for item in _items(dataset, keyword)]


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) and number > 0 else None


def _pair(value: Any) -> tuple[float, float] | None:
    try:
        row, column = (_number(v) for v in value)
    except (TypeError, ValueError):
        return None
    # DICOM spacing is in millimetres.
    return (row * 1000, column * 1000) if row and column else None
