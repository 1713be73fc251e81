"""Arrays inside a NumPy archive, `path.npz#key`: B-scan volumes, SLO pictures and thickness maps. Headers are read before arrays."""

from __future__ import annotations

import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import ReadError
from ..core.study import Image

SUFFIXES = (".npz",)
MAX_BYTES = 1 << 30
MAX_ARRAY = 1 << 30
MAX_MEMBERS = 256
#: Micrometres that are white in a thickness map; retinal nerve fibre layers stay far below, and more is refused.
_MAP_TOP_UM = 500.0
_MAPS = ("rnflt",)


def read_npz(path: str | Path, *, key: str | None = None, modality: str = "oct") -> Image:
    """Return one array of an archive as a volume `(D, H, W)` or a picture `(H, W, C)`.

    Unsigned 8 and 16 bit are taken as they are (16-bit pictures are scaled). Floating point is read where its range is
    certain: 0 to 1, whole numbers 0 to 255, or a map of micrometres known by its name (`rnflt`).

    Args:
        path: The archive.
        key: Name of the array; needed where the archive holds several.
        modality: What it is.

    Raises:
        ReadError: `file.missing`, `npz.damaged`, `npz.key`, `npz.object` (pickled objects are never loaded),
            `image.too_large`, `image.shape`, `image.float_range`, `image.unsupported`.
    """
    source = Path(path)
    content = _content(source)
    array = _member(content, key, source.name)
    notes: list[str] = []
    pixels = _pixels(array, key or "", source.name, notes)
    return Image(
        pixels=np.ascontiguousarray(pixels),
        modality=modality,
        notes=tuple(notes),
        digest=hashlib.sha256(content).hexdigest(),
    )


def _content(source: Path) -> bytes:
    try:
        if not source.is_file():
            raise ReadError(
                f"{source.name!r} does not exist or is no file.", code="file.missing", hint="Check the path."
            )
        if source.stat().st_size > MAX_BYTES:
            raise ReadError(f"{source.name!r} is larger than is read.", code="image.too_large")
        return source.read_bytes()
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(f"{source.name!r} cannot be read: {error.strerror}.", code="file.unreadable") from error


def _member(content: bytes, key: str | None, name: str) -> npt.NDArray[Any]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = {i.filename.removesuffix(".npy"): i for i in archive.infolist()}
            if len(archive.infolist()) > MAX_MEMBERS:
                raise ReadError(f"{name!r} holds {len(archive.infolist())} arrays.", code="image.too_large")
            entry = entries[_known(key, list(entries), name)]
            shape, _, dtype = _header(archive, entry, name)
            _check(shape, dtype, entry, name)
            with archive.open(entry) as stream:
                return np.lib.format.read_array(stream, allow_pickle=False)
    except (ReadError, MemoryError):
        raise
    except Exception as error:
        raise ReadError(
            f"{name!r} is a damaged archive.", code="npz.damaged", hint="Copy the file again from its source."
        ) from error


def _known(key: str | None, keys: list[str], name: str) -> str:
    if key is None and len(keys) == 1:
        return keys[0]
    if key not in keys:
        what = "which array is meant is not stated" if key is None else f"it has no array {key[:40]!r}"
        raise ReadError(
            f"{name!r}: {what}; there are {', '.join(sorted(keys)[:12])}.",
            code="npz.key",
            hint=f"Name the array after the file, as {name}#oct_bscans.",
        )
    return key


def _header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> tuple[tuple[int, ...], bool, Any]:
    with archive.open(entry) as stream:
        version = np.lib.format.read_magic(stream)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
        if read is None:
            raise ReadError(f"{name!r} holds an array of version {version}.", code="npz.damaged")
        return read(stream)


def _check(shape: tuple[int, ...], dtype: Any, entry: zipfile.ZipInfo, name: str) -> None:
    if dtype.hasobject:
        raise ReadError(
            f"{name!r}: {entry.filename!r} holds Python objects, which can run code when loaded.",
            code="npz.object",
            hint="Save the array as numbers.",
        )
    if len(shape) not in (2, 3):
        raise ReadError(f"{name!r}: {entry.filename!r} has shape {shape}; 2 or 3 axes are read.", code="image.shape")
    size = dtype.itemsize
    for side in shape:
        size *= side
    if size > MAX_ARRAY or entry.file_size > MAX_ARRAY + 65536:
        raise ReadError(f"{name!r}: {entry.filename!r} has shape {shape}, more than is read.", code="image.too_large")
    # A header that promises more than the member holds would be allocated before the lack shows.
    if size > entry.file_size:
        raise ReadError(f"{name!r}: {entry.filename!r} is shorter than its header says.", code="npz.damaged")


def _pixels(array: npt.NDArray[Any], key: str, name: str, notes: list[str]) -> npt.NDArray[Any]:
    if array.ndim == 2:
        array = array[..., None]
    planar = array.shape[-1] in (1, 3)
    if min(array.shape[:2] if planar else array.shape[1:]) < 8 or 0 in array.shape:
        raise ReadError(f"{name!r}: an array of shape {array.shape} is no picture.", code="image.shape")
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype.kind == "f":
        return _from_float(array, key, name, notes)
    if array.dtype.kind in "iu" and array.dtype.itemsize > 1:
        low, high = int(array.min()), int(array.max())
        if low >= 0 and high <= 255:
            return array.astype(np.uint8)
        if low >= 0 and high <= 65535 and not planar:
            return array.astype(np.uint16)
        if low >= 0 and high <= 65535:
            notes.append("image.scaled_from_16_bit")
            return np.rint(array.astype(np.float32) * (255.0 / 65535.0)).astype(np.uint8)
    if array.dtype == np.uint8:
        return array
    raise ReadError(
        f"{name!r}: values of type {array.dtype} in this range are not read.",
        code="image.unsupported",
        hint="Save the array as 8 or 16 bit without sign.",
    )


def _from_float(array: npt.NDArray[Any], key: str, name: str, notes: list[str]) -> npt.NDArray[Any]:
    if not np.isfinite(array).all():
        raise ReadError(f"{name!r} holds NaN or infinity.", code="image.float_range")
    low, high = float(array.min()), float(array.max())
    if key in _MAPS and low >= 0 and high <= _MAP_TOP_UM:
        notes.append("image.scaled_from_micrometres")
        return np.rint(array * (255.0 / _MAP_TOP_UM)).astype(np.uint8)
    if key not in _MAPS and low >= 0 and 1 / 255 < high <= 1:
        notes.append("image.scaled_from_float")
        return np.rint(array * 255).astype(np.uint8)
    if key not in _MAPS and low >= 0 and 1 < high <= 255 and (array == np.rint(array)).all():
        return array.astype(np.uint8)
    raise ReadError(
        f"{name!r} holds floating point values from {low:.4g} to {high:.4g}; their scale is not stated.",
        code="image.float_range",
        hint="Scale the values to 0..1 or save as 8 or 16 bit.",
    )
