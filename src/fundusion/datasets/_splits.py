"""Splits that never divide a patient, the same for any order of the records."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from ..core.errors import InvalidInput
from ..core.study import StudyRecord


def position_of(group: str, *, seed: int = 0) -> float:
    """Return a number in [0, 1) that belongs to a patient, whatever else is in the set."""
    digest = hashlib.sha256(f"{seed}:{group}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_by_patient(records: Sequence[StudyRecord], fractions: Mapping[str, float], *, seed: int = 0) -> list[str]:
    """Return the part of each record; both eyes and all visits of a patient are in one part.

    Args:
        records: In any order; the part depends on the patient and the seed only.
        fractions: Part to share, summing to one.
        seed: Another seed gives another split.
    """
    if abs(sum(fractions.values()) - 1) > 1e-6 or min(fractions.values()) < 0:
        raise InvalidInput(f"fractions must sum to one, got {dict(fractions)}.")
    parts: list[str] = []
    for record in records:
        position, upper = position_of(record.group, seed=seed), 0.0
        part = next(iter(fractions))
        for name, share in fractions.items():
            upper += share
            part = name
            if position < upper:
                break
        parts.append(part)
    return parts


def folds_by_patient(records: Sequence[StudyRecord], count: int, *, seed: int = 0) -> list[int]:
    """Return the fold `0 .. count - 1` of each record; no patient is in two."""
    if count < 2:
        raise InvalidInput(f"needed are at least two folds, got {count}.")
    return [int(position_of(r.group, seed=seed) * count) for r in records]
