"""Portable pixmaps (PPM, PGM), gzipped or not: what STARE and other old sets are published in."""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from ..core.errors import ReadError
from ..core.study import Image

MAX_PIXELS = 150_000_000
MIN_SIDE = 32
_HEADER = re.compile(
    rb"(P[56])(?:\s+|#[^\n]*\n)+(\d{1,6})(?:\s+|#[^\n]*\n)+(\d{1,6})(?:\s+|#[^\n]*\n)+(\d{1,5})\s", re.DOTALL
)


def read_netpbm(path: str | Path, *, modality: str = "cfp") -> Image:
    """Return the photograph in a binary PPM or PGM file of 8 bits.

    Args:
        path: `.ppm`, `.pgm`, or either with `.gz`.
        modality: What kind of image it is; colour photographs get three channels.

    Raises:
        ReadError: `file.missing`, `file.permission`, `image.not_an_image`, `image.truncated`, `image.corrupt`,
            `image.too_large`, `image.too_small`, `image.unsupported`.
    """
    source = Path(path)
    try:
        with source.open("rb") as raw:
            digest = hashlib.file_digest(raw, "sha256").hexdigest()
            raw.seek(0)
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            # Only what the header announces is unpacked: a small archive of endless zeros costs nothing.
            pixels = _decode(gzip.GzipFile(fileobj=raw) if zipped else raw, source.name)
    except FileNotFoundError as error:
        raise ReadError(f"no file {source.name!r}.", code="file.missing", hint="Check the path.") from error
    except PermissionError as error:
        raise ReadError(f"{source.name!r} may not be read.", code="file.permission") from error
    except EOFError as error:
        raise ReadError(f"{source.name!r} ends early.", code="image.truncated", hint="Copy the file again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ReadError(
            f"{source.name!r} is damaged: {error}.", code="image.corrupt", hint="Copy the file again."
        ) from error
    if modality in ("cfp", "uwf", "external") and pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    return Image(pixels=pixels, modality=modality, digest=digest)


def _decode(stream: IO[bytes] | gzip.GzipFile, name: str) -> np.ndarray:
    head = stream.read(512)
    match = _HEADER.match(head)
    if match is None:
        raise ReadError(
            f"{name!r} is no binary PPM or PGM.", code="image.not_an_image", hint="Give the picture itself."
        )
    width, height, most = (int(match.group(i)) for i in (2, 3, 4))
    channels = 3 if match.group(1) == b"P6" else 1
    if most != 255:
        raise ReadError(f"{name!r} has grey levels up to {most}; read are 255.", code="image.unsupported")
    if min(width, height) < MIN_SIDE:
        raise ReadError(f"{name!r} is {width} x {height} px; needed are {MIN_SIDE}.", code="image.too_small")
    if width * height > MAX_PIXELS:
        raise ReadError(f"{name!r} claims {width} x {height} px; at most {MAX_PIXELS}.", code="image.too_large")
    needed = width * height * channels
    body = head[match.end() :][:needed]
    body += stream.read(needed - len(body))
    if len(body) < needed:
        raise ReadError(f"{name!r} ends early.", code="image.truncated", hint="Copy the file again.")
    return np.frombuffer(body, np.uint8).reshape(height, width, channels)
