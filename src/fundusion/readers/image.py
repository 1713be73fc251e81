"""JPEG, PNG and TIFF photographs, strictly: a file that is cut or damaged is refused even where a decoder would show something.

Policies, the same in training and use: the type is read off the content; size is capped from the header; EXIF orientation is applied;
an embedded colour profile is converted to sRGB; transparency is laid on black; values of more than eight bits are scaled, never clipped.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.complaints import complaints_of
from ..core.errors import ReadError
from ..core.study import Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")

Pixels = npt.NDArray[Any]

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_OF_SUFFIX = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".tif": "tiff", ".tiff": "tiff"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Sizes beyond which a file is refused from its header alone."""

    max_bytes: int = 512 << 20
    max_pixels: int = 150_000_000
    max_side: int = 20_000
    min_side: int = 32
    max_aspect: float = 8.0


def read_image(path: str | os.PathLike[str], *, modality: str = "cfp", limits: ReadLimits | None = None) -> Image:
    """Return the photograph in a file.

    Args:
        path: JPEG, PNG or TIFF, recognised by content.
        modality: What kind of image it is; colour photographs get three channels, others one when they are grey.
        limits: Caps.

    Raises:
        ReadError: `file.missing`, `file.permission`, `file.not_a_file`, `image.not_an_image`, `image.truncated`,
            `image.corrupt`, `image.too_large`, `image.too_small`, `image.aspect`, `image.float_range`,
            `image.transparent`, `image.unsupported`.
    """
    limits = limits or ReadLimits()
    name = Path(path).name
    data = read_bytes(path, limits.max_bytes)
    kind = sniff(data, name)
    notes: list[str] = []
    if _OF_SUFFIX.get(Path(path).suffix.lower(), kind) != kind:
        notes.append("image.suffix_differs")
    decode = {"jpeg": _decode_jpeg, "png": _decode_png, "tiff": _decode_tiff}[kind]
    pixels = decode(data, name, limits, notes)
    pixels = _channels(pixels, modality)
    return Image(
        pixels=np.ascontiguousarray(pixels),
        modality=modality,
        notes=tuple(notes),
        digest=hashlib.sha256(data).hexdigest(),
    )


def read_bytes(path: str | os.PathLike[str], max_bytes: int) -> bytes:
    """Return the content of a regular file; a transient input error is tried three times.

    Raises:
        ReadError: With the reason of the operating system and the file name only, never its folder.
    """
    name = Path(path).name
    for attempt in range(3):
        try:
            found = os.stat(path)
            # A FIFO would block for ever, a directory has no content.
            if not stat.S_ISREG(found.st_mode):
                raise ReadError(f"{name!r} is not a regular file.", code="file.not_a_file")
            if found.st_size > max_bytes:
                raise ReadError(f"{name!r} has {found.st_size} bytes, more than {max_bytes}.", code="image.too_large")
            with open(path, "rb") as stream:
                return stream.read(max_bytes + 1)
        except FileNotFoundError as error:
            raise ReadError(f"{name!r} does not exist.", code="file.missing", hint="Check the path.") from error
        except PermissionError as error:
            raise ReadError(
                f"{name!r} may not be read.", code="file.permission", hint="Check its access rights."
            ) from error
        except ReadError:
            raise
        except OSError as error:
            if error.errno == errno.EIO and attempt < 2:
                time.sleep(0.2 * 2**attempt)
                continue
            reason = os.strerror(error.errno) if error.errno else "input error"
            raise ReadError(f"{name!r} cannot be read: {reason}.", code="file.unreadable") from error
    raise ReadError(f"{name!r} cannot be read.", code="file.unreadable")


def sniff(data: bytes, name: str) -> str:
    """Return "jpeg", "png" or "tiff" from the first bytes.

    Raises:
        ReadError: `image.not_an_image`: empty, or anything else (also formats that are deliberately not read).
    """
    if data.startswith(_JPEG):
        return "jpeg"
    if data.startswith(_PNG):
        return "png"
    if data.startswith(_TIFF):
        return "tiff"
    what = "is empty" if not data else "is neither JPEG, PNG nor TIFF"
    raise ReadError(f"{name!r} {what}.", code="image.not_an_image", hint="Export the picture as JPEG, PNG or TIFF.")


