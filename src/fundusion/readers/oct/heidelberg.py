"""Heidelberg Spectralis: `.vol` exports by eyepy, `.e2e` databases by OCT-Converter with eyepy beside it.

Source: HEYEX raw data export description as in eyepy (MIT) `io/he/vol_reader.py`; structure of E2E files as in OCT-Converter
(MIT) `readers/e2e.py` and eyepy `io/he/e2e_format.py`. Only the layout is read here, with bounds; pixels come from the libraries.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from ...core.bscans import check_raster
from ...core.errors import MissingDependency, ReadError, require
from ...core.vocabulary import Laterality
from .layout import MAX_SLICES, Layout, Pixels, check_size, positive, tamed, text, unpack

_MAKER = "Heidelberg"
_EYES = {"OD": Laterality.RIGHT, "OS": Laterality.LEFT}
_VOL_HEADER = 2048
#: Where the names, numbers and dates of the patient stand in the header of a `.vol` file.
_VOL_IDENTIFIERS = ((104, 208), (224, 258))
_SIDES = {b"R": Laterality.RIGHT, b"L": Laterality.LEFT}
#: Type of an E2E element -> offset of the letter R or L in it.
_SIDE_AT = {3: 4, 11: 14, 59: 14}
_IMAGE, _BSCAN_META = 0x40000000, 10004
_E2E_MULTIPLE = b"E2EMultipleVolumeFile"
_MAX_ELEMENTS = 200_000


def vol_layout(content: bytes, name: str) -> Layout:
    """Return what the header of a `.vol` file says.

    Raises:
        ReadError: `oct.damaged`, `oct.size`, `image.truncated`.
    """
    # eyepy writes its own name where the device writes HSF-OCT.
    if not content.startswith((b"HSF-", b"ep-v")):
        raise ReadError(
            f"{name!r} is no Heidelberg .vol file.", code="oct.damaged", hint="Export it again as raw data."
        )
    _, width, slices, height = unpack("12sIII", content, 0, name)
    scale_x, distance, scale_y, slo_width, slo_height, slo_x, slo_y = unpack("dddIIdd", content, 24, name)
    position, ticks, pattern = unpack("4sQi", content, 84, name)
    check_size(slices, height, width, name)
    if not (slo_width <= 8192 and slo_height <= 8192):
        raise ReadError(f"{name!r} has a header that cannot be true.", code="oct.size")
    places = _vol_places(content, _VOL_HEADER + slo_width * slo_height, (slices, height, width), name)
    # Circle and star scans are no raster: the distance between neighbours has no meaning.
    notes = ("volume.not_raster",) if pattern in (2, 5) else ()
    lines = None
    if pattern != 2 and slo_x > 0 and slo_y > 0:
        # Millimetres on the localiser, x before y; here row before column, in pixels.
        lines = places[:, [1, 0, 3, 2]] / np.array([slo_y, slo_x, slo_y, slo_x])
    return Layout(
        slices=slices,
        height=height,
        width=width,
        laterality=_EYES.get(text(position)),
        spacing_um=(positive(distance, scale=1000), positive(scale_y, scale=1000), positive(scale_x, scale=1000)),
        acquired=_since_1601(ticks),
        device=f"{_MAKER} Spectralis",
        lines=lines,
        notes=notes,
    )


def _vol_places(content: bytes, start: int, size: tuple[int, int, int], name: str) -> Pixels:
    """Return start and end of every B-scan, each of which must lie in the file with all its pixels."""
    places = []
    for _ in range(size[0]):
        # The header of a B-scan states its own length; not every writer keeps that of the file header equal to it.
        (header,) = unpack("I", content, start + 12, name) if start + 256 <= len(content) else (0,)
        following = start + header + size[1] * size[2] * 4
        if header < 256 or following > len(content):
            raise ReadError(
                f"{name!r} is cut short: {size[0]} B-scans of {size[2]} x {size[1]} px do not fit in it.",
                code="image.truncated",
                hint="Copy the file again.",
            )
        places.append(unpack("dddd", content, start + 16, name))
        start = following
    return np.array(places)


def read_vol(content: bytes, name: str, *, angiography: bool = False) -> tuple[list[Pixels], Pixels]:
    """Return the B-scans (uint8) and the localiser of a `.vol` file, with the patient's fields blanked beforehand."""
    reader = require("eyepy.io.he.vol_reader", extra="oct")
    values = require("eyepy.core.utils", extra="oct")
    blanked = bytearray(content)
    for first, last in _VOL_IDENTIFIERS:
        blanked[first:last] = bytes(last - first)
    with tamed(name, "Heidelberg .vol"):
        parsed = reader.vol_format.parse(bytes(blanked))
        slices = []
        for bscan in parsed.bscans:
            data = np.array(bscan.data, np.float32)
            if angiography:
                slices.append(np.rint(values.from_angio_intensity(data) * 255).astype(np.uint8))
            else:
                slices.append(
                    np.asarray(
                        values.from_vol_intensity(np.nan_to_num(data, nan=0.0, posinf=float(np.finfo(np.float32).max)))
                    )
                )
        return slices, np.array(parsed.localizer, np.uint8)


