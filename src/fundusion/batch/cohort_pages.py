"""Pages of measured eyes beside a cohort, and the list of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..biomarkers.reference import Comparison
from ..core.durable import write_text
from ..report.cohort_page import BesidePage, render_beside
from ..report.measured import scale_words
from ..report.render import IndexRow, render_index, safe_file_name

#: Folder of the pages in that of the run, and the list.
FOLDER, INDEX = "pages", "index.html"


def write_eye_page(
    out: Path, row: Mapping[str, Any], found: Any, *, comparison: Comparison, files: Mapping[str, bytes]
) -> None:
    """Write the page of one eye.

    Args:
        out: Folder of the run.
        row: Of the eye: name, patient, age, sex, laterality, warnings.
        found: Of `measure_eye`.
        comparison: With the cohort.
        files: Pictures by the end of their names, of `zone_files` and `age_plot_files`.
    """
    known = (("patient", row["patient_id"]), ("age", _years(row["age"])), ("sex", row["sex"]))
    page = BesidePage(
        name=row["name"],
        laterality=row["laterality"],
        person=[(k, str(v)) for k, v in known if v is not None],
        comparison=comparison,
        measurements=found.measurements,
        scale=scale_words(found),
        warnings=row.get("unproven"),
        zones=next((v for k, v in files.items() if k.endswith(".png") and ".age" not in k), None),
        ages=files.get(".age.png"),
    )
    write_text(out / FOLDER / f"{safe_file_name(row['name'])}.html", render_beside(page))


def write_list(out: Path, rows: Iterable[Mapping[str, Any]], counts: Mapping[str, int], cohort: str) -> None:
    """Write the list of all eyes; a rejected one says why.

    Args:
        out: Folder of the run.
        rows: Of the eyes, with `beside` where an eye was compared.
        counts: State to number of eyes.
        cohort: Name of the table.
    """
    write_text(
        out / INDEX,
        render_index(
            map(_listed, rows),
            columns=["Share outside"],
            counts=counts,
            title="Measured eyes beside a cohort",
            subtitle=f"{cohort}: not a norm. Outside is below 5 % or above 95 % of its patients near the age; by chance alone it is 0.10.",
        ),
    )


def _listed(row: Mapping[str, Any]) -> IndexRow:
    beside = row.get("beside")
    head = {k: row[k] for k in ("patient_id", "laterality", "status")} | {"study_id": row["name"]}
    if row["status"] != "ok" or beside is None:
        return IndexRow(**head, summary=f"{row['message']} {row.get('hint') or ''}".strip(), cells=(None,))
    number = beside["references"]
    away = len(beside["below"]) + len(beside["above"])
    words = f"{len(beside['below'])} below and {len(beside['above'])} above the band, of {number}"
    return IndexRow(
        **head,
        summary=words if number else "no reference at this age",
        cells=(away / number if number else None,),
        link=f"{FOLDER}/{safe_file_name(row['name'])}.html",
    )


def _years(age: float | None) -> str | None:
    return None if age is None else f"{age:g} years"