def check_size(height: int, width: int, name: str, limits: ReadLimits) -> None:
    """Refuse sizes no fundus camera makes, before anything is allocated."""
    if height * width > limits.max_pixels or max(height, width) > limits.max_side:
        raise ReadError(f"{name!r} is {width} x {height} px, more than is read.", code="image.too_large")
    if min(height, width) < 1 or min(height, width) < limits.min_side:
        raise ReadError(f"{name!r} is {width} x {height} px, too small to judge.", code="image.too_small")
    if max(height, width) > limits.max_aspect * min(height, width):
        raise ReadError(f"{name!r} is {width} x {height} px, a sliver.", code="image.aspect")


def _decode_jpeg(data: bytes, name: str, limits: ReadLimits, notes: list[str]) -> Pixels:
    import simplejpeg

    end, arithmetic = _jpeg_end(data)
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError) as error:
        raise ReadError(
            f"{name!r} has no usable JPEG header.", code="image.truncated" if end is None else "image.corrupt"
        ) from error
    check_size(height, width, name, limits)
    if arithmetic:
        raise ReadError(f"{name!r} uses arithmetic coding.", code="image.unsupported", hint="Save it as baseline JPEG.")
    if end is None:
        # Without its end marker a file may be whole but for two bytes, or cut: only a strict decode of the completed file tells.
        notes.append("image.missing_eoi")
        body = data + b"\xff\xd9"
    else:
        body = data[:end]
        if data[end:].strip(b"\x00"):
            notes.append("image.trailing_data")
    try:
        if colour == "CMYK":
            pixels = _cmyk(body, notes)
        else:
            pixels = simplejpeg.decode_jpeg(body, colorspace="GRAY" if colour == "Gray" else "RGB", strict=True)
    except ValueError as error:
        cut = end is None or "end of" in str(error).lower() or "premature" in str(error).lower()
        raise ReadError(
            f"{name!r} is {'cut short' if cut else 'damaged'}: {error}.",
            code="image.truncated" if cut else "image.corrupt",
            hint="Copy the file again from its source.",
        ) from error
    return _oriented_and_managed(pixels, data, notes)


def _cmyk(body: bytes, notes: list[str]) -> Pixels:
    from PIL import Image as Pillow

    notes.append("image.cmyk")
    return np.asarray(Pillow.open(io.BytesIO(body), formats=("JPEG",)).convert("RGB"))


def _jpeg_end(data: bytes) -> tuple[int | None, bool]:
    """Return the offset after the end marker, walking markers and scans, and whether arithmetic coding is used.

    An end marker inside an embedded thumbnail does not count, because segments are skipped by their length.
    """
    position, arithmetic = 2, False
    size = len(data)
    while position + 1 < size:
        if data[position] != 0xFF:
            # Inside entropy-coded data: on to the next marker that is neither stuffing nor restart.
            position = data.find(b"\xff", position)
            if position < 0 or position + 1 >= size:
                return None, arithmetic
            continue
        marker = data[position + 1]
        if marker == 0xD9:
            return position + 2, arithmetic
        if marker in (0x00, 0xFF, 0x01) or 0xD0 <= marker <= 0xD8:
            position += 1 if marker == 0xFF else 2
            continue
        if 0xC9 <= marker <= 0xCF and marker != 0xCC:
            arithmetic = True
        if position + 4 > size:
            return None, arithmetic
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return None, arithmetic


def _decode_png(data: bytes, name: str, limits: ReadLimits, notes: list[str]) -> Pixels:
    from PIL import Image as Pillow

    if len(data) < 33:
        raise ReadError(f"{name!r} is cut in its header.", code="image.truncated")
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    check_size(height, width, name, limits)
    end = _check_png_chunks(data, name)
    if data[end:].strip(b"\x00"):
        notes.append("image.trailing_data")
    depth, colour = data[24], data[25]
    try:
        if depth == 16:
            pixels = _png_16_bit(data)
            return _oriented_and_managed(_scale_to_8_bit(_without_alpha(pixels, name, notes), notes), data, notes)
        picture = Pillow.open(io.BytesIO(data[:end]), formats=("PNG",))
        picture.load()
    except ReadError:
        raise
    except Exception as error:
        raise ReadError(f"{name!r} is damaged: {error}.", code="image.corrupt", hint="Copy the file again.") from error
    if colour in (4, 6) or "transparency" in picture.info:
        pixels = _without_alpha(np.asarray(picture.convert("RGBA")), name, notes)
    elif colour == 0:
        pixels = np.asarray(picture.convert("L"))
    else:
        pixels = np.asarray(picture.convert("RGB"))
    return _oriented_and_managed(pixels, data, notes)


