"""Paths that stand in a table: they stay inside one folder, whatever is written."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Any

from ...core.errors import InvalidInput

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_DEVICES = {"con", "prn", "aux", "nul", *(f"com{i}" for i in range(10)), *(f"lpt{i}" for i in range(10))}


def paths_of(value: Any, folder: Path) -> tuple[str, ...]:
    """Return the absolute paths of a cell; several are joined by "|" or stand in a list."""
    parts = [str(p) for p in value] if isinstance(value, (list, tuple)) else str(value).split("|")
    return tuple(safe_path(p.strip(), folder) for p in parts if p.strip())


def safe_path(text: str, folder: Path) -> str:
    """Return the absolute path of a cell; it may not leave the folder.

    Raises:
        InvalidInput: `manifest.path`: a URL or drive, "..", backslash, a character that does not show, a name of a device,
            or a link that leads outside.
    """
    bad = "\\" in text or text.startswith("~") or _SCHEME.match(text) is not None
    bad = bad or (not text.isprintable() and any(unicodedata.category(c) in ("Cc", "Cf") for c in text))
    if not bad:
        parts = text.split("/")
        bad = ".." in parts or any(p.split(".")[0].casefold() in _DEVICES for p in parts)
    if not bad:
        try:
            target = os.path.realpath(os.path.join(folder, text))
            bad = target != str(folder) and not target.startswith(os.path.join(folder, ""))
            # A loop of links resolves to itself.
            bad = bad or os.path.islink(target)
        except (OSError, ValueError):
            bad = True
    if bad:
        raise InvalidInput(
            f"the path {text[-60:]!r} leads outside the folder of the table.",
            code="manifest.path",
            hint="Use paths relative to the table, with forward slashes; or give the folder that holds the images.",
        )
    return str(folder / text)
