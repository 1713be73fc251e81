"""A table of measurements of many eyes with the age of their patients: a `cohort.csv`, or one of the user's own."""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from ..core.cohort import Cohort, CohortEye
from ..core.errors import InvalidInput, ReadError

#: Columns that say what an eye is; every other column is a measurement.
FACTS = ("name", "study_id", "image", "patient_id", "laterality", "age", "sex", "status", "code", "message", "measured_with",
         "um_per_px", "scale_estimated")  # fmt: skip
_SEXES = {"female": "female", "f": "female", "w": "female", "male": "male", "m": "male"}
_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def read_cohort(path: str | Path) -> Cohort:
    """Return the eyes of a table.

    Needed are the columns `patient_id` and `age` (years) and at least one measurement, named as in the tables of `measure` and `analyze`.
    A row without an age or patient, of a rejected eye, or without any number is left out and counted.

    Args:
        path: CSV in UTF-8, cells separated by commas, semicolons or tabs.

    Raises:
        ReadError: `input.missing`, `cohort.encoding`.
        InvalidInput: `cohort.columns`; `cohort.number`: a cell is no number; `cohort.age`: no row has an age; `cohort.empty`.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ReadError(
            f"the cohort {file.name!r} cannot be read: {error.strerror or error}.",
            code="input.missing",
            hint="Check the path.",
        ) from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReadError(
            f"{file.name!r} is not UTF-8 text.", code="cohort.encoding", hint="Save it as UTF-8 CSV."
        ) from error
    first = text.partition("\n")[0]
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=first.count))
    names = [n for n in (rows.fieldnames or ()) if n]
    measures = [n for n in names if n not in FACTS]
    lacking = [n for n in ("patient_id", "age") if n not in names] + (
        [] if measures else ["a measurement, such as vcdr"]
    )
    if lacking or len(set(names)) < len(names):
        what = f"lacks {', '.join(lacking)}" if lacking else "has a column twice"
        raise InvalidInput(
            f"the cohort {file.name!r} {what}; its columns are {', '.join(names[:8]) or 'none'}{' ...' if len(names) > 8 else ''}.",
            code="cohort.columns",
            hint="Use the cohort.csv that `fundusion measure` or `analyze` wrote, or name the columns as there.",
        )
    left: Counter[str] = Counter()
    eyes = []
    for number, row in enumerate(rows, 2):
        eye = _eye({k: _plain(v) for k, v in row.items() if k}, measures, f"{file.name}, row {number}")
        if isinstance(eye, str):
            left[eye] += 1
        else:
            eyes.append(eye)
    if not eyes:
        ages = left["no age"] == sum(left.values())
        raise InvalidInput(
            f"no row of the cohort {file.name!r} can be used: {', '.join(f'{n} with {k}' for k, n in left.items()) or 'it has none'}.",
            code="cohort.age" if ages and left else "cohort.empty",
            hint="Each row needs patient_id, age in years and a number." if left else "Give a table with rows.",
        )
    return Cohort(
        name=file.name, digest=hashlib.sha256(data).hexdigest(), eyes=tuple(eyes), left_out=dict(sorted(left.items()))
    )


def _plain(cell: object) -> str:
    """Return a cell without the mark that keeps a table program from running it."""
    text = cell.strip() if isinstance(cell, str) else ""
    return text[1:] if text[:1] == "'" and text[1:2] in ("=", "+", "-", "@") else text


def _eye(row: Mapping[str, str], measures: list[str], where: str) -> CohortEye | str:
    if row.get("status") == "rejected":
        return "a rejected eye"
    if not row["patient_id"]:
        return "no patient_id"
    if not row["age"]:
        return "no age"
    age = _number(row["age"], "age", where)
    if not 0 <= age <= 130:
        raise InvalidInput(f"age is {row['age']} in {where}.", code="cohort.age", hint="Needed are years.")
    values = {n: _number(row[n], n, where) for n in measures if row.get(n)}
    if not values:
        return "no number"
    return CohortEye(
        patient_id=row["patient_id"],
        age=age,
        values=values,
        sex=_SEXES.get(row.get("sex", "").lower()),
        laterality=row["laterality"] if row.get("laterality") in ("OD", "OS") else None,
        measured_with=row.get("measured_with") or None,
        scale_estimated=_YES.get(row.get("scale_estimated", "").lower()),
    )


def _number(cell: str, column: str, where: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInput(
            f"{column} is {cell!r} in {where}, which is no number.",
            code="cohort.number",
            hint="Leave a cell empty where there is no value; take away columns that are no measurements.",
        )
    return value
