"""Masks of public sets: vessels, fields of view, discs, lesions; GIF, PNG, TIFF, BMP, PPM (also gzipped) and JPEG, as strict as pictures."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import ReadError
from ..core.files import ReadLimits, check_size, gunzip, read_bytes
from ..core.netpbm import read_netpbm

SUFFIXES = (".gif", ".png", ".tif", ".tiff", ".bmp", ".ppm", ".pgm", ".ppm.gz", ".pgm.gz", ".jpg", ".jpeg")

_KINDS = (
    (b"GIF8", "GIF"), (b"\x89PNG\r\n\x1a\n", "PNG"), (b"II*\x00", "TIFF"), (b"MM\x00*", "TIFF"), (b"BM", "BMP"),
    (b"\xff\xd8\xff", "JPEG"), (b"P5", "PPM"), (b"P6", "PPM"),
)  # fmt: skip


def read_mask(path: str | os.PathLike[str], *, limits: ReadLimits | None = None) -> npt.NDArray[np.uint8]:
    """Return the mask in a file, `(H, W)` uint8.

    Bits become 0 and 255, grey stays grey, colours whose channels agree become grey, black and one other colour become 0 and 255. Palettes are looked up, so that a GIF whose
    index 1 is white gives 255. Values of 16 bits are scaled by what their greatest value can be.

    Args:
        path: Recognised by content.
        limits: Caps; masks may be small, so the least side is 1.

    Raises:
        ReadError: `file.*`, `image.not_an_image`, `image.truncated`, `image.corrupt`, `image.too_large`, `image.aspect`,
            `image.many_pages`; `mask.colors` where there are more colours, because which of them is the mask is not stated.
    """
    pixels, name = _pixels(path, limits)
    return np.ascontiguousarray(_one_channel(pixels, name))


def read_artery_vein(
    path: str | os.PathLike[str], *, limits: ReadLimits | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Return arteries, veins and what is uncertain of a coloured map, each `(H, W)` uint8 of 0 and 255.

    Red is artery, blue is vein, magenta is a crossing of both; green, white and other mixtures with green are uncertain.

    Args:
        path: Recognised by content.
        limits: Caps, as in `read_mask`.

    Raises:
        ReadError: As in `read_mask`; `mask.colors` where the map has no colours.
    """
    pixels, name = _pixels(path, limits)
    if pixels.ndim == 2:
        raise ReadError(
            f"{name!r} has no colours.",
            code="mask.colors",
            hint="Arteries must be red and veins blue in a map of both.",
        )
    red, green, blue = (pixels[..., c] > 127 for c in range(3))
    if not ((red != blue) | (green & ~red)).any() and red.any():
        raise ReadError(
            f"{name!r} has no colours.",
            code="mask.colors",
            hint="Arteries must be red and veins blue in a map of both.",
        )
    artery, vein, uncertain = (m.astype(np.uint8) * 255 for m in (red & ~green, blue & ~green, green))
    return artery, vein, uncertain


