"""Measurements of other eyes with their ages: what a user compares a patient with. Never a norm of this package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import InvalidInput


def column_of(name: str, unit: str, region: str | None = None) -> str:
    """Return the column of a measurement in a table with a row for each eye; another unit is another column.

    Example:
        >>> column_of("vcdr", "1", "disc"), column_of("width_vessels", "um", "field"), column_of("EX_count", "count", "ETDRS centre")
        ('vcdr', 'width_vessels (um)', 'EX_count [ETDRS centre] (count)')
    """
    place = f" [{region}]" if (region or "").startswith("ETDRS") else ""
    return f"{name}{place}{'' if unit == '1' else f' ({unit})'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CohortEye:
    """One eye of a cohort.

    Args:
        patient_id: Byte-preserved.
        age: Years.
        values: Column to number; an absent column is a missing value.
        sex: "female", "male" or None.
        laterality: "OD", "OS" or None.
        measured_with: What made the masks; None where the table does not say.
        scale_estimated: Whether micrometres were estimated from the disc; None where the table does not say.
    """

    patient_id: str
    age: float
    values: Mapping[str, float]
    sex: str | None = None
    laterality: str | None = None
    measured_with: str | None = None
    scale_estimated: bool | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.age) and 0 <= self.age <= 130):
            raise InvalidInput(f"age of patient {self.patient_id!r} is {self.age}.", code="cohort.age")
        if not all(math.isfinite(v) for v in self.values.values()):
            raise InvalidInput(f"a value of patient {self.patient_id!r} is not finite.", code="cohort.number")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """A table of eyes.

    Args:
        name: Of the file.
        digest: SHA-256 of its bytes.
        eyes: In the order of the file.
        left_out: Reason to the number of rows that were not used.
    """

    name: str
    digest: str
    eyes: tuple[CohortEye, ...]
    left_out: Mapping[str, int] = field(default_factory=dict)
