"""JPEG, PNG, TIFF and PPM photographs, strictly: a file that is cut or damaged is refused even where a decoder would show something.

Policies, the same in training and use: the type is read off the content; size is capped from the header; EXIF orientation is applied;
an embedded colour profile is converted to sRGB; transparency is laid on black; values of more than eight bits are scaled, never clipped.
A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size; all of its data is still read and checked.
"""

from __future__ import annotations

import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.complaints import complaints_of
from ..core.errors import ReadError
from ..core.files import ReadLimits, check_size, gunzip, read_bytes
from ..core.netpbm import read_netpbm
from ..core.study import Image

__all__ = ["SUFFIXES", "ReadLimits", "decode_image", "read_bytes", "read_image", "sniff"]

SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".ppm", ".pgm", ".ppm.gz", ".pgm.gz")

Pixels = npt.NDArray[Any]

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
#: A JPEG of fewer pixels is decoded whole: little is gained by less.
_WHOLE_PX = 1_500_000
#: How much of a JPEG is searched for markers at a time.
_BLOCK_BYTES = 1 << 16
_GZIP = b"\x1f\x8b\x08"
_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_OF_SUFFIX = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".tif": "tiff", ".tiff": "tiff",
              ".ppm": "netpbm", ".pgm": "netpbm"}  # fmt: skip


def read_image(
    path: str | os.PathLike[str],
    *,
    modality: str = "cfp",
    limits: ReadLimits | None = None,
    enough_px: int | None = None,
) -> Image:
    """Return the photograph in a file.

    Args:
        path: JPEG, PNG, TIFF or PPM (also gzipped), recognised by content.
        modality: What kind of image it is; colour photographs get three channels, others one when they are grey.
        limits: Caps.
        enough_px: Length of the shorter side that is enough; a JPEG of twice, four or eight times that is reduced while it
            is decoded, and says so in `Image.reduction`. None reads every pixel.

    Raises:
        ReadError: `file.missing`, `file.permission`, `file.not_a_file`, `image.not_an_image`, `image.truncated`,
            `image.corrupt`, `image.too_large`, `image.too_small`, `image.aspect`, `image.float_range`,
            `image.transparent`, `image.unsupported`.
    """
    limits = limits or ReadLimits()
    data = read_bytes(path, limits.max_bytes)
    image = decode_image(data, Path(path).name, modality=modality, limits=limits, enough_px=enough_px)
    return replace(image, digest=hashlib.sha256(data).hexdigest())


def decode_image(
    data: bytes, name: str, *, modality: str = "cfp", limits: ReadLimits | None = None, enough_px: int | None = None
) -> Image:
    """Return the photograph in the bytes of a file, without their digest; arguments and errors as in `read_image`."""
    limits = limits or ReadLimits()
    content = gunzip(data, name, limits.max_bytes) if data.startswith(_GZIP) else data
    kind = sniff(content, name)
    notes: list[str] = []
    if _OF_SUFFIX.get(os.path.splitext(name.lower().removesuffix(".gz"))[1], kind) != kind:
        notes.append("image.suffix_differs")
    reduction, shape = 1, None
    if kind == "jpeg":
        pixels, reduction, shape = _decode_jpeg(content, name, limits, notes, enough_px=enough_px)
    else:
        decode = {"png": _decode_png, "tiff": _decode_tiff, "netpbm": _decode_netpbm}[kind]
        pixels = decode(content, name, limits, notes)
    return Image(
        pixels=np.ascontiguousarray(_channels(pixels, modality)),
        modality=modality,
        notes=tuple(notes),
        reduction=reduction,
        full_shape=shape,
    )


def _decode_netpbm(data: bytes, name: str, limits: ReadLimits, notes: list[str]) -> Pixels:
    pixels, top = read_netpbm(data, name, limits)
    if top == 255:
        return pixels
    notes.append(f"image.scaled_from_{top}")
    return np.rint(pixels.astype(np.float32) * np.float32(255 / top)).astype(np.uint8)


def sniff(data: bytes, name: str) -> str:
    """Return "jpeg", "png", "tiff" or "netpbm" from the first bytes.

    Raises:
        ReadError: `image.not_an_image`: empty, or anything else (also formats that are deliberately not read).
    """
    if data.startswith(_JPEG):
        return "jpeg"
    if data.startswith(_PNG):
        return "png"
    if data.startswith(_TIFF):
        return "tiff"
    if data[:2] in (b"P5", b"P6") and data[2:3].isspace():
        return "netpbm"
    what = "is empty" if not data else "is neither JPEG, PNG, TIFF nor PPM"
    raise ReadError(f"{name!r} {what}.", code="image.not_an_image", hint="Export the picture as JPEG, PNG or TIFF.")


@dataclass(frozen=True, slots=True)
class _JpegLayout:
    """What the markers of a JPEG say: where it ends, how it is coded, and where its first scan starts."""

    end: int | None
    frame: int
    precision: int
    scan: int


