"""A measurement against the ages of a cohort: smoothed mean and 5-95 % band, drawn only where enough patients stand behind it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.cohort import Cohort, CohortEye, column_of
from ..core.results import Measurement

#: Patients a reference needs at all, and the effective number that it needs near an age: below, a 5 % limit is a guess.
MIN_PATIENTS, MIN_NEAR = 40, 20.0
#: Standard deviation of the weights over age, years.
BANDWIDTH = 5.0

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Mean and limits at ages; G ages.

    Args:
        ages: `(G,)` years, ascending, one a year.
        mean: `(G,)`.
        low: `(G,)` 5 % limit.
        high: `(G,)` 95 % limit.
        near: `(G,)` effective number of patients.
    """

    ages: Floats
    mean: Floats
    low: Floats
    high: Floats
    near: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """One measurement of a patient, and the reference where there is one.

    Args:
        measurement: With a value.
        points: `(P, 2)` age and value of the patients of the cohort, the mean of their eyes.
        eyes: Number of their eyes.
        sex: Of the patients behind the curves; None for all.
        curves: None where `reason` says why there are none.
        reason: Why no reference is drawn, in words.
        share_below: Share of the weight near the age of the patient that lies below the value, in [0, 1]; None without a reference there.
    """

    measurement: Measurement
    points: Floats
    eyes: int
    sex: str | None = None
    curves: Curves | None = None
    reason: str = ""
    share_below: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """A patient beside a cohort.

    Args:
        cohort: Name of the table.
        age: Of the patient, years; None where it is not known.
        sex: Of the patient.
        placed: Measurements that the table has too.
        notes: What a reader has to know of the table, in sentences.
    """

    cohort: str
    age: float | None
    sex: str | None
    placed: tuple[Placed, ...]
    notes: tuple[str, ...] = ()


def smooth(ages: Floats, values: Floats) -> Curves | None:
    """Return mean and limits over age, or None where nowhere enough patients are near.

    The mean is a local line; the limits are weighted quantiles of the distances from it.

    Args:
        ages: `(P,)` one of each patient.
        values: `(P,)`.

    Source:
        Local lines with Gaussian weights: Cleveland 1979, doi:10.1080/01621459.1979.10481038; effective number (sum w)^2 / sum w^2, Kish 1965.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> ages = rng.uniform(30, 70, 400)
        >>> curves = smooth(ages, 1 + 0.1 * ages + rng.normal(0, 0.5, 400))
        >>> k = int(np.argmin(abs(curves.ages - 50)))
        >>> [round(float(c[k]), 1) for c in (curves.mean, curves.low, curves.high)]
        [6.0, 5.3, 6.8]
    """
    if len(ages) < MIN_PATIENTS:
        return None
    grid = np.arange(math.floor(ages.min()), math.ceil(ages.max()) + 1, dtype=np.float64)
    grid = grid[(grid >= ages.min()) & (grid <= ages.max())]
    weights = _weights(grid, ages)
    near = weights.sum(1) ** 2 / (weights**2).sum(1)
    use = near >= MIN_NEAR
    if not use.any():
        return None
    # One stretch without gaps: that around the age with most patients.
    best = int(np.argmax(near))
    first, last = best, best
    while first > 0 and use[first - 1]:
        first -= 1
    while last + 1 < len(use) and use[last + 1]:
        last += 1
    kept = slice(first, last + 1)
    fitted = _line(ages, ages, values)
    mean = _line(grid[kept], ages, values)
    low, high = (_quantiles(values - fitted, weights[kept], q) for q in (0.05, 0.95))
    return Curves(ages=grid[kept], mean=mean, low=mean + low, high=mean + high, near=near[kept])


def _weights(at: Floats, ages: Floats) -> Floats:
    weights: Floats = np.exp(-0.5 * ((at[:, None] - ages[None]) / BANDWIDTH) ** 2)
    return weights


def _line(at: Floats, ages: Floats, values: Floats) -> Floats:
    w = _weights(at, ages)
    away = ages[None] - at[:, None]
    s0, s1, s2 = w.sum(1), (w * away).sum(1), (w * away**2).sum(1)
    t0, t1 = (w * values).sum(1), (w * away * values).sum(1)
    spread = s0 * s2 - s1**2
    flat = spread < 1e-9 * s0**2
    found: Floats = np.where(flat, t0 / s0, (s2 * t0 - s1 * t1) / np.where(flat, 1.0, spread))
    return found