@dataclass(slots=True)
class _Series:
    """Elements of one acquisition as the directories list them."""

    slices: dict[int, tuple[int, int]] = field(default_factory=dict)
    eyes: set[Laterality] = field(default_factory=set)
    counts: set[int] = field(default_factory=set)
    scale_y: set[float] = field(default_factory=set)
    lines: dict[int, tuple[float, ...]] = field(default_factory=dict)
    acquired: datetime | None = None


def e2e_layouts(content: bytes, name: str) -> dict[str, Layout]:
    """Return what an `.e2e` file says, a volume for each series that holds B-scans; keys are as OCT-Converter makes them.

    Every B-scan must be there: libraries leave out what they do not find and move the others up.

    Raises:
        ReadError: `oct.damaged`, `oct.size`, `volume.gap`, `volume.count`, `laterality.conflict`.
    """
    skip = 64 if content.startswith(_E2E_MULTIPLE) else 0
    series: dict[str, _Series] = {}
    for start in _elements(content, skip, name):
        _take(content, start, series, name)
    layouts = {key: _series_layout(found, name) for key, found in series.items() if found.slices}
    if not layouts:
        raise ReadError(f"{name!r} holds no B-scans.", code="volume.empty", hint="Export the volume scan.")
    return layouts


def _elements(content: bytes, skip: int, name: str) -> list[int]:
    """Return the offsets of all elements, following the chain of directories; a chain that turns in a circle is refused."""
    current = unpack("II", content, skip + 36 + 40, name)[0]
    seen: set[int] = set()
    starts: list[int] = []
    while current:
        if current in seen or len(seen) > 4096:
            raise ReadError(f"the directories of {name!r} turn in a circle.", code="oct.damaged")
        seen.add(current)
        entries, _, previous = unpack("III", content, skip + current + 36, name)
        if entries > _MAX_ELEMENTS or len(starts) > _MAX_ELEMENTS:
            raise ReadError(f"{name!r} lists more elements than is read.", code="oct.size")
        for i in range(entries):
            position, start, slice_id = unpack("II20xi", content, skip + current + 52 + 44 * i, name)
            if slice_id > 4 * MAX_SLICES:
                # A library would make room for that many.
                raise ReadError(f"{name!r} names B-scan {slice_id // 2}.", code="oct.size")
            if start > position:
                starts.append(skip + start)
        current = previous
    return starts


