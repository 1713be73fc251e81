"""Open a DICOM object and check what its header claims before anything of that size is allocated."""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import ReadError, require

MAX_BYTES = 1 << 30
MAX_VALUES = 1_200_000_000
_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_RLE = "1.2.840.10008.1.2.5"
#: Uncompressed transfer syntaxes.
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _DEFLATED, _BIG_ENDIAN)
#: Compressed ones that are read: JPEG, JPEG-LS, JPEG 2000 and its high-throughput form, RLE.
_ENCAPSULATED = (
    *(f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 57, 70, 80, 81, 90, 91, 201, 202, 203)),
    _RLE,
)
#: Objects that hold pixels but no photograph or scan: segmentations, height maps, thickness maps.
_NOT_PICTURES = {
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation",
    "1.2.840.10008.5.1.4.1.1.66.7": "a label map",
    "1.2.840.10008.5.1.4.1.1.66.8": "a height map of layers",
    "1.2.840.10008.5.1.4.1.1.81.1": "a thickness map",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelHeader:
    """What the header says about the pixels, as plain numbers within bounds."""

    rows: int
    columns: int
    frames: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    interpretation: str
    syntax: str

    @property
    def is_encapsulated(self) -> bool:
        """Whether frames are compressed."""
        return self.syntax in _ENCAPSULATED

    @property
    def is_rle(self) -> bool:
        """Whether frames are run-length coded, which says nothing about colour."""
        return self.syntax == _RLE


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library's warnings to itself: they quote values, and a malformed value may be a name.

    What matters of them is checked and noted here.
    """
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def open_dataset(path: str | Path, notes: list[str], *, stop_before_pixels: bool = False) -> tuple[bytes, Any]:
    """Return the bytes of a file and its parsed dataset.

    Raises:
        ReadError: `file.missing`, `file.permission`, `file.not_a_file`, `image.too_large`, `dicom.not_dicom`,
            `dicom.damaged`, `dicom.nested`.
    """
    pydicom = require("pydicom", extra="dicom")
    source = Path(path)
    content = _content(source)
    without_preamble = content[128:132] != b"DICM"
    if without_preamble and not _starts_with_element(content):
        raise ReadError(
            f"{source.name!r} is not a DICOM file.",
            code="dicom.not_dicom",
            hint="Export the object again, or give the picture as JPEG, PNG or TIFF.",
        )
    try:
        with quiet(), pydicom.config.disable_value_validation():
            if not without_preamble:
                _check_inflated_size(content, source.name)
            dataset = pydicom.dcmread(
                io.BytesIO(content), stop_before_pixels=stop_before_pixels, force=without_preamble
            )
            # Elements are parsed on first use; doing it here keeps a damaged file from failing somewhere else.
            for keyword in ("Rows", "Columns", "NumberOfFrames", "SOPClassUID", "PhotometricInterpretation"):
                dataset.get(keyword)
    except ReadError:
        raise
    except RecursionError as error:
        raise ReadError(
            f"{source.name!r} nests its sequences too deep.", code="dicom.nested", hint="Export the object again."
        ) from error
    except MemoryError:
        raise
    except Exception as error:
        raise ReadError(
            f"{source.name!r} is a damaged DICOM file.", code="dicom.damaged", hint="Copy the file again."
        ) from error
    if without_preamble:
        notes.append("dicom.no_preamble")
    _note_charset(dataset, notes)
    return content, dataset


def _content(source: Path) -> bytes:
    try:
        if not source.is_file():
            missing = not source.exists()
            raise ReadError(
                f"{source.name!r} {'does not exist' if missing else 'is not a regular file'}.",
                code="file.missing" if missing else "file.not_a_file",
                hint="Check the path.",
            )
        if source.stat().st_size > MAX_BYTES:
            raise ReadError(f"{source.name!r} is larger than is read.", code="image.too_large")
        return source.read_bytes()
    except ReadError:
        raise
    except PermissionError as error:
        raise ReadError(f"{source.name!r} may not be read.", code="file.permission") from error
    except OSError as error:
        raise ReadError(f"{source.name!r} cannot be read: {error.strerror}.", code="file.unreadable") from error


def _starts_with_element(content: bytes) -> bool:
    """Whether the bytes begin as an object written without preamble: group 2 or 8, little endian, small element."""
    return len(content) > 64 and content[:2] in (b"\x02\x00", b"\x08\x00") and content[3:4] == b"\x00"


def _check_inflated_size(content: bytes, name: str) -> None:
    """Count what a deflated object grows to, a block at a time, before the library inflates it in one go."""
    reading = require("pydicom.filereader", extra="dicom")
    if _DEFLATED.encode() not in content[:4096]:
        return
    stream = io.BytesIO(content)
    reading.read_preamble(stream, False)
    meta = reading._read_file_meta_info(stream)
    if str(meta.get("TransferSyntaxUID")) != _DEFLATED:
        return
    inflater, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    rest = content[stream.tell() :]
    while rest and not inflater.eof:
        size += len(inflater.decompress(rest, 1 << 20))
        rest = inflater.unconsumed_tail
        if size > MAX_BYTES:
            raise ReadError(f"{name!r} inflates to more than is read.", code="image.too_large")
    if not inflater.eof:
        raise ReadError(f"{name!r} is cut short.", code="image.truncated", hint="Copy the file again.")


def _note_charset(dataset: Any, notes: list[str]) -> None:
    charset = require("pydicom.charset", extra="dicom")
    named = value_of(dataset, "SpecificCharacterSet") or ""
    for word in [named] if isinstance(named, str) else list(named):
        if str(word) not in charset.python_encoding:
            notes.append("dicom.charset_unknown")
            return


def value_of(dataset: Any, keyword: str, default: Any = None) -> Any:
    """Return an element's value, or the default where it is absent or cannot be parsed."""
    try:
        value = dataset.get(keyword)
    except Exception:
        # A vendor's malformed optional element must not cost the picture.
        return default
    return default if value is None else value


def whole(dataset: Any, keyword: str, default: int) -> int:
    """Return an element as a whole number.

    Raises:
        ReadError: `dicom.damaged`: it is there and is none.
    """
    try:
        value = dataset.get(keyword)
        return default if value is None or value == "" else int(value)
    except Exception as error:
        raise ReadError(f"{keyword} is no number.", code="dicom.damaged", hint="Export the object again.") from error


def check_header(dataset: Any, name: str) -> PixelHeader:
    """Return the header of the pixels; sizes that cannot be true are refused before anything is allocated.

    Raises:
        ReadError: `dicom.no_pixels`, `dicom.not_a_picture`, `dicom.size`, `dicom.transfer_syntax`, `image.too_large`,
            `image.truncated`.
    """
    _check_class(dataset, name)
    rows, columns = whole(dataset, "Rows", 0), whole(dataset, "Columns", 0)
    frames, samples = whole(dataset, "NumberOfFrames", 1), whole(dataset, "SamplesPerPixel", 1)
    allocated = whole(dataset, "BitsAllocated", 0)
    stored = whole(dataset, "BitsStored", allocated)
    high = whole(dataset, "HighBit", stored - 1)
    # Lines of an angiography frame counter or of a strip are no picture of an eye.
    if min(rows, columns) < 32 or allocated not in (8, 16) or samples not in (1, 3):
        raise ReadError(
            f"{name!r} says {columns} x {rows} px, {samples} samples of {allocated} bit.", code="dicom.size"
        )
    if frames < 1 or not 1 <= stored <= allocated or not stored - 1 <= high < allocated:
        raise ReadError(f"{name!r} says {frames} frames of {stored} of {allocated} bit.", code="dicom.size")
    values = rows * columns * frames * samples
    if values > MAX_VALUES or values * allocated // 8 > 4 << 30:
        raise ReadError(
            f"{name!r} says {frames} frames of {columns} x {rows} px, more than is read.", code="image.too_large"
        )
    header = PixelHeader(
        rows=rows,
        columns=columns,
        frames=frames,
        samples=samples,
        allocated=allocated,
        stored=stored,
        high=high,
        signed=whole(dataset, "PixelRepresentation", 0) == 1,
        interpretation=str(value_of(dataset, "PhotometricInterpretation", "")).strip().upper(),
        syntax=_syntax(dataset, name),
    )
    size = _stored_values(header) * allocated // 8
    if not header.is_encapsulated and len(dataset.PixelData) < size:
        raise ReadError(
            f"{name!r} has fewer pixels than its header says.", code="image.truncated", hint="Copy the file again."
        )
    return header


def _stored_values(header: PixelHeader) -> int:
    values = header.rows * header.columns * header.frames * header.samples
    # Two chrominance samples serve two pixels each.
    return values * 2 // 3 if header.interpretation == "YBR_FULL_422" else values


def _check_class(dataset: Any, name: str) -> None:
    uid = str(value_of(dataset, "SOPClassUID", ""))
    what = getattr(value_of(dataset, "SOPClassUID"), "name", "") or "object of an unknown class"
    if uid in _NOT_PICTURES:
        raise ReadError(
            f"{name!r} holds {_NOT_PICTURES[uid]}, no picture.",
            code="dicom.not_a_picture",
            hint="Give the image object it was made from.",
        )
    try:
        pixels = dataset.get("PixelData")
    except Exception as error:
        raise ReadError(f"the pixels of {name!r} cannot be found.", code="dicom.damaged") from error
    if not pixels or not isinstance(pixels, (bytes, bytearray)):
        raise ReadError(
            f"{name!r} holds no pixels; it is a {what}.", code="dicom.no_pixels", hint="Give the image object."
        )


def _syntax(dataset: Any, name: str) -> str:
    meta: Any = getattr(dataset, "file_meta", None)
    uid = str(value_of(meta, "TransferSyntaxUID", "") if meta is not None else "")
    if not uid:
        # Without file meta the library finds out how elements are written; pixels are then uncompressed by rule.
        implicit, little = dataset.original_encoding
        uid = _NATIVE[0] if implicit else (_NATIVE[1] if little else _BIG_ENDIAN)
        dataset.ensure_file_meta()
        # The library asks for it when it reads the pixels.
        dataset.file_meta.TransferSyntaxUID = uid
        return uid
    if uid not in _NATIVE and uid not in _ENCAPSULATED:
        known = getattr(meta.TransferSyntaxUID, "name", uid)
        raise ReadError(
            f"the pixels of {name!r} are encoded as {known}, which is not read.",
            code="dicom.transfer_syntax",
            hint="Convert the object to an uncompressed, JPEG or JPEG 2000 transfer syntax.",
        )
    return uid
