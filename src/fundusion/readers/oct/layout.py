"""What a vendor file says it holds, read with bounds before any library sees it, and the check of what a library then gives."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core.bscans import check_raster
from ...core.errors import ReadError
from ...core.study import Image
from ...core.vocabulary import Laterality

MAX_BYTES = 2 << 30
MAX_SLICES = 2048
MAX_SIDE = 8192
MAX_VALUES = 600_000_000

Pixels = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One volume as its file describes it.

    Args:
        slices: Number of B-scans.
        height: Rows of a B-scan (depth into the eye).
        width: Columns of a B-scan (A-scans).
        laterality: The eye, where the file names one.
        spacing_um: Micrometres between B-scans, rows and columns; an entry is None where the file does not say.
        acquired: When.
        device: Maker and model.
        lines: `(D, 4)` places of the B-scans on the localiser, row and column of start and end.
        notes: Codes of oddities.
    """

    slices: int
    height: int
    width: int
    laterality: Laterality | None = None
    spacing_um: tuple[float | None, float | None, float | None] = (None, None, None)
    acquired: datetime | None = None
    device: str | None = None
    lines: npt.NDArray[np.float64] | None = None
    notes: tuple[str, ...] = ()


def content_of(path: Path) -> bytes:
    """Return the bytes of a regular file within the cap."""
    try:
        if not path.is_file():
            raise ReadError(f"{path.name!r} does not exist or is no file.", code="file.missing", hint="Check the path.")
        if path.stat().st_size > MAX_BYTES:
            raise ReadError(f"{path.name!r} is larger than is read.", code="image.too_large")
        return path.read_bytes()
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(f"{path.name!r} cannot be read: {error.strerror}.", code="file.unreadable") from error


def unpack(layout: str, content: bytes, position: int, name: str) -> tuple[Any, ...]:
    """Return little-endian fields at a position.

    Raises:
        ReadError: `oct.damaged`: the position or its end lies outside the file.
    """
    size = struct.calcsize("<" + layout)
    if position < 0 or position + size > len(content):
        raise ReadError(f"{name!r} is cut or damaged.", code="oct.damaged", hint="Export the file again.")
    return struct.unpack_from("<" + layout, content, position)


def check_size(slices: int, height: int, width: int, name: str) -> None:
    """Refuse sizes no device makes, before anything is allocated."""
    if not (1 <= slices <= MAX_SLICES and 8 <= height <= MAX_SIDE and 8 <= width <= MAX_SIDE):
        raise ReadError(f"{name!r} says {slices} B-scans of {width} x {height} px.", code="oct.size")
    if slices * height * width > MAX_VALUES:
        raise ReadError(
            f"{name!r} says {slices} B-scans of {width} x {height} px, more than is read.", code="image.too_large"
        )


def positive(value: float, *, scale: float = 1.0) -> float | None:
    """Return a length in micrometres, or None where the file has no usable one."""
    return float(value) * scale if np.isfinite(value) and 0 < value * scale < 1e6 else None


def text(raw: bytes) -> str:
    """Return printable ASCII up to the first NUL."""
    return "".join(c for c in raw.split(b"\0", 1)[0].decode("ascii", "ignore") if c.isprintable()).strip()


def moment(*fields: int) -> datetime | None:
    """Return a date and time, or None where the numbers are none."""
    try:
        return datetime(*fields)  # type: ignore[arg-type]
    except (ValueError, TypeError, OverflowError):
        return None


@contextlib.contextmanager
def tamed(name: str, what: str) -> Iterator[io.StringIO]:
    """Run a library that prints, warns and raises what it likes; its failure is a `ReadError` of this file.

    Raises:
        ReadError: `oct.damaged`.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield said
    except (ReadError, MemoryError):
        raise
    except ImportError:
        raise
    except Exception as error:
        raise ReadError(
            f"{name!r} cannot be read as {what}.", code="oct.damaged", hint="Export the file again from the device."
        ) from error


def image_of(slices: Sequence[Pixels], layout: Layout, *, name: str, modality: str, digest: str) -> Image:
    """Return the volume of the B-scans a library gave, after comparing their count and size with the file's own words.

    Raises:
        ReadError: `volume.count`, `volume.size`, `volume.order`, `volume.gap`, `image.float_range`.
    """
    if len(slices) != layout.slices:
        raise ReadError(
            f"{name!r} says {layout.slices} B-scans; {len(slices)} were read.",
            code="volume.count",
            hint="Export the file again from the device.",
        )
    sizes = {tuple(np.shape(s)) for s in slices}
    if sizes != {(layout.height, layout.width)}:
        raise ReadError(
            f"{name!r} says B-scans of {layout.height} x {layout.width}; read were {sorted(sizes)[:3]}.",
            code="volume.size",
            hint="Export the file again from the device.",
        )
    notes = list(layout.notes)
    raster = "volume.not_raster" not in notes
    if layout.lines is not None:
        found = check_raster(layout.lines)
        raster = raster and "volume.not_raster" not in found
        notes += found
    pixels = np.stack([_integers(np.asarray(s), name, notes) for s in slices])
    depth, row, column = layout.spacing_um
    facts: dict[str, Any] = {
        "modality": modality,
        "laterality": layout.laterality,
        "acquired": layout.acquired,
        "device": layout.device,
        "digest": digest,
    }
    if not (row and column):
        notes.append("spacing.missing")
    if len(pixels) == 1:
        picture = _planar(pixels[0], notes)
        spacing: tuple[float, ...] | None = (row, column) if row and column else None
        return Image(pixels=picture, spacing_um=spacing, notes=tuple(notes), frame_lines=None, **facts)
    if row and column and not depth:
        notes.append("spacing.between_slices_missing")
    spacing = (depth, row, column) if depth and row and column and raster else None
    return Image(pixels=pixels, spacing_um=spacing, frame_lines=layout.lines, notes=tuple(notes), **facts)


def _integers(plane: Pixels, name: str, notes: list[str]) -> Pixels:
    if plane.dtype in (np.uint8, np.uint16):
        return plane
    if plane.dtype.kind != "f" or not np.isfinite(plane).all() or plane.min() < 0 or plane.max() > 65535:
        raise ReadError(f"{name!r} holds values whose scale is not known.", code="image.float_range")
    if "image.scaled_from_float" not in notes:
        notes.append("image.scaled_from_float")
    return np.rint(plane).astype(np.uint16)


def _planar(plane: Pixels, notes: list[str]) -> Pixels:
    if plane.dtype == np.uint16:
        notes.append("image.scaled_from_16_bit")
        plane = np.rint(plane.astype(np.float32) * (255.0 / 65535.0)).astype(np.uint8)
    return np.ascontiguousarray(plane[..., None])
