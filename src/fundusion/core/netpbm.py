"""Portable grey and colour maps (PGM, PPM), as some public sets ship them: a short text header and plain samples."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import ReadError
from .files import ReadLimits, check_size

#: Magic, width, height, greatest value; comments run from # to the end of a line; one white space ends the header.
_BLANK = rb"(?:\s|#[^\n\r]*[\n\r])+"
_HEADER = re.compile(rb"P([56])" + _BLANK + rb"(\d{1,9})" + _BLANK + rb"(\d{1,9})" + _BLANK + rb"(\d{1,9})\s")


def read_netpbm(data: bytes, name: str, limits: ReadLimits) -> tuple[npt.NDArray[Any], int]:
    """Return the samples of a binary PGM or PPM, `(H, W)` or `(H, W, 3)` uint8 or uint16, and the greatest value they may have.

    Raises:
        ReadError: `image.corrupt`, `image.truncated`, `image.too_large`, `image.too_small`, `image.aspect`.

    Example:
        >>> samples, top = read_netpbm(b"P5 # a comment\\n2 1 255\\n\\x05\\x09", "a.pgm", ReadLimits(min_side=1))
        >>> samples.tolist(), top
        ([[5, 9]], 255)
    """
    found = _HEADER.match(data[:4096])
    if found is None:
        raise ReadError(f"{name!r} has no usable PPM header.", code="image.corrupt", hint="Export it again.")
    kind, width, height, top = (int(v) for v in found.groups())
    check_size(height, width, name, limits)
    if not 0 < top < 65536:
        raise ReadError(f"{name!r} states {top} as its greatest value.", code="image.corrupt", hint="Export it again.")
    channels = 3 if kind == 6 else 1
    stored = np.dtype(np.uint8 if top < 256 else ">u2")
    count = height * width * channels
    if len(data) - found.end() < count * stored.itemsize:
        raise ReadError(f"{name!r} is cut short.", code="image.truncated", hint="Copy the file again from its source.")
    samples = np.frombuffer(data, stored, count, found.end()).reshape((height, width, channels)[: 1 + channels])
    if int(samples.max()) > top:
        raise ReadError(
            f"{name!r} holds values above the {top} it states.", code="image.corrupt", hint="Export it again."
        )
    return samples.astype(stored.newbyteorder("=")), top
