"""What is different between two descriptions, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def differences(found: Any, expected: Any, *, place: str = "") -> list[str]:
    """Return where two JSON-ready values differ, in the order of the expected one: place, found and expected.

    Example:
        >>> differences({"labels": ["no", "mild"], "size": 224}, {"labels": ["mild", "no"], "size": 224})
        ["labels[0]: found 'no', expected 'mild'", "labels[1]: found 'mild', expected 'no'"]
    """
    if isinstance(found, Mapping) and isinstance(expected, Mapping):
        keys = [*expected, *(k for k in found if k not in expected)]
        return [
            line
            for k in keys
            for line in differences(found.get(k), expected.get(k), place=f"{place}.{k}" if place else str(k))
        ]
    if isinstance(found, (list, tuple)) and isinstance(expected, (list, tuple)) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for i, (f, e) in pairs for line in differences(f, e, place=f"{place}[{i}]")]
    # Numbers of one value in two types, and tuples that became lists in a file, are equal.
    if found == expected or json.dumps(found) == json.dumps(expected):
        return []
    return [f"{place or 'value'}: found {_short(found)}, expected {_short(expected)}"]


def _short(value: Any) -> str:
    words = "nothing" if value is None else repr(value)
    return words if len(words) <= 60 else words[:57] + "..."
