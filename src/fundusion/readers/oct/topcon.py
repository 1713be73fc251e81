"""Topcon `.fda` and `.fds` by OCT-Converter.

Source: chunks as in OCT-Converter (MIT) `readers/binary_structs/fda_binary.py` and `fds_binary.py`. Only headers are read here.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import ReadError, require
from ...core.vocabulary import Laterality
from .layout import Layout, Pixels, check_size, moment, positive, tamed, text, unpack

_EYES = {0: Laterality.RIGHT, 1: Laterality.LEFT}
#: Chunks with pixels in the order OCT-Converter looks for them: fields before the pixels, their size, where n, h, w stand.
_PIXELS = {
    b"@IMG_JPEG": ("BIIIIII", 25, (5, 4, 3)),
    b"@IMG_MOT_COMP_03": ("BIIIIBI", 22, (4, 2, 1)),
    b"@IMG_SCAN_03": ("BIIIIBI", 22, (4, 2, 1)),
}
_OF_SUFFIX = {".fda": (b"@IMG_JPEG", b"@IMG_MOT_COMP_03"), ".fds": (b"@IMG_SCAN_03",)}
_RASTER = 2
_MAX_CHUNKS = 4096


def topcon_layout(content: bytes, path: Path) -> Layout:
    """Return what the chunks of a Topcon file say.

    Raises:
        ReadError: `oct.damaged`, `oct.size`, `image.truncated`, `volume.empty`.
    """
    name = path.name
    chunks = _chunks(content, name)
    kind = next((k for k in _OF_SUFFIX[path.suffix.lower()] if k in chunks), None)
    if kind is None:
        raise ReadError(f"{name!r} holds no B-scans.", code="volume.empty", hint="Export the volume scan.")
    fields, size, (n, h, w) = _PIXELS[kind]
    start, length = chunks[kind]
    header = unpack(fields, content, start, name)
    slices, height, width = header[n], header[h], header[w]
    check_size(slices, height, width, name)
    if kind == b"@IMG_JPEG":
        _check_pictures(content, start + size, start + length, (slices, height, width), name)
    elif size + slices * height * width * 2 > length:
        raise ReadError(f"the B-scans of {name!r} are cut short.", code="image.truncated", hint="Copy the file again.")
    elif header[3] not in (8, 16):
        raise ReadError(f"{name!r} says {header[3]} bits per pixel.", code="oct.size")
    eye, acquired = _capture(content, chunks, name)
    depth, row, column = _extent(content, chunks, name)
    return Layout(
        slices=slices,
        height=height,
        width=width,
        laterality=eye,
        spacing_um=(
            None if depth is None else depth / slices,
            row,
            None if column is None else column / width,
        ),
        acquired=acquired,
        device=_device(content, chunks),
        lines=_lines(content, chunks, slices, name) if header[0] == _RASTER else None,
        # The byte is the scan mode: 2 is a raster, 3 a star, 4 a cross.
        notes=() if header[0] == _RASTER or slices == 1 else ("volume.not_raster",),
    )


def _chunks(content: bytes, name: str) -> dict[bytes, tuple[int, int]]:
    if content[:4] != b"FOCT":
        raise ReadError(f"{name!r} is no Topcon file.", code="oct.damaged", hint="Export the file again.")
    position = 15
    found: dict[bytes, tuple[int, int]] = {}
    while True:
        (letters,) = unpack("B", content, position, name)
        if letters == 0:
            return found
        key = content[position + 1 : position + 1 + letters]
        (length,) = unpack("I", content, position + 1 + letters, name)
        start = position + 5 + letters
        if start + length > len(content) or len(found) > _MAX_CHUNKS:
            raise ReadError(
                f"{name!r} is cut short or a size in it is wrong.", code="image.truncated", hint="Copy the file again."
            )
        if key in _PIXELS and key in found:
            raise ReadError(f"{name!r} holds two volumes; which is meant is not stated.", code="volume.count")
        found[key] = (start, length)
        position = start + length


def _check_pictures(content: bytes, start: int, end: int, size: tuple[int, int, int], name: str) -> None:
    """Check that every compressed B-scan lies in the chunk, is JPEG or JPEG 2000, and has the size of the header."""
    from PIL import Image as Pillow

    for number in range(size[0]):
        (length,) = unpack("I", content, start, name)
        if not 0 < length <= end - start - 4:
            raise ReadError(f"B-scan {number + 1} of {name!r} is cut short.", code="image.truncated")
        try:
            stream = io.BytesIO(content[start + 4 : start + 4 + length])
            with Pillow.open(stream, formats=("JPEG2000", "JPEG")) as picture:
                found = (picture.height, picture.width)
                if picture.mode not in ("L", "I;16"):
                    raise ReadError(f"B-scan {number + 1} of {name!r} is not grey.", code="image.unsupported")
        except ReadError:
            raise
        except Exception as error:
            raise ReadError(f"B-scan {number + 1} of {name!r} is damaged.", code="image.corrupt") from error
        if found != size[1:]:
            raise ReadError(f"B-scan {number + 1} of {name!r} has another size: {found}.", code="volume.size")
        start += 4 + length


def _capture(content: bytes, chunks: dict[bytes, tuple[int, int]], name: str) -> tuple[Laterality | None, Any]:
    for key, skip in ((b"@CAPTURE_INFO_02", 106), (b"@CAPTURE_INFO", 1)):
        if key in chunks and chunks[key][1] >= skip + 12:
            start = chunks[key][0]
            return _EYES.get(content[start]), moment(*unpack("HHHHHH", content, start + skip, name))
    return None, None


def _extent(content: bytes, chunks: dict[bytes, tuple[int, int]], name: str) -> tuple[Any, Any, Any]:
    """Return micrometres across all B-scans, of one row, and across one B-scan."""
    for key, skip in ((b"@PARAM_SCAN_04", 12), (b"@PARAM_SCAN_02", 21)):
        if key in chunks and chunks[key][1] >= skip + 24:
            x_mm, y_mm, z_um = unpack("ddd", content, chunks[key][0] + skip, name)
            return positive(y_mm, scale=1000), positive(z_um), positive(x_mm, scale=1000)
    return None, None, None


def _device(content: bytes, chunks: dict[bytes, tuple[int, int]]) -> str:
    for key in (b"@HW_INFO_03", b"@HW_INFO_02", b"@HW_INFO_01"):
        if key in chunks and chunks[key][1] >= 16:
            model = text(content[chunks[key][0] : chunks[key][0] + 16])
            return f"Topcon {model}".strip()
    return "Topcon"


def _lines(content: bytes, chunks: dict[bytes, tuple[int, int]], slices: int, name: str) -> Any:
    """Return the places of a raster inside the box the file draws on its fundus photograph."""
    if b"@REGIST_INFO" not in chunks or chunks[b"@REGIST_INFO"][1] < 25 or slices < 2:
        return None
    left, top, right, bottom = unpack("IIII", content, chunks[b"@REGIST_INFO"][0] + 9, name)
    if not (left < right < 65536 and top < bottom < 65536):
        return None
    rows = np.linspace(top, bottom, slices)
    return np.stack([rows, np.full(slices, left), rows, np.full(slices, right)], 1).astype(np.float64)


def read_topcon(path: Path) -> list[Pixels]:
    """Return the B-scans of a Topcon file."""
    with tamed(path.name, "Topcon"):
        reader = _reader(path)
        if path.suffix.lower() == ".fda":
            volume, _ = reader.read_oct_data_chunk()
        else:
            # Reading every field would fail on names that are not ASCII, and nobody here needs the patient.
            reader.read_all_metadata = lambda verbose=False: {"capture_info": {"cap_date": (1, 1, 1), "eye": None}}
            volume = reader.read_oct_volume().volume
        return [np.asarray(s) for s in volume or []]


def localiser_of_topcon(path: Path) -> Pixels:
    """Return the colour photograph in a Topcon file."""
    with tamed(path.name, "Topcon"):
        found = _reader(path).read_fundus_image()
        if found is None:
            raise ReadError(f"{path.name!r} holds no photograph.", code="oct.no_localiser")
        return np.ascontiguousarray(np.asarray(found.image).astype(np.uint8))


def _reader(path: Path) -> Any:
    library = require("oct_converter.readers", extra="oct")
    kind = path.suffix.lower().lstrip(".")
    module: Any = require(f"oct_converter.readers.{kind}", extra="oct")
    if not hasattr(module.np, "_fundusion"):
        module.np = _NumpyWithFromstring()
    return getattr(library, kind.upper())(path)


class _NumpyWithFromstring:
    """NumPy as OCT-Converter 0.7 expects it: reading binary text by `fromstring`, which NumPy 2.3 took away."""

    _fundusion = True

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    @staticmethod
    def fromstring(data: bytes, dtype: Any) -> Any:
        return np.frombuffer(data, dtype)