def _take(content: bytes, start: int, series: dict[str, _Series], name: str) -> None:
    if start + 60 > len(content):
        # Anonymised exports list elements that were cut off; whether a B-scan is among them shows in the counts.
        return
    size, patient, study, number, slice_id, kind_of_image, _, kind = unpack("I4xIIIiHHI", content, start + 24, name)
    body = start + 60
    key = f"{patient}_{study}_{number}"
    if kind not in (_IMAGE, _BSCAN_META, *_SIDE_AT):
        return
    found = series.setdefault(key, _Series())
    if kind in _SIDE_AT:
        eye = _SIDES.get(content[body + _SIDE_AT[kind] : body + _SIDE_AT[kind] + 1])
        if eye is not None:
            found.eyes.add(eye)
    elif kind == _IMAGE and kind_of_image == 1:
        if not 0 <= slice_id // 2 <= MAX_SLICES:
            raise ReadError(f"{name!r} names B-scan {slice_id // 2}.", code="oct.size")
        height, width = unpack("12xII", content, body, name)
        check_size(1, height, width, name)
        if body + 20 + 2 * height * width > len(content):
            raise ReadError(f"a B-scan of {name!r} is cut short.", code="image.truncated", hint="Copy the file again.")
        if slice_id // 2 in found.slices:
            raise ReadError(f"{name!r} holds B-scan {slice_id // 2 + 1} twice.", code="volume.count")
        found.slices[slice_id // 2] = (height, width)
    elif kind == _BSCAN_META and size >= 100:
        x0, y0, x1, y1 = unpack("12xffff", content, body, name)
        (scale,), (total,) = unpack("36xf", content, body, name), unpack("64xI", content, body, name)
        found.counts.add(total)
        found.scale_y.add(scale)
        found.lines[slice_id // 2] = (y0, x0, y1, x1)
        found.acquired = found.acquired or _since_1601(unpack("88xQ", content, body, name)[0])


def _series_layout(found: _Series, name: str) -> Layout:
    places = sorted(found.slices)
    if len(found.eyes) > 1:
        raise ReadError(
            f"one volume of {name!r} names both eyes.", code="laterality.conflict", hint="Export the volume again."
        )
    # The only B-scan of a single scan stands at place 1.
    expected = [places[0]] if len(places) == 1 else list(range(len(places)))
    if places != expected or len(places) > MAX_SLICES:
        absent = sorted(set(range(places[-1] + 1)) - set(places))
        raise ReadError(
            f"a volume of {name!r} leaves out {len(absent)} of {places[-1] + 1} B-scans, first {absent[0] + 1}.",
            code="volume.gap",
            hint="Export the whole volume; a gap would shift every B-scan after it.",
        )
    if found.counts and found.counts != {len(places)}:
        raise ReadError(
            f"a volume of {name!r} says {sorted(found.counts)} B-scans and holds {len(places)}.",
            code="volume.count",
            hint="Export the whole volume again.",
        )
    sizes = set(found.slices.values())
    if len(sizes) > 1:
        raise ReadError(f"the B-scans of {name!r} differ in size: {sorted(sizes)[:3]}.", code="volume.size")
    height, width = sizes.pop()
    check_size(len(places), height, width, name)
    scale = positive(found.scale_y.pop(), scale=1000) if len(found.scale_y) == 1 else None
    return Layout(
        slices=len(places),
        height=height,
        width=width,
        laterality=next(iter(found.eyes), None),
        # Across the retina the file counts in degrees; micrometres would need the length of the eye.
        spacing_um=(None, scale, None),
        acquired=found.acquired,
        device=f"{_MAKER} Spectralis",
        notes=_check_order(found, len(places)),
    )


def _check_order(found: _Series, count: int) -> tuple[str, ...]:
    """Return notes on the order; places are degrees of the visual field here, so that up and down are not judged."""
    if sorted(found.lines) != list(range(count)):
        return ("volume.order_unknown",) if count > 1 else ()
    notes = check_raster([found.lines[i] for i in range(count)])
    return tuple(n for n in notes if n != "volume.bottom_up")


def read_e2e(path: Path, content: bytes, layouts: dict[str, Layout]) -> tuple[dict[str, list[Pixels]], tuple[str, ...]]:
    """Return the B-scans (uint8) of each volume, by the library that can, and notes on which was used.

    Raises:
        ReadError: `volume.count`: the two libraries count differently; `oct.damaged`: neither can read it.
        MissingDependency: Neither is installed.
    """
    problems: list[Exception] = []
    counts = _counts_by_eyepy(path, content)
    for reader, note in ((_by_oct_converter, "oct.by_oct_converter"), (_by_eyepy, "oct.by_eyepy")):
        if reader is _by_eyepy and counts is None:
            continue
        try:
            volumes = reader(path)
        except (ReadError, MissingDependency) as error:
            problems.append(error)
            continue
        for key, layout in layouts.items():
            second = None if counts is None else counts.get(key)
            if key in volumes and second not in (None, len(volumes[key])):
                raise ReadError(
                    f"two libraries count {len(volumes[key])} and {second} B-scans in {path.name!r}.",
                    code="volume.count",
                    hint="Export the volume again from the device.",
                )
            if len(volumes.get(key, ())) != layout.slices:
                problems.append(ReadError(f"{path.name!r} was read in part.", code="volume.count"))
                break
        else:
            return volumes, (note,)
    # What a library found wrong with the file says more than that the other one is not installed.
    raise sorted(problems, key=lambda p: isinstance(p, MissingDependency))[0]


def _by_oct_converter(path: Path) -> dict[str, list[Pixels]]:
    library = require("oct_converter.readers", extra="oct")
    with tamed(path.name, "Heidelberg .e2e"):
        reader = library.E2E(path)
        # Fields of the patient are not needed, and fail where an anonymiser wrote over them.
        reader.read_all_metadata = dict
        found = reader.read_oct_volume()
        return {v.volume_id: [np.rint(np.clip(s, 0, 1) * 255).astype(np.uint8) for s in v.volume] for v in found}


def _by_eyepy(path: Path) -> dict[str, list[Pixels]]:
    library = require("eyepy.io.he", extra="oct")
    values = require("eyepy.core.utils", extra="oct")
    with tamed(path.name, "Heidelberg .e2e"), library.HeE2eReader(path) as reader:
        return {
            key: [np.asarray(values.from_e2e_intensity(np.array(s.get_bscan(), np.float32))) for s in slices]
            for key, slices in _slices_by_eyepy(reader).items()
        }


def _counts_by_eyepy(path: Path, content: bytes) -> dict[str, int] | None:
    """Return eyepy's count of B-scans per volume; None where it is not installed or would not come to an end."""
    if content.startswith(_E2E_MULTIPLE) or not _runs_forward(content, path.name):
        return None
    try:
        library = require("eyepy.io.he", extra="oct")
        with tamed(path.name, "Heidelberg .e2e"), library.HeE2eReader(path) as reader:
            return {key: len(slices) for key, slices in _slices_by_eyepy(reader).items()}
    except (ReadError, MissingDependency):
        return None


def _slices_by_eyepy(reader: Any) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for patient in reader.patients:
        for study in patient.studies.values():
            for series in study.series.values():
                slices = [s for _, s in sorted(series.slices.items()) if _IMAGE in s.folders]
                slices = [s for s in slices if any(f.ind == 1 for f in s.folders[_IMAGE])]
                if slices:
                    found[f"{patient.id}_{study.id}_{series.id}"] = slices
    return found


def _runs_forward(content: bytes, name: str) -> bool:
    """Whether the directories lie one after another: eyepy reads them in a row and would turn in a circle otherwise."""
    position, seen = 88, 0
    while position + 52 <= len(content):
        entries = unpack("I", content, position + 36, name)[0]
        last = position + 52 + 44 * (entries - 1)
        if entries < 1 or last + 44 > len(content):
            # Here it stops by itself.
            return True
        start, size = unpack("4xII", content, last, name)
        following, seen = start + size + 60, seen + 1
        if following <= position or seen > 4096:
            return False
        position = following
    return True


def localiser_of_e2e(path: Path) -> list[tuple[Pixels, str | None]]:
    """Return the en-face pictures (uint8) of an `.e2e` file, each with the letter of its eye where it names one."""
    library = require("oct_converter.readers", extra="oct")
    with tamed(path.name, "Heidelberg .e2e"):
        reader = library.E2E(path)
        reader.read_all_metadata = dict
        found = reader.read_fundus_image()
        return [(np.array(f.image, np.uint8), f.laterality) for f in found if np.ndim(f.image) == 2]


def _since_1601(ticks: int) -> datetime | None:
    """Return a Windows file time, counted in 100 ns since 1601."""
    try:
        return datetime(1601, 1, 1) + timedelta(microseconds=ticks // 10) if ticks else None
    except OverflowError:
        return None