def _quantiles(values: Floats, weights: Floats, share: float) -> Floats:
    order = np.argsort(values, kind="stable")
    total = weights[:, order].cumsum(1)
    # Each value stands in the middle of its own weight.
    middle = (total - weights[:, order] / 2) / total[:, -1:]
    return np.array([np.interp(share, row, values[order]) for row in middle])


def compare(
    cohort: Cohort,
    measurements: Sequence[Measurement],
    *,
    patient_id: str | None,
    metadata: Mapping[str, Any],
    measured_with: str,
) -> Comparison:
    """Return a patient beside a cohort.

    The patient's own rows are left out; eyes of a patient are averaged; eyes that were measured with something else, or whose micrometres
    come from another kind of scale, are left out. Of the same sex are compared where there are enough of them.

    Args:
        cohort: Other eyes.
        measurements: Of one photograph.
        patient_id: None where it is not known.
        metadata: With `age` in years and `sex` where they are known.
        measured_with: What made the masks of the patient.

    Source:
        See `smooth`.
    """
    age, sex = _age(metadata.get("age")), metadata.get("sex")
    sex = sex if sex in ("female", "male") else None
    others = [e for e in cohort.eyes if patient_id is None or e.patient_id != patient_id]
    alike = [e for e in others if e.measured_with in (None, measured_with)]
    notes = list(_notes(cohort, others, alike, patient_id))
    placed = [
        _placed(m, alike, age, sex)
        for m in measurements
        if m.value is not None and any(column_of(m.name, m.unit, m.region) in e.values for e in cohort.eyes)
    ]
    return Comparison(cohort=cohort.name, age=age, sex=sex, placed=tuple(placed), notes=tuple(notes))


def _age(value: Any) -> float | None:
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if known and 0 <= value <= 130 else None


def _notes(cohort: Cohort, others: list[CohortEye], alike: list[CohortEye], patient_id: str | None) -> list[str]:
    notes = []
    if len(others) < len(cohort.eyes):
        notes.append(f"{len(cohort.eyes) - len(others)} eyes of this patient in the table were left out.")
    elif patient_id is None:
        notes.append("The patient has no number, so that their own eyes in the table could not be left out.")
    if len(alike) < len(others):
        notes.append(
            f"{len(others) - len(alike)} eyes were left out: they were measured with other segmenters than this one."
        )
    if any(e.measured_with is None for e in alike):
        notes.append("The table does not say with what its eyes were measured; another tool gives other numbers.")
    if cohort.left_out:
        notes.append(f"Rows not used: {', '.join(f'{n} with {k}' for k, n in cohort.left_out.items())}.")
    return notes


def _placed(m: Measurement, eyes: Sequence[CohortEye], age: float | None, sex: str | None) -> Placed:
    column = column_of(m.name, m.unit, m.region)
    estimated = "scale.estimated" in m.flags
    physical = "um" in m.unit or "mm" in m.unit
    known = [e for e in eyes if column in e.values and not (physical and e.scale_estimated not in (None, estimated))]
    same = [e for e in known if sex is not None and e.sex == sex]
    chosen = sex if len({e.patient_id for e in same}) >= MIN_PATIENTS else None
    used = same if chosen else known
    points = _patients(used, column)
    curves = smooth(points[:, 0], points[:, 1])
    reason, share = "", None
    if len(points) < MIN_PATIENTS:
        reason = f"{len(points)} patients; {MIN_PATIENTS} are needed for a reference"
    elif curves is None:
        reason = f"at no age are {MIN_NEAR:.0f} patients near"
    elif age is None:
        reason = "the age of the patient is not known"
    elif not curves.ages[0] - 0.5 <= age <= curves.ages[-1] + 0.5:
        reason = f"no reference at {age:g} years; it reaches from {curves.ages[0]:.0f} to {curves.ages[-1]:.0f}"
    else:
        share = _share_below(points, age, float(m.value or 0.0))
    return Placed(
        measurement=m, points=points, eyes=len(used), sex=chosen, curves=curves, reason=reason, share_below=share
    )


def _patients(eyes: Sequence[CohortEye], column: str) -> Floats:
    """Return age and value of each patient, the means of their eyes."""
    grouped: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for e in eyes:
        grouped[e.patient_id].append((e.age, e.values[column]))
    return np.array([np.mean(rows, axis=0) for rows in grouped.values()], np.float64).reshape(-1, 2)


def _share_below(points: Floats, age: float, value: float) -> float:
    at = np.array([age])
    weights = _weights(at, points[:, 0])[0]
    away = points[:, 1] - _line(points[:, 0], points[:, 0], points[:, 1]) + _line(at, points[:, 0], points[:, 1])[0]
    return float((weights * ((away < value) + 0.5 * (away == value))).sum() / weights.sum())
