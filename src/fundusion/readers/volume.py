"""OCT volumes as a folder of B-scans or a multi-page TIFF."""

from __future__ import annotations

import hashlib
import io
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..core.complaints import complaints_of
from ..core.errors import ReadError
from ..core.study import Image

SUFFIXES = (".tif", ".tiff")
_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
MAX_BYTES = 2 << 30
MAX_SLICES = 2048


def read_volume(path: str | Path, *, modality: str = "oct") -> Image:
    """Return a volume `(D, H, W)` uint8 of a folder of B-scans in natural order, or of the pages of a TIFF.

    Raises:
        ReadError: `volume.empty`, `volume.size` (slices differ in size), `volume.gap` (numbers of the files leave one
            out), or what is wrong with a slice.
    """
    source = Path(path)
    return _read_folder(source, modality) if source.is_dir() else _read_pages(source, modality)


def _read_folder(folder: Path, modality: str) -> Image:
    files = sorted(
        (f for f in _entries(folder) if f.suffix.lower() in _PICTURES and not f.name.startswith(".")), key=_natural
    )
    if not files:
        raise ReadError(f"folder {folder.name!r} holds no B-scans.", code="volume.empty")
    if len(files) > MAX_SLICES:
        raise ReadError(f"folder {folder.name!r} holds {len(files)} slices.", code="image.too_large")
    numbers = [int(m[-1]) for f in files if (m := re.findall(r"\d+", f.stem))]
    if len(numbers) == len(files) and len(set(numbers)) == len(numbers):
        whole = max(numbers) - min(numbers) + 1
        if whole > len(numbers):
            # Names may hold any number; the range they span is never made.
            first = next(n + 1 for n, m in pairwise(sorted(numbers)) if m > n + 1)
            raise ReadError(
                f"folder {folder.name!r} leaves out {whole - len(numbers)} of {whole} slices, first {first}.",
                code="volume.gap",
                hint="Copy the whole volume; a gap would shift every slice after it.",
            )
    slices, digest, left = [], hashlib.sha256(), MAX_BYTES
    for file in files:
        content = _content(file, left)
        left -= len(content)
        digest.update(content)
        slices.append(_slice(content, file.name))
    return _stack(slices, modality, folder.name, digest.hexdigest())


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        raise ReadError(f"folder {folder.name!r} cannot be read: {error.strerror}.", code="file.unreadable") from error


def _content(file: Path, most: int) -> bytes:
    try:
        if not file.is_file():
            raise ReadError(f"{file.name!r} is missing or no regular file.", code="file.not_a_file")
        if file.stat().st_size > most:
            raise ReadError(f"{file.name!r} is larger than is read.", code="image.too_large")
        return file.read_bytes()
    except ReadError:
        raise
    except OSError as error:
        raise ReadError(f"{file.name!r} cannot be read: {error.strerror}.", code="file.unreadable") from error


def _slice(content: bytes, name: str) -> np.ndarray[Any, Any]:
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(content), formats=("PNG", "JPEG", "TIFF")) as picture:
            if picture.width * picture.height > 50_000_000:
                raise ReadError(f"{name!r} is too large for a B-scan.", code="image.too_large")
            picture.load()
            if picture.mode.startswith("I;16"):
                return (np.asarray(picture).astype(np.uint16) // 257).astype(np.uint8)
            return np.asarray(picture.convert("L"))
    except ReadError:
        raise
    except Exception as error:
        raise ReadError(
            f"B-scan {name!r} cannot be read.", code="image.corrupt", hint="Copy the file again."
        ) from error


def _read_pages(path: Path, modality: str) -> Image:
    import tifffile

    if not path.is_file():
        raise ReadError(f"{path.name!r} does not exist.", code="file.missing")
    content = _content(path, MAX_BYTES)
    try:
        with complaints_of("tifffile") as said, tifffile.TiffFile(io.BytesIO(content)) as container:
            pages: list[Any] = list(container.pages)
            if len(pages) > MAX_SLICES or sum(p.imagelength * p.imagewidth for p in pages) > 1 << 30:
                raise ReadError(f"{path.name!r} holds more than is read.", code="image.too_large")
            arrays = [p.asarray() for p in pages]
        if said:
            # The library goes on without the pages it cannot find; a volume that lost slices is no volume.
            raise ReadError(f"{path.name!r} is cut or damaged: {said[0]}.", code="image.corrupt")
    except ReadError:
        raise
    except Exception as error:
        raise ReadError(f"{path.name!r} is cut or damaged.", code="image.corrupt") from error
    grey = [_grey(a, path.name) for a in arrays]
    return _stack(grey, modality, path.name, hashlib.sha256(content).hexdigest())


def _grey(page: np.ndarray[Any, Any], name: str) -> np.ndarray[Any, Any]:
    if page.dtype == np.uint16:
        page = (page // 257).astype(np.uint8)
    if page.dtype != np.uint8:
        raise ReadError(f"{name!r} holds {page.dtype} values.", code="image.unsupported")
    return np.rint(page[..., :3].mean(2)).astype(np.uint8) if page.ndim == 3 else page


def _stack(slices: list[np.ndarray[Any, Any]], modality: str, name: str, digest: str) -> Image:
    sizes = {s.shape for s in slices}
    if len(sizes) != 1:
        raise ReadError(f"the slices of {name!r} differ in size: {sorted(sizes)[:3]}.", code="volume.size")
    if len(slices) == 1:
        return Image(pixels=slices[0][..., None], modality=modality, digest=digest)
    return Image(pixels=np.stack(slices), modality=modality, digest=digest)


def _natural(path: Path) -> list[Any]:
    return [int(p) if p.isdigit() else p.casefold() for p in re.split(r"(\d+)", path.name)]