def _check_png_chunks(data: bytes, name: str) -> int:
    """Return the offset after the last chunk; every chunk's checksum is verified."""
    position = 8
    while position + 12 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        end = position + 12 + length
        if end > len(data):
            break
        kind = data[position + 4 : position + 8]
        if zlib.crc32(data[position + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ReadError(
                f"{name!r} is damaged: a checksum does not fit.", code="image.corrupt", hint="Copy it again."
            )
        position = end
        if kind == b"IEND":
            return position
    raise ReadError(f"{name!r} is cut short.", code="image.truncated", hint="Copy the file again from its source.")


def _png_16_bit(data: bytes) -> Pixels:
    import cv2

    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ReadError("a 16-bit PNG cannot be decoded.", code="image.corrupt")
    if pixels.ndim == 3:
        order = [2, 1, 0, 3][: pixels.shape[2]]
        pixels = pixels[..., order]
    return pixels


def _without_alpha(pixels: Pixels, name: str, notes: list[str]) -> Pixels:
    if pixels.ndim != 3 or pixels.shape[2] not in (2, 4):
        return pixels
    alpha = pixels[..., -1:]
    if not alpha.any():
        raise ReadError(f"{name!r} is fully transparent; what it hides is not shown.", code="image.transparent")
    if (alpha == np.iinfo(pixels.dtype).max).all():
        return pixels[..., :-1]
    notes.append("image.alpha_on_black")
    share = alpha.astype(np.float64) / np.iinfo(pixels.dtype).max
    return np.rint(pixels[..., :-1] * share).astype(pixels.dtype)


def _decode_tiff(data: bytes, name: str, limits: ReadLimits, notes: list[str]) -> Pixels:
    import tifffile

    try:
        with complaints_of("tifffile") as said, tifffile.TiffFile(io.BytesIO(data)) as container:
            pages = container.pages
            page: Any = pages[0]
            check_size(page.imagelength, page.imagewidth, name, limits)
            if len(pages) > 1 and page.imagelength == getattr(pages[1], "imagelength", None):
                raise ReadError(
                    f"{name!r} holds {len(pages)} pages; which one is the photograph is not stated.",
                    code="image.many_pages",
                    hint="Split it, or give it as an OCT volume.",
                )
            orientation = page.tags.valueof("Orientation", 1)
            inverted = page.photometric == tifffile.PHOTOMETRIC.MINISWHITE
            planar = page.planarconfig == 2
            pixels = page.asarray()
            extra = page.extrasamples
            palette = page.colormap if page.photometric == tifffile.PHOTOMETRIC.PALETTE else None
            ycc = page.photometric == tifffile.PHOTOMETRIC.YCBCR and page.compression != 7
        if said or pixels.size == 0:
            # The library shows black where strips are missing; that would be a picture of something else.
            raise ReadError(f"{name!r} is damaged.", code="image.corrupt", hint="Copy the file again from its source.")
    except ReadError:
        raise
    except Exception as error:
        cut = isinstance(error, EOFError) or "truncat" in str(error).lower() or "not enough" in str(error).lower()
        raise ReadError(
            f"{name!r} is {'cut short' if cut else 'damaged'}.", code="image.truncated" if cut else "image.corrupt"
        ) from error
    if ycc:
        raise ReadError(f"{name!r} stores YCbCr without JPEG.", code="image.unsupported", hint="Save it as RGB.")
    if palette is not None:
        pixels = np.moveaxis(palette[:, pixels], 0, -1)
    if planar and pixels.ndim == 3:
        pixels = np.moveaxis(pixels, 0, -1)
    if np.issubdtype(pixels.dtype, np.floating):
        pixels = _float_to_8_bit(pixels, name, notes)
    elif pixels.dtype == np.bool_:
        pixels = pixels.astype(np.uint8) * 255
    elif pixels.dtype not in (np.uint8, np.uint16):
        raise ReadError(f"{name!r} holds {pixels.dtype} values; their range is not known.", code="image.unsupported")
    if extra and pixels.ndim == 3:
        pixels = _without_alpha(pixels, name, notes)
    if pixels.dtype == np.uint16:
        pixels = _scale_to_8_bit(pixels, notes)
    if inverted:
        pixels = 255 - pixels
        notes.append("image.min_is_white")
    return _orient(pixels, int(orientation or 1), notes)


def _float_to_8_bit(pixels: Pixels, name: str, notes: list[str]) -> Pixels:
    if not np.isfinite(pixels).all():
        raise ReadError(f"{name!r} holds NaN or infinity.", code="image.float_range")
    low, high = float(pixels.min()), float(pixels.max())
    # A range that is not stated would be a guess: values of 0..1 are the one convention all writers share.
    if low < 0 or high > 1 or high <= 1 / 255:
        raise ReadError(
            f"{name!r} holds floating point values from {low:.4g} to {high:.4g}; read are 0 to 1.",
            code="image.float_range",
            hint="Scale the values to 0..1 or save as 8 or 16 bit.",
        )
    notes.append("image.scaled_from_float")
    return np.rint(pixels * 255).astype(np.uint8)


def _scale_to_8_bit(pixels: Pixels, notes: list[str]) -> Pixels:
    """Scale 16-bit containers by the smallest of 8, 10, 12, 14 and 16 bits that holds the greatest value."""
    if pixels.dtype != np.uint16:
        return pixels
    top = int(pixels.max())
    bits = next(b for b in (8, 10, 12, 14, 16) if top < 1 << b)
    notes.append(f"image.scaled_from_{bits}_bit")
    return np.rint(pixels.astype(np.float32) * (255.0 / ((1 << bits) - 1))).astype(np.uint8)


def _oriented_and_managed(pixels: Pixels, data: bytes, notes: list[str]) -> Pixels:
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
        try:
            orientation = int(picture.getexif().get(0x0112, 1))
        except Exception:
            # A damaged EXIF block says nothing about orientation; the picture itself was decoded strictly.
            orientation = 1
            notes.append("image.exif_damaged")
        profile = picture.info.get("icc_profile")
    if profile and pixels.ndim == 3:
        pixels = _to_srgb(pixels, profile, notes)
    return _orient(pixels, orientation, notes)


def _to_srgb(pixels: Pixels, profile: bytes, notes: list[str]) -> Pixels:
    from PIL import Image as Pillow
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return pixels
        done = ImageCms.profileToProfile(Pillow.fromarray(pixels), source, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError, ValueError):
        notes.append("icc.unusable")
        return pixels
    notes.append("icc.converted")
    return np.asarray(done)


def _orient(pixels: Pixels, orientation: int, notes: list[str]) -> Pixels:
    """Turn as EXIF orientation 1 to 8 asks; mirrored ones are noted because mirroring exchanges the eyes."""
    if orientation in (2, 4, 5, 7):
        notes.append("orientation.mirrored")
    if orientation in (2, 3, 4, 6, 8, 5, 7):
        notes.append("orientation.applied")
    turn = {
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: np.swapaxes(p, 0, 1),
        6: lambda p: np.rot90(p, -1),
        7: lambda p: np.swapaxes(p[::-1, ::-1], 0, 1),
        8: lambda p: np.rot90(p),
    }.get(orientation)
    return pixels if turn is None else turn(pixels)


def _channels(pixels: Pixels, modality: str) -> Pixels:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        return pixels
    if pixels.ndim != 2:
        raise ReadError(f"pixels of shape {pixels.shape} are not a picture.", code="image.unsupported")
    return np.repeat(pixels[..., None], 3, 2) if modality in ("cfp", "uwf", "external") else pixels[..., None]
