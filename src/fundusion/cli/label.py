"""`label`: written reports -> weak labels in the columns of a manifest, with every statement and its place on request."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .screen import REJECTED, fail, progress, say, table

if TYPE_CHECKING:
    from ..readers.report import LabelTable

#: Longest cell of a table that is read; `read_report` itself stops earlier and says so.
_MAX_CELL = 64_000_000
_SHOWN = 20


def label(
    reports: Annotated[Path, typer.Argument(help="Table with a column of reports: .csv .tsv .xlsx .parquet .jsonl")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Table to write: .csv, .tsv or .jsonl.")],
    text_column: Annotated[str, typer.Option(help="Column that holds the report.")] = "report",
    language: Annotated[str | None, typer.Option(help="en or zh; left out, each sentence decides.")] = None,
    spans: Annotated[
        Path | None, typer.Option(help="Write every statement with its place to this JSON lines file.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Read reports and add what they say as labels: label.disease.*, label.dr_grade, label.findings.*

    1 is said to be there, 0 is said not to be there, empty is not said, doubtful or contradictory. A row with a
    `laterality` uses only what is said of that eye. Beside the table stands a .json file with counts, contradictions and
    rejected rows. Labels of reports are weak labels: look at a sample before you train on them.

    Exit codes: 0 all rows read, 3 some rows rejected, 4 the table cannot be used.

    Examples:

      fundusion label reports.csv --out labelled.csv

      fundusion label export.xlsx --text-column 检查所见 --out labelled.csv --spans statements.jsonl
    """
    try:
        from ..core.durable import write_json, write_text
        from ..readers.report import label_rows

        rows = _read(reports, text_column, language, out)
        with progress("reports") as show:
            labels = label_rows(
                [row for _, row in rows], text_column=text_column, language=language, progress=lambda i, n: show(i, n)
            )
        lines = [number for number, _ in rows]
        summary = _summary(labels, reports, lines, [row for _, row in rows], text_column)
        write_text(out, _table_text(out, [row for _, row in rows], labels))
        if spans is not None:
            write_text(spans, "".join(_span_lines(labels, lines, [row for _, row in rows])))
        write_json(out.with_suffix(".json"), summary)
        _print(labels, summary, out, spans)
        if labels.rejected:
            raise typer.Exit(REJECTED)
    except typer.Exit:
        raise
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None


def _read(reports: Path, text_column: str, language: str | None, out: Path) -> list[tuple[int, dict[str, Any]]]:
    from ..core.errors import InvalidInput
    from ..readers.manifest import TableOptions, read_rows

    if language not in (None, "en", "zh"):
        raise InvalidInput(f"language {language!r} is not known.", code="config.language", hint="Use en or zh.")
    if out.suffix.lower() not in (".csv", ".tsv", ".jsonl"):
        raise InvalidInput(
            f"tables of type {out.suffix!r} are not written.", code="config.type", hint="Use .csv, .tsv or .jsonl."
        )
    if out.exists() and reports.exists() and out.samefile(reports):
        raise InvalidInput("the output is the input.", code="label.overwrite", hint="Give --out another name.")
    # A report of a megabyte is read and flagged, it does not damage the table.
    rows = read_rows(reports, TableOptions(longest_cell=_MAX_CELL))
    names = list(rows[0][1]) if rows else []
    if text_column not in names:
        raise InvalidInput(
            f"the table has no column {text_column!r}; it has {names[:30]}.",
            code="label.text_column",
            hint="Name the column of the reports with --text-column.",
        )
    taken = [n for n in names if n == "label.dr_grade" or n.startswith(("label.disease", "label.findings"))]
    if taken:
        raise InvalidInput(
            f"the table already has the columns {taken[:6]}.",
            code="label.exists",
            hint="Rename or drop them first: labels of people are not overwritten by weak ones.",
        )
    return rows


def _summary(
    labels: LabelTable, reports: Path, lines: Sequence[int], rows: Sequence[Mapping[str, Any]], text_column: str
) -> dict[str, Any]:
    flags: dict[str, int] = {}
    for reading in labels.readings:
        for code in {f.code for f in reading.flags} if reading is not None else ():
            flags[code] = flags.get(code, 0) + 1
    return {
        "table": reports.name,
        "text_column": text_column,
        "rows": len(labels.rows),
        "ok": len(labels.rows) - len(labels.rejected),
        "rejected": [{"line": lines[i], "id": _id(rows[i]), "code": c, "message": m} for i, c, m in labels.rejected],
        "contradictions": [{"line": lines[i], "id": _id(rows[i]), "what": what} for i, what in labels.conflicts],
        "not_used": [{"line": lines[i], "id": _id(rows[i]), "code": code} for i, code in labels.notes],
        "flags": dict(sorted(flags.items())),
        "columns": {name: {"positive": p, "negative": n, "empty": e} for name, p, n, e in labels.counts()},
    }


def _id(row: Mapping[str, Any]) -> str | None:
    value = row.get("study_id") or row.get("patient_id")
    return None if value is None else str(value)


def _table_text(out: Path, rows: Sequence[Mapping[str, Any]], labels: LabelTable) -> str:
    empty = dict.fromkeys(labels.columns, "")
    full = [{**row, **(cells or empty)} for row, cells in zip(rows, labels.rows, strict=True)]
    if out.suffix.lower() == ".jsonl":
        return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in full)
    stream = io.StringIO(newline="")
    names = [*rows[0], *labels.columns] if rows else list(labels.columns)
    writer = csv.DictWriter(stream, names, delimiter="\t" if out.suffix.lower() == ".tsv" else ",", lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in row.items()} for row in full)
    return stream.getvalue()


def _span_lines(labels: LabelTable, lines: Sequence[int], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for i, reading in enumerate(labels.readings):
        if reading is None:
            continue
        entry = {
            "line": lines[i],
            "id": _id(rows[i]),
            "findings": [f.to_dict() for f in reading.findings],
            "measurements": [m.to_dict() for m in reading.measurements],
            "flags": [{"code": f.code, "message": f.message, "span": list(f.span)} for f in reading.flags],
        }
        yield json.dumps(entry, ensure_ascii=False) + "\n"


def _print(labels: LabelTable, summary: Mapping[str, Any], out: Path, spans: Path | None) -> None:
    say(f"{summary['rows']} rows: {summary['ok']} read, {len(labels.rejected)} rejected")
    table([c for c in labels.counts() if c[1] or c[2]], ("column", "1 or grade", "0", "empty"))
    for code, count in summary["flags"].items():
        say(f"flag {code}: {count} rows")
    problems = [f"line {r['line']}: {r['code']}: {r['message']}" for r in summary["rejected"]]
    problems += [f"line {c['line']}: left empty, contradiction: {c['what']}" for c in summary["contradictions"]]
    for problem in problems[:_SHOWN]:
        say(f"! {problem}")
    if len(problems) > _SHOWN:
        say(f"! ... and {len(problems) - _SHOWN} more in {out.with_suffix('.json').name}")
    say(f"Written: {out}, {out.with_suffix('.json').name}" + (f", {spans}" if spans else ""))
