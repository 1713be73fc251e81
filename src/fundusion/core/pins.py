"""A digest the user names for a file of weights: another file is refused, whatever its name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from .durable import digest_of
from .errors import IncompatibleWeights, InvalidInput

_SHORTEST = 16


def check_pin(pin: str, weights: object) -> str:
    """Return a pinned digest in small letters, after comparing it with the file when there is one at hand.

    Args:
        pin: SHA-256 in hexadecimal, whole or its first 16 digits or more.
        weights: What is to be loaded; a file is read before anything opens it.

    Raises:
        InvalidInput: Not a digest, or nothing to pin.
        IncompatibleWeights: The file has another digest (`model.digest`).

    Example:
        >>> check_pin("AB" * 32, "hub:owner/name")[:8]
        'abababab'
    """
    if not isinstance(pin, str) or not re.fullmatch(f"[0-9a-fA-F]{{{_SHORTEST},64}}", pin):
        raise InvalidInput(
            f"sha256 is {pin!r}; it must be {_SHORTEST} to 64 hexadecimal digits.",
            code="config.digest",
            hint="`sha256sum FILE` prints it.",
        )
    if not weights:
        raise InvalidInput("sha256 pins weights, and none are loaded.", code="config.digest", hint="Give weights too.")
    wanted, path = pin.lower(), Path(str(weights))
    if path.is_file():
        _compare(digest_of(path), wanted, path.name)
    return wanted


def check_loaded(component: Any, wanted: str, weights: object) -> None:
    """Compare a pinned digest with what a component says it loaded, and note in its record that it was verified.

    Raises:
        IncompatibleWeights: Another digest.
        InvalidInput: The component keeps no record and its weights are no file at hand.
    """
    record = getattr(component, "weights_record", None)
    if record is not None:
        _compare(str(record["sha256"]), wanted, str(record["source"]))
        record["digest_verified"] = True
    elif not Path(str(weights)).is_file():
        raise InvalidInput(
            f"what {weights!r} gave cannot be compared with sha256.",
            code="config.digest",
            hint="Give the path of a file.",
        )


def _compare(found: str, wanted: str, name: str) -> None:
    if not found.startswith(wanted):
        raise IncompatibleWeights(
            f"{name!r} has SHA-256 {found[:16]}..., wanted is {wanted[:16]}...",
            code="model.digest",
            hint="It is another file or a damaged one; get it again, or change sha256 when you mean this one.",
        )
