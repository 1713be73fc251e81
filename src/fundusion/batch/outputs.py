"""The ledger -> `results.jsonl`, `summary.csv`, `index.html`, `run.json`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.durable import write_bytes, write_json, write_text
from ..report.render import IndexRow, render_index
from .ledger import Ledger
from .measurement_tables import eyes_of_result, write_measurement_tables

#: Beyond this many studies the overview leaves out thumbnails: a page of some hundred megabytes opens nowhere.
MAX_THUMBNAILS = 5000
#: Measurements in `summary.csv`: those whose unit is the same for every eye. All of them are in `eyes.csv`.
SUMMARY = ("vcdr", "acdr", "density_vessels", "tortuosity_vessels", "fractal_dimension_vessels", "avr_zone_b", "HE_count", "EX_count",
           "SE_count")  # fmt: skip


def export(
    ledger: Ledger, *, tasks: Mapping[str, Sequence[str]], total: int, run: Mapping[str, Any], reports: bool
) -> None:
    """Write the results of a run from its ledger, each file at once.

    Args:
        ledger: Of the run.
        tasks: Task to labels, for the columns.
        total: Number of studies of the input.
        run: What `run.json` says beside the counts.
        reports: Whether study pages exist to link to.
    """
    folder = ledger.folder
    write_bytes(folder / "results.jsonl", (e.line.encode("utf-8") + b"\n" for e in ledger.entries()))
    config = run.get("config", {})
    write_bytes(folder / "summary.csv", _summary(ledger, tasks, config))
    measure = config.get("measure")
    if measure is not None:
        write_measurement_tables(folder, lambda: _eyes(ledger, measure["measured_with"]))
    counts = ledger.counts()
    numbers = {
        "total": total,
        "ok": counts.get("ok", 0),
        "rejected": counts.get("rejected", 0),
        "pending": total - sum(counts.values()),
    }
    write_text(
        folder / "index.html", _index(ledger, tasks, numbers, reports, config.get("command", "fundusion analyze"))
    )
    write_json(folder / "run.json", {"counts": numbers, "rejected_by_code": ledger.codes(), **run})


def _eyes(ledger: Ledger, measured_with: str) -> Iterator[dict[str, Any]]:
    for entry in ledger.entries():
        yield from eyes_of_result(json.loads(entry.line), json.loads(entry.facts), measured_with)


def _columns(tasks: Mapping[str, Sequence[str]], sets: Sequence[str]) -> list[str]:
    names = ["study_id", "patient_id", "laterality", "status", "code", "gradable", "quality_score"]
    for task, labels in tasks.items():
        names += [f"{task}.label", f"{task}.decision", *(f"{task}.p.{k}" for k in labels)]
        names += [f"{task}.set"] if task in sets else []
    return [*names, "modalities_used"]


def _summary(ledger: Ledger, tasks: Mapping[str, Sequence[str]], config: Mapping[str, Any]) -> Iterator[bytes]:
    sets, measured = config.get("prediction_sets", ()), config.get("measure") is not None
    names = _columns(tasks, sets) + (["photographs_measured", *(f"measured.{n}" for n in SUMMARY)] if measured else [])
    yield _csv_line(names)
    for entry in ledger.entries():
        row = json.loads(entry.line)
        quality = row["quality"] or {}
        cells: list[Any] = [row[k] for k in ("study_id", "patient_id", "laterality", "status", "code")]
        cells += [quality.get("gradable"), quality.get("score")]
        for task, labels in tasks.items():
            prediction = row["predictions"].get(task, {})
            known = prediction.get("probabilities", {})
            cells += [prediction.get("label"), prediction.get("decision"), *(known.get(k) for k in labels)]
            if task in sets:
                kept = prediction.get("prediction_set")
                # An empty set says that no label fits; an empty cell that there is no answer.
                cells.append(None if kept is None else "|".join(kept) or "none")
        cells.append("|".join(m for m, use in row["modalities"].items() if use["used"]))
        if measured:
            cells.append(len(row["provenance"].get("measuring", {}).get("photographs", {})))
            cells += [_first_value(row["measurements"], name) for name in SUMMARY]
        yield _csv_line(cells)


def _first_value(measurements: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Return the value of the first photograph that has one."""
    return next((m["value"] for m in measurements if m["name"] == name and m["value"] is not None), None)


def _csv_line(cells: Iterable[Any]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow([_cell(c) for c in cells])
    return stream.getvalue().encode("utf-8")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = str(value)
    # A table program would run a cell that begins like a formula.
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t")) else text


def _index(
    ledger: Ledger, tasks: Mapping[str, Sequence[str]], counts: Mapping[str, int], reports: bool, command: str
) -> str:
    shown = [(t, k) for t, labels in tasks.items() if t == "disease" for k in labels if k != "N"]
    rows = []
    small = counts["total"] <= MAX_THUMBNAILS
    for entry in ledger.entries():
        row, facts = json.loads(entry.line), json.loads(entry.facts)
        predictions = row["predictions"]
        rows.append(
            IndexRow(
                study_id=row["study_id"],
                patient_id=row["patient_id"],
                laterality=row["laterality"],
                status=row["status"],
                summary=facts.get("headline") or f"{row['code']}: {row['message']}",
                cells=tuple(predictions.get(t, {}).get("probabilities", {}).get(k) for t, k in shown),
                thumbnail=facts.get("thumbnail") if small else None,
                link=f"reports/{facts['report']}" if reports and facts.get("report") else None,
            )
        )
    names = {"total": "studies", "ok": "answered", "rejected": "not answered", "pending": "pending"}
    return render_index(
        rows,
        columns=[k for _, k in shown],
        counts={names[k]: v for k, v in counts.items() if v or k != "pending"},
        subtitle=command,
    )


def read_results(folder: str | Path) -> list[dict[str, Any]]:
    """Return the rows of `results.jsonl`."""
    text = (Path(folder) / "results.jsonl").read_text("utf-8")
    return [json.loads(line) for line in text.splitlines()]
