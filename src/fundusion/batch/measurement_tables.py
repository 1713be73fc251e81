"""Measured eyes -> tables: a row for each measurement, for each eye, for each patient, and the cohort others are compared with."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..biomarkers.outcome import REASONS
from ..core.cohort import column_of
from ..core.durable import write_bytes
from ..core.results import Measurement
from ..report.words import reason_words

#: Gives the rows of all eyes anew each time it is called, in the order of the input.
Rows = Callable[[], Iterator[Mapping[str, Any]]]
#: What is known of an eye beside its measurements, and the kind of each column.
FACTS: Mapping[str, type] = {
    "name": str, "image": str, "patient_id": str, "laterality": str, "age": float, "sex": str, "status": str, "code": str, "message": str,
    "measured_with": str, "um_per_px": float, "scale_estimated": str,
}  # fmt: skip
_LONG: Mapping[str, type] = {
    "name": str, "image": str, "status": str, "code": str, "measurement": str, "region": str, "value": float, "uncertainty": float, "unit": str,
    "n": int, "failure": str, "reason": str, "flags": str, "source": str,
}  # fmt: skip
FORMATS = ("csv", "parquet", "json")


def measurement_row(m: Measurement) -> dict[str, Any]:
    """Return a measurement JSON-ready, numbers in six digits."""
    digits = {
        k: None if v is None else float(f"{v:.6g}") for k, v in (("value", m.value), ("uncertainty", m.uncertainty))
    }
    return {
        "name": m.name, "region": m.region, **digits, "unit": m.unit, "n": m.n, "failure": m.failure, "flags": list(m.flags), "source": m.source
    }  # fmt: skip


def write_measurement_tables(folder: Path, rows: Rows, *, table: str = "csv") -> None:
    """Write `measurements`, `eyes`, `cohort` and `patients`, each file at once.

    `eyes` has a row for each eye, also of a rejected one with its reason; `cohort` those that can stand for others: measured, with patient
    and age; `patients` one row for each patient with the values of the right and the left eye side by side, means where an eye has several
    photographs.

    Args:
        folder: Of the run.
        rows: Eyes: facts, `scale` and `measurements`.
        table: "csv", "parquet" or "json", of the first two; the others are always CSV, as they are read again.
    """
    _write(folder / f"measurements.{table}", _LONG, lambda: _long(rows()))
    columns = _columns(rows())
    _write(folder / f"eyes.{table}", columns, lambda: map(_wide, rows()))
    _write(folder / "cohort.csv", columns, lambda: map(_wide, filter(_is_comparable, rows())))
    names, patients = _patients(map(_wide, rows()), [c for c in columns if c not in FACTS])
    _write(folder / "patients.csv", names, lambda: iter(patients))


def _is_comparable(row: Mapping[str, Any]) -> bool:
    known = row["status"] == "ok" and row.get("patient_id") is not None and row.get("age") is not None
    return known and any(m["value"] is not None for m in row["measurements"])


def _long(rows: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Give one row for each measurement; a rejected eye has one row with the reason."""
    for row in rows:
        head = {k: row.get(k) for k in ("name", "image", "status", "code")}
        if row["status"] == "rejected":
            yield head | {"reason": f"{row['message']} {row.get('hint') or ''}".strip()}
        for m in row["measurements"]:
            reason = (REASONS.get(m["failure"]) or reason_words(m["failure"])) if m["failure"] else None
            yield {**m, **head, "measurement": m["name"], "flags": "|".join(m["flags"]), "reason": reason}


def _columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, type]:
    columns = dict(FACTS)
    for row in rows:
        for m in row["measurements"]:
            # A measurement that failed in every eye has no unit to speak of; `measurements` holds its reasons.
            if m["value"] is not None:
                columns.setdefault(column_of(m["name"], m["unit"], m["region"]), float)
    return columns


