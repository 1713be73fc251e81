"""Small entries of NPZ archives: labels and facts beside a volume that stays packed."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

#: Bytes of an entry that is looked at; a label is a number or a word, anything larger is not one.
_MOST = 4096
_DAMAGED = (OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)


def entries(path: Path) -> set[str]:
    """Return the names of the entries of an archive; none when it cannot be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except _DAMAGED:
        return set()


def small_entries(path: Path, *keys: str) -> dict[str, str]:
    """Return those of the entries that are one number or word, as text. Nothing is unpickled, no volume is unpacked.

    Args:
        path: `.npz` file.
        keys: Names of entries.
    """
    found: dict[str, str] = {}
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
            for key in keys:
                if 0 < sizes.get(f"{key}.npy", 0) <= _MOST:
                    with archive.open(f"{key}.npy") as stream:
                        value = np.lib.format.read_array(stream, allow_pickle=False)
                    if value.size == 1:
                        found[key] = str(value.reshape(-1)[0]).strip()
    except _DAMAGED:
        return {}
    return found