def read_labels(path: str | os.PathLike[str], *, limits: ReadLimits | None = None) -> npt.NDArray[np.uint8]:
    """Return the class numbers `(H, W)` uint8 of a map whose pixels count classes: indices of its palette, or its grey values.

    Args:
        path: PNG, GIF, TIFF or BMP, recognised by content.
        limits: Caps, as in `read_mask`.

    Raises:
        ReadError: As in `read_mask`; `mask.colors` where colours are stored instead of numbers.
    """
    from PIL import Image as Pillow

    pixels, name = _pixels(path, limits)
    data = read_bytes(path, (limits or ReadLimits(min_side=1, max_aspect=100.0)).max_bytes)
    if data.startswith((b"\x89PNG", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")):
        with Pillow.open(io.BytesIO(data)) as picture:
            if picture.mode == "P":
                return np.asarray(picture).astype(np.uint8)
    if pixels.ndim != 2:
        raise ReadError(
            f"{name!r} holds colours, not class numbers.", code="mask.colors", hint="Save it with a palette."
        )
    return np.ascontiguousarray(pixels, np.uint8)


def _pixels(path: str | os.PathLike[str], limits: ReadLimits | None) -> tuple[npt.NDArray[Any], str]:
    limits = limits or ReadLimits(min_side=1, max_aspect=100.0)
    name = Path(path).name
    data = read_bytes(path, limits.max_bytes)
    if data.startswith(b"\x1f\x8b"):
        data = gunzip(data, name, limits.max_bytes)
    kind = next((k for magic, k in _KINDS if data.startswith(magic)), None)
    if kind is None:
        raise ReadError(f"{name!r} is no mask that is read.", code="image.not_an_image", hint=f"Read are {SUFFIXES}.")
    if kind == "PPM":
        samples, top = read_netpbm(data, name, limits)
        return (samples if top == 255 else np.rint(samples.astype(np.float32) * (255 / top)).astype(np.uint8)), name
    return _pillow(data, name, kind, limits), name


def _pillow(data: bytes, name: str, kind: str, limits: ReadLimits) -> npt.NDArray[Any]:
    from PIL import Image as Pillow

    try:
        with Pillow.open(io.BytesIO(data), formats=(kind,)) as picture:
            check_size(picture.height, picture.width, name, limits)
            if getattr(picture, "n_frames", 1) > 1:
                raise ReadError(
                    f"{name!r} holds several pictures.",
                    code="image.many_pages",
                    hint="Split it; one mask is one picture.",
                )
            if kind == "JPEG":
                return _strict_jpeg(data, name)
            picture.load()
            if picture.mode.startswith("I;16") or picture.mode == "I":
                return _sixteen(np.asarray(picture.convert("I")), name)
            return np.asarray(
                picture if picture.mode == "L" else picture.convert("L" if picture.mode in "1" else "RGB")
            )
    except ReadError:
        raise
    except Pillow.DecompressionBombError as error:
        raise ReadError(f"{name!r} is larger than is read.", code="image.too_large") from error
    except Exception as error:
        cut = isinstance(error, EOFError) or "truncat" in str(error).lower() or "not enough" in str(error).lower()
        raise ReadError(
            f"{name!r} is {'cut short' if cut else 'damaged'}.",
            code="image.truncated" if cut else "image.corrupt",
            hint="Copy the file again from its source.",
        ) from error


def _strict_jpeg(data: bytes, name: str) -> npt.NDArray[Any]:
    import simplejpeg

    try:
        grey = simplejpeg.decode_jpeg_header(data)[2] == "Gray"
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="GRAY" if grey else "RGB", strict=True))
    except ValueError as error:
        cut = "premature" in str(error).lower() or "end of" in str(error).lower()
        raise ReadError(f"{name!r} is damaged: {error}.", code="image.truncated" if cut else "image.corrupt") from error


def _sixteen(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    if values.min() < 0 or values.max() > 65535:
        raise ReadError(f"{name!r} holds values outside 16 bits.", code="image.unsupported")
    top = 255 if values.max() < 256 else 65535
    return np.rint(values * (255 / top)).astype(np.uint8)


def _one_channel(pixels: npt.NDArray[Any], name: str) -> npt.NDArray[np.uint8]:
    if pixels.ndim == 2:
        return pixels.astype(np.uint8, copy=False)
    planes = pixels.astype(np.int16)
    # A JPEG rounds its colours: a few grey levels apart is still grey.
    if max(np.abs(planes[..., 0] - planes[..., c]).max() for c in range(planes.shape[2])) > 8:
        lit = pixels[pixels.max(axis=2) > 0]
        if (lit == lit[0]).all():
            # Black and one colour: a mask drawn in red is still a mask.
            return np.where(pixels.max(axis=2) > 0, 255, 0).astype(np.uint8)
        raise ReadError(
            f"{name!r} is a coloured map.", code="mask.colors", hint="Say which colour is meant, or save it as grey."
        )
    return np.ascontiguousarray(pixels[..., 0]).astype(np.uint8, copy=False)
