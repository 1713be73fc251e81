"""Bytes of a file, with caps: what is no regular file, or larger than any picture, is refused before it is read."""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from .errors import ReadError


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadLimits:
    """Sizes beyond which a file is refused from its header alone."""

    max_bytes: int = 512 << 20
    max_pixels: int = 150_000_000
    max_side: int = 20_000
    min_side: int = 32
    max_aspect: float = 8.0


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


def gunzip(data: bytes, name: str, max_bytes: int) -> bytes:
    """Return the content of a gzip file; what unpacks to more than the cap is refused while it unpacks.

    Raises:
        ReadError: `image.too_large`, `image.truncated` or `image.corrupt`.

    Example:
        >>> import gzip
        >>> gunzip(gzip.compress(b"P5 1 1 255 x"), "a.pgm.gz", 100)
        b'P5 1 1 255 x'
    """
    out = bytearray()
    while data:
        stream = zlib.decompressobj(wbits=31)
        try:
            out += stream.decompress(data, max_bytes + 1 - len(out))
        except zlib.error as error:
            raise ReadError(f"{name!r} is damaged: {error}.", code="image.corrupt", hint="Copy it again.") from error
        if len(out) > max_bytes:
            raise ReadError(f"{name!r} unpacks to more than {max_bytes} bytes.", code="image.too_large")
        if not stream.eof:
            raise ReadError(f"{name!r} is cut short.", code="image.truncated", hint="Copy the file again.")
        # A gzip file may hold several members; anything else after the end is no part of it.
        data = stream.unused_data if stream.unused_data.startswith(b"\x1f\x8b") else b""
    return bytes(out)


def check_size(height: int, width: int, name: str, limits: ReadLimits) -> None:
    """Refuse sizes no fundus camera makes, before anything is allocated."""
    if height * width > limits.max_pixels or max(height, width) > limits.max_side:
        raise ReadError(f"{name!r} is {width} x {height} px, more than is read.", code="image.too_large")
    if min(height, width) < 1 or min(height, width) < limits.min_side:
        raise ReadError(f"{name!r} is {width} x {height} px, too small to judge.", code="image.too_small")
    if max(height, width) > limits.max_aspect * min(height, width):
        raise ReadError(f"{name!r} is {width} x {height} px, a sliver.", code="image.aspect")