def _decode_jpeg(
    data: bytes, name: str, limits: ReadLimits, notes: list[str], *, enough_px: int | None = None
) -> tuple[Pixels, int, tuple[int, int]]:
    """Return the pixels, the reduction 1, 2, 4 or 8 they were decoded at, and the full (height, width)."""
    import simplejpeg

    layout = _jpeg_layout(data)
    end = layout.end
    if layout.frame and (layout.frame not in (0xC0, 0xC1, 0xC2) or layout.precision != 8):
        how = "arithmetic coding" if 0xC9 <= layout.frame <= 0xCF else f"an unusual coding ({layout.precision} bit)"
        raise ReadError(f"{name!r} uses {how}.", code="image.unsupported", hint="Save it as baseline JPEG.")
    try:
        height, width, colour, _ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, KeyError) as error:
        raise ReadError(
            f"{name!r} has no usable JPEG header.", code="image.truncated" if end is None else "image.corrupt"
        ) from error
    check_size(height, width, name, limits)
    if end is None:
        # Without its end marker a file may be whole but for two bytes, or cut: only a strict decode of the completed file tells.
        notes.append("image.missing_eoi")
        body = data + b"\xff\xd9"
    else:
        body = data if end == len(data) else data[:end]
        if data[end:].strip(b"\x00"):
            notes.append("image.trailing_data")
    orientation, profile = _tags_of(data[: layout.scan], notes)
    factor = 1 if colour == "CMYK" else _reduction(height, width, enough_px, turned=orientation != 1)
    try:
        if colour == "CMYK":
            pixels = _cmyk(body, notes)
        else:
            # The smallest size that is at least this one is the wanted eighth; strict also where most detail is dropped.
            pixels = simplejpeg.decode_jpeg(
                body,
                colorspace="GRAY" if colour == "Gray" else "RGB",
                min_height=-(-height // factor),
                min_width=-(-width // factor),
                strict=True,
            )
    except ValueError as error:
        cut = end is None or "end of" in str(error).lower() or "premature" in str(error).lower()
        raise ReadError(
            f"{name!r} is {'cut short' if cut else 'damaged'}: {error}.",
            code="image.truncated" if cut else "image.corrupt",
            hint="Copy the file again from its source.",
        ) from error
    if profile and pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = _to_srgb(pixels, profile, notes)
    shape = (width, height) if orientation >= 5 else (height, width)
    return _orient(pixels, orientation, notes), factor, shape


def _reduction(height: int, width: int, enough_px: int | None, *, turned: bool) -> int:
    """Return the largest of 8, 4, 2 and 1 that leaves the shorter side long enough."""
    for factor in (8, 4, 2) if enough_px and height * width > _WHOLE_PX else ():
        # A part of a block at the right or lower edge must not come to lie at the left or upper one.
        whole = not turned or (height % factor == 0 and width % factor == 0)
        if whole and min(height, width) >= factor * (enough_px or 0):
            return factor
    return 1


def _cmyk(body: bytes, notes: list[str]) -> Pixels:
    import simplejpeg
    from PIL import Image as Pillow

    # Pillow knows how inks become colours but forgives damage; the strict decoder does not.
    simplejpeg.decode_jpeg(body, colorspace="CMYK", strict=True)
    notes.append("image.cmyk")
    return np.asarray(Pillow.open(io.BytesIO(body), formats=("JPEG",)).convert("RGB"))


def _jpeg_layout(data: bytes) -> _JpegLayout:
    """Return the layout, walking markers and scans.

    An end marker inside an embedded thumbnail does not count, because segments are skipped by their length.
    """
    position, frame, precision, scan, size = 2, 0, 8, 0, len(data)
    for start in _marker_candidates(data):
        if start < position:
            continue
        marker = data[start + 1]
        if marker == 0xD9:
            return _JpegLayout(start + 2, frame, precision, scan or start)
        if marker == 0xD8:
            continue
        if start + 4 > size:
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and start + 5 <= size:
            frame, precision = marker, data[start + 4]
        if marker == 0xDA and not scan:
            scan = start
        position = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
    return _JpegLayout(None, frame, precision, scan or size)


def _marker_candidates(data: bytes) -> Iterator[int]:
    """Yield where a 0xFF is followed by what may be a marker: in entropy-coded data it is followed by stuffing or a restart number.

    The file is looked at in blocks that stay in the cache of the processor, and no further than is asked for.
    """
    codes = np.frombuffer(data, np.uint8)
    room = np.empty(_BLOCK_BYTES, np.bool_)
    for start in range(0, len(codes) - 1, _BLOCK_BYTES):
        after = codes[start + 1 : start + 1 + _BLOCK_BYTES]
        found = np.equal(codes[start : start + len(after)], 0xFF, out=room[: len(after)])
        # One where the next byte is not zero as well.
        np.minimum(found.view(np.uint8), after, out=found.view(np.uint8))
        if found.any():
            at = np.flatnonzero(found)
            code = after[at]
            keep = (code != 0x01) & (code != 0xFF) & ((code & 0xF8) != 0xD0)
            yield from (at[keep] + start).tolist()


def _tags_of(header: bytes, notes: list[str]) -> tuple[int, bytes | None]:
    """Return the EXIF orientation and the colour profile that stand before the first scan."""
    if b"Exif\0" not in header and b"ICC_PROFILE\0" not in header:
        return 1, None
    # A scan that is empty is enough for the tags.
    return _tags(header + b"\xff\xd9", notes)


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
    orientation, profile = _tags(data, notes)
    if profile and pixels.ndim == 3:
        pixels = _to_srgb(pixels, profile, notes)
    return _orient(pixels, orientation, notes)


def _tags(data: bytes, notes: list[str]) -> tuple[int, bytes | None]:
    """Return the EXIF orientation and the embedded colour profile."""
    from PIL import Image as Pillow

    with Pillow.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
        try:
            orientation = int(picture.getexif().get(0x0112, 1))
        except Exception:
            # A damaged EXIF block says nothing about orientation; the picture itself was decoded strictly.
            orientation = 1
            notes.append("image.exif_damaged")
        return orientation, picture.info.get("icc_profile")


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
    if orientation == 1:
        return pixels
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