def _wide(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return one row for an eye; a column is named by measurement, unit and, where there are several, region."""
    scale = row.get("scale") or {}
    estimated = {True: "yes", False: "no"}.get(scale.get("estimated")) if scale.get("um_per_px") else None
    cells = {k: row.get(k) for k in FACTS} | {"um_per_px": scale.get("um_per_px"), "scale_estimated": estimated}
    return cells | {column_of(m["name"], m["unit"], m["region"]): m["value"] for m in row["measurements"]}


def _patients(
    eyes: Iterable[Mapping[str, Any]], columns: Sequence[str]
) -> tuple[dict[str, type], list[dict[str, Any]]]:
    known: dict[str, dict[str, Any]] = {}
    sums: dict[str, dict[str, list[float]]] = {}
    used: set[str] = set()
    for eye in eyes:
        if eye["status"] != "ok" or eye["patient_id"] is None:
            continue
        who = known.setdefault(
            eye["patient_id"], {"patient_id": eye["patient_id"], "age": None, "sex": None, "eyes": [], "photographs": 0}
        )
        side = eye["laterality"] or "side not stated"
        who["photographs"] += 1
        who["age"] = eye["age"] if who["age"] is None else who["age"]
        who["sex"] = who["sex"] or eye["sex"]
        who["eyes"] = sorted({*who["eyes"], side})
        for column in columns:
            if eye.get(column) is not None:
                used.add(f"{column} {side}")
                sums.setdefault(eye["patient_id"], {}).setdefault(f"{column} {side}", []).append(eye[column])
    names: dict[str, type] = {"patient_id": str, "age": float, "sex": str, "eyes": str, "photographs": int}
    names |= {f"{c} {s}": float for c in columns for s in ("OD", "OS", "side not stated") if f"{c} {s}" in used}
    rows = []
    for patient, facts in known.items():
        means = {k: float(f"{sum(v) / len(v):.6g}") for k, v in sums.get(patient, {}).items()}
        rows.append({**facts, "eyes": "|".join(facts["eyes"]), **means})
    return names, rows


def _write(path: Path, columns: Mapping[str, type], rows: Callable[[], Iterator[Mapping[str, Any]]]) -> None:
    if path.suffix == ".csv":
        write_bytes(path, _csv(columns, rows()))
        return
    plain = [{k: row.get(k) for k in columns} for row in rows()]
    if path.suffix == ".json":
        write_bytes(path, json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n")
        return
    import polars

    kinds = {str: polars.String, float: polars.Float64, int: polars.Int64}
    frame = polars.DataFrame(plain, schema={k: kinds[t] for k, t in columns.items()})
    stream = io.BytesIO()
    frame.write_parquet(stream)
    write_bytes(path, stream.getvalue())


def _csv(columns: Mapping[str, type], rows: Iterator[Mapping[str, Any]]) -> Iterator[bytes]:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        yield stream.getvalue().encode()
        stream.seek(0)
        stream.truncate()
        writer.writerow([_cell(row.get(k)) for k in columns])
    yield stream.getvalue().encode()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    # A table program would run a cell that begins like a formula.
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t")) else str(value)


def eyes_of_result(row: Mapping[str, Any], facts: Mapping[str, Any], measured_with: str) -> Iterator[dict[str, Any]]:
    """Give a row for each photograph of a line of `results.jsonl`, measured or not; a rejected study is one row.

    Args:
        row: The line.
        facts: `age` and `sex` where they are known.
        measured_with: What made the masks.
    """
    head = {
        "name": row["study_id"], "patient_id": row["patient_id"], "laterality": row["laterality"], "measured_with": measured_with,
        "age": facts.get("age"), "sex": facts.get("sex"), "message": "", "hint": "",
    }  # fmt: skip
    if row["status"] == "rejected":
        yield head | {
            "status": "rejected",
            "code": row["code"],
            "message": row["message"],
            "hint": row["hint"],
            "measurements": [],
        }
        return
    photographs = row["provenance"].get("measuring", {}).get("photographs", {})
    for image, known in photographs.items():
        scale = {"um_per_px": known["um_per_px"], "estimated": known["scale"] == "estimated from the disc"}
        mine = [m for m in row["measurements"] if m["image"] == image]
        yield head | {"image": image, "status": "ok", "code": "ok", "scale": scale, "measurements": mine}
    for note in row["notes"]:
        image, found, code = note.partition(".not_measured.")
        if found:
            yield head | {
                "image": image,
                "status": "rejected",
                "code": code,
                "message": reason_words(code),
                "measurements": [],
            }
    if not photographs and not any(".not_measured." in n for n in row["notes"]):
        yield head | {
            "status": "rejected",
            "code": "study.no_photograph",
            "message": "The study has no colour photograph.",
            "measurements": [],
        }
