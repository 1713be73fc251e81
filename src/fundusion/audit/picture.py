"""A file -> small pictures of the retina in a fixed frame, read strictly and only as large as is needed."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ..core.durable import digest_of
from ..core.errors import ReadError
from ..readers import read_images, split_part
from ..readers.dicom import is_dicom
from ..readers.image import ReadLimits, check_size, read_bytes, sniff
from ..transforms.field_of_view import FieldOfView, find_field_of_view

Pixels = npt.NDArray[np.uint8]

#: Side of the normalised picture, px.
SIDE_PX = 256
#: Least sides of a decoded JPEG, px: twice the normalised picture, so that shrinking still averages.
_DECODED_PX = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Opened:
    """What was read of one file.

    Args:
        digest: SHA-256 of its bytes, hexadecimal; of a folder, of its files in order.
        pixels: uint8 `(H, W, C)`, smaller than the original where the format allows it.
    """

    digest: str
    pixels: Pixels


def open_picture(path: str | os.PathLike[str], *, modality: str = "cfp", limits: ReadLimits | None = None) -> Opened:
    """Return the first picture of a file; of a volume its middle slice.

    A JPEG is decoded at a fraction of its size, yet its whole entropy-coded data are checked.

    Raises:
        ReadError: The codes of `readers.read_images`.
    """
    limits = limits or ReadLimits()
    source, part = split_part(path)
    if part is not None:
        # Two parts of one file are two pictures.
        planes = read_images(path, modality=modality)[0].planes()
        named = f"{digest_of(source)}#{part}"
        return Opened(digest=hashlib.sha256(named.encode()).hexdigest(), pixels=planes[len(planes) // 2])
    if source.is_dir():
        planes = read_images(source, modality=modality)[0].planes()
        return Opened(digest=folder_digest(source), pixels=planes[len(planes) // 2])
    if not is_dicom(source):
        data = read_bytes(source, limits.max_bytes)
        digest = hashlib.sha256(data).hexdigest()
        pixels = _small_jpeg(data, source.name, limits)
        if pixels is not None:
            return Opened(digest=digest, pixels=pixels)
    else:
        with open(source, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    # Everything unusual goes the way of the readers, with their policies and their codes.
    planes = read_images(source, modality=modality)[0].planes()
    return Opened(digest=digest, pixels=planes[len(planes) // 2])


def folder_digest(folder: Path) -> str:
    """Return a digest of the files of a folder in the order of their names.

    Raises:
        ReadError: `image.not_an_image`: there are none.
    """
    parts = []
    for name in sorted(n for n in os.listdir(folder) if not n.startswith(".")):
        inner = folder / name
        parts.append(folder_digest(inner) if inner.is_dir() else hashlib.sha256(inner.read_bytes()).hexdigest())
    if not parts:
        raise ReadError(f"{folder.name!r} is an empty folder.", code="image.not_an_image")
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def _small_jpeg(data: bytes, name: str, limits: ReadLimits) -> Pixels | None:
    """Return a whole upright JPEG at a fraction of its size, or None where the careful reader must decide."""
    import simplejpeg
    from PIL import Image as Pillow

    if sniff(data, name) != "jpeg":
        return None
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data, strict=False)
        check_size(height, width, name, limits)
        with Pillow.open(io.BytesIO(data), formats=("JPEG",)) as header:
            if colour == "CMYK" or int(header.getexif().get(0x0112, 1)) != 1:
                return None
        pixels = simplejpeg.decode_jpeg(
            data, colorspace="RGB", strict=True, min_height=_DECODED_PX, min_width=_DECODED_PX
        )
    except ReadError:
        raise
    except Exception:
        # The reader repeats the decoding and names the fault.
        return None
    return np.asarray(pixels, np.uint8)


def normalise(pixels: Pixels, *, field: FieldOfView | None = None) -> tuple[Pixels, Pixels]:
    """Return the picture in two fixed frames, `(S, S, 3)` each: by the field's circle and by its visible box.

    The circle stays when the frame is cropped; the box stays when a circle is a matter of opinion, because only corners
    of the rim are visible. Both are the same picture when the whole circle is seen.

    Args:
        pixels: uint8 `(H, W, 1 or 3)`.
        field: Where the retina is; None looks for it.
    """
    colour = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels
    field = field or find_field_of_view(colour)
    height, width = colour.shape[:2]
    top, left = max(field.box[0], -0.5), max(field.box[1], -0.5)
    bottom, right = min(field.box[2], height - 0.5), min(field.box[3], width - 0.5)
    middle, half = ((top + bottom) / 2, (left + right) / 2), max(bottom - top, right - left) / 2
    by_box = _cut(colour, middle, half)
    if not field.is_round:
        return by_box, by_box
    apart = max(abs(field.center[0] - middle[0]), abs(field.center[1] - middle[1]), abs(field.radius_px - half))
    return (by_box if apart < 0.004 * half else _cut(colour, field.center, field.radius_px)), by_box


def _cut(pixels: Pixels, center: tuple[float, float], half: float) -> Pixels:
    """Return the square of half side `half` about a centre; what is outside the frame is black."""
    row, column = center
    scale = half / (SIDE_PX / 2)
    if scale >= 2:
        # Whole blocks are averaged first; a linear resampling alone would skip pixels.
        block = int(scale)
        size = (pixels.shape[1] // block, pixels.shape[0] // block)
        pixels = cv2.resize(pixels[: size[1] * block, : size[0] * block], size, interpolation=cv2.INTER_AREA)
        row, column, scale = (row + 0.5) / block - 0.5, (column + 0.5) / block - 0.5, scale / block
    offset = SIDE_PX / 2 - 0.5
    matrix = np.array([[scale, 0, column - scale * offset], [0, scale, row - scale * offset]])
    cut: Any = cv2.warpAffine(
        pixels, matrix, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderValue=(0, 0, 0)
    )
    return cut
