"""Zeiss `.img`, Bioptigen `.OCT` and Optovue `.oct` by OCT-Converter; size and eye stand in the name or beside the file.

Source: fields as in OCT-Converter (MIT) `readers/img.py`, `readers/boct.py`, `readers/poct.py`. Only sizes are read here.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ...core.errors import ReadError, require
from ...core.vocabulary import Laterality
from .layout import Layout, Pixels, check_size, content_of, tamed, unpack

#: A-scans of a Cirrus cube are 1024 samples deep.
_CIRRUS_DEPTH = 1024
_EYE = re.compile(r"(?:^|[_\-. ])(OD|OS)(?=$|[_\-. ])", re.IGNORECASE)
_CUBE = re.compile(r"(?<!\d)(\d{2,4})x(\d{1,4})(?!\d)")
_EYES = {"OD": Laterality.RIGHT, "OS": Laterality.LEFT}
_MAX_TEXT = 1 << 20


def eye_of(name: str) -> Laterality | None:
    """Return the eye a file name states between separators; None for none or both.

    Example:
        >>> eye_of("P1_Macular Cube 512x128_OD_sn1_cube_z.img"), eye_of("FOOD_1.img")
        (<Laterality.RIGHT: 'OD'>, None)
    """
    found = {_EYES[m.upper()] for m in _EYE.findall(Path(name).stem)}
    return found.pop() if len(found) == 1 else None


def zeiss_layout(content: bytes, path: Path) -> Layout:
    """Return the size of a raw Cirrus cube: A-scans and B-scans of its name, which its bytes must fill exactly.

    Raises:
        ReadError: `oct.no_size`: the name does not state it; `oct.size`, `image.truncated`.
    """
    name = path.name
    stated = _CUBE.search(name)
    if stated is None:
        raise ReadError(
            f"{name!r} does not say how many A-scans and B-scans it holds.",
            code="oct.no_size",
            hint='Keep the name the device gave, as in "Macular Cube 512x128_OD".',
        )
    width, slices = int(stated[1]), int(stated[2])
    check_size(slices, _CIRRUS_DEPTH, width, name)
    wanted = width * slices * _CIRRUS_DEPTH
    if len(content) != wanted:
        raise ReadError(
            f"{name!r} has {len(content)} bytes; {slices} B-scans of {width} x {_CIRRUS_DEPTH} px need {wanted}.",
            code="image.truncated" if len(content) < wanted else "oct.size",
            hint="Copy the file again; its name must state its size.",
        )
    return Layout(slices=slices, height=_CIRRUS_DEPTH, width=width, laterality=eye_of(name), device="Zeiss Cirrus")


def read_zeiss(path: Path, layout: Layout) -> list[Pixels]:
    """Return the B-scans of a Cirrus cube."""
    library = require("oct_converter.readers", extra="oct")
    with tamed(path.name, "Zeiss .img"):
        found = library.IMG(path).read_oct_volume(rows=layout.height, cols=layout.width)
        return [np.asarray(s) for s in found.volume]


def bioptigen_layout(content: bytes, path: Path) -> list[Layout]:
    """Return the volumes of a Bioptigen file; all are of one size.

    Raises:
        ReadError: `oct.damaged`, `oct.size`, `image.truncated`.
    """
    name = path.name
    fields, position = _fields(content, name)
    try:
        count, lines, depth = (fields[k] for k in ("FRAMECOUNT", "LINECOUNT", "LINELENGTH"))
        kind, scans, frames = (fields[k] for k in ("SCANTYPE", "SCANS", "FRAMES"))
    except KeyError as error:
        raise ReadError(f"{name!r} is no Bioptigen file.", code="oct.damaged", hint="Export it again.") from error
    # The library keeps A-scans as rows; here they are columns, as in every other volume.
    check_size(max(1, count), depth, lines, name)
    if count * lines * depth * 2 > len(content) - position:
        raise ReadError(f"{name!r} is cut short.", code="image.truncated", hint="Copy the file again.")
    if kind not in (0, 1, 3) or frames * scans != count:
        raise ReadError(f"{name!r} says {frames} x {scans} frames and holds {count}.", code="volume.count")
    # A linear scan repeats one place; a rectangle is a time series of volumes.
    volumes, slices = (frames * scans, 1) if kind == 0 else (frames, scans)
    layout = Layout(
        slices=slices,
        height=depth,
        width=lines,
        laterality=eye_of(name),
        device="Bioptigen",
        notes=("volume.not_raster",) if kind == 3 else (),
    )
    return [layout] * volumes


def _fields(content: bytes, name: str) -> tuple[dict[str, int], int]:
    position, found = 6, {}
    for _ in range(64):
        (length,) = unpack("I", content, position, name)
        key = content[position + 4 : position + 4 + length].rstrip(b"\0")
        if not 0 < length <= 64 or not key.isascii():
            break
        (size,) = unpack("I", content, position + 4 + length, name)
        start = position + 8 + length
        if start + size > len(content):
            break
        if size in (1, 2, 4, 8):
            found[key.decode("ascii").upper()] = int.from_bytes(content[start : start + size], "little")
        position = start + size
        if key.upper() == b"CONFIG":
            break
    return found, position


def read_bioptigen(path: Path) -> list[list[Pixels]]:
    """Return the volumes of a Bioptigen file, B-scans with depth along rows."""
    library = require("oct_converter.readers", extra="oct")
    with tamed(path.name, "Bioptigen .OCT") as said:
        found = library.BOCT(path).read_oct_volume()
        volumes = [[np.ascontiguousarray(np.asarray(s).T) for s in v.volume] for v in found]
    if "Stopping load" in said.getvalue():
        # The library would hand over memory that was never filled.
        raise ReadError(f"{path.name!r} is damaged.", code="oct.damaged", hint="Copy the file again.")
    return volumes


def optovue_layout(content: bytes, path: Path) -> list[Layout]:
    """Return the volumes of an Optovue file as the text file beside it states them.

    Raises:
        ReadError: `oct.no_size`, `oct.size`, `image.truncated`.
    """
    name = path.name
    lines = _text_beside(path).splitlines()
    height, eye, layouts = 0, None, []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        numbers = [int(word) for word in line.split() if word.isdigit()]
        if "Window Height" in line and numbers:
            height = numbers[0]
        if "Eye Scanned" in line:
            eye = Laterality.RIGHT if "OD" in line else Laterality.LEFT if "OS" in line else eye
        if "Scan Length" in line and "Scan Usage" in following and numbers:
            counts = [int(word) for word in following.split() if word.isdigit()]
            check_size(counts[0] if counts else 0, height, numbers[0], name)
            layouts.append((counts[0], numbers[0]))
    if not layouts or height == 0:
        raise ReadError(
            f"the text beside {name!r} states no size.", code="oct.no_size", hint="Export both files again."
        )
    wanted = 4 * height * sum(n * w for n, w in layouts)
    if len(content) != wanted:
        raise ReadError(
            f"{name!r} has {len(content)} bytes; the text beside it says {wanted}.",
            code="image.truncated" if len(content) < wanted else "oct.size",
            hint="Export both files again.",
        )
    if len(layouts) > 1:
        # The library starts every scan at the beginning of the file, so that all but the first would be wrong.
        raise ReadError(f"{name!r} holds {len(layouts)} scans; one is read.", code="oct.size", hint="Export one scan.")
    return [
        Layout(slices=n, height=height, width=w, laterality=eye or eye_of(name), device="Optovue") for n, w in layouts
    ]


def _text_beside(path: Path) -> str:
    beside = path.with_suffix(".txt")
    if not beside.is_file():
        raise ReadError(
            f"{path.name!r} needs the text file of the same name beside it.",
            code="oct.no_size",
            hint="Copy the .txt file that was exported with it.",
        )
    return content_of(beside)[:_MAX_TEXT].decode("iso-8859-1")


def read_optovue(path: Path) -> list[list[Pixels]]:
    """Return the volumes of an Optovue file."""
    library = require("oct_converter.readers", extra="oct")
    with tamed(path.name, "Optovue .oct"):
        return [[np.asarray(s) for s in v.volume] for v in library.POCT(path).read_oct_volume()]
