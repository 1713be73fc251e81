"""Records -> a manifest that `read_manifest` reads: CSV, TSV, JSON lines or Parquet, paths relative to one root."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ..core.durable import write_bytes, write_text
from ..core.errors import InvalidInput
from ..core.study import StudyRecord, is_missing

SUFFIXES = (".csv", ".tsv", ".jsonl", ".parquet")
_FIRST = ("study_id", "patient_id", "laterality", "visit", "split")


def write_manifest(records: Iterable[StudyRecord], path: str | Path, *, root: str | Path | None = None) -> Path:
    """Write records as a table with a row per study, so that a kill leaves the old file or the new one.

    Points (labels that end in `_px`) are written as "row|column"; labels of several words are joined by "|"; what is not
    known is an empty cell.

    Args:
        records: Studies; identifiers are written byte for byte.
        path: `.csv`, `.tsv`, `.jsonl` or `.parquet`; its folder is created.
        root: Folder that paths are written relative to; give the same to `read_manifest`. None takes the folder of the file.

    Raises:
        InvalidInput: `manifest.type`: another file type. `manifest.path`: a file lies outside the root or has a name that a
            manifest cannot hold.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> record = StudyRecord(study_id="007", images={"cfp": (str(folder / "a.jpg"),)}, labels={"dr_grade": 2.0})
        >>> print(write_manifest([record], folder / "m.csv").read_text("utf-8").strip())
        study_id,cfp,label.dr_grade
        007,a.jpg,2
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise InvalidInput(
            f"a manifest of type {suffix!r} is not written.",
            code="manifest.type",
            hint=f"Use one of {', '.join(SUFFIXES)}.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    base = Path(root if root is not None else target.parent).absolute()
    rows = [_row(record, base) for record in records]
    if suffix == ".jsonl":
        write_text(target, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
        return target
    columns = _columns(rows)
    if suffix == ".parquet":
        write_bytes(target, _parquet(rows, columns))
    else:
        write_text(target, "".join(_lines(rows, columns, "\t" if suffix == ".tsv" else ",")))
    return target


def _row(record: StudyRecord, base: Path) -> dict[str, Any]:
    row: dict[str, Any] = {
        "study_id": record.study_id,
        "patient_id": record.patient_id,
        "laterality": record.laterality.value if record.laterality else None,
        "visit": record.visit,
        "split": record.split,
    }
    row |= {modality: _joined(paths, base, record.study_id) for modality, paths in record.images.items()}
    row |= {f"mask.{name}": _joined(paths, base, record.study_id) for name, paths in record.masks.items()}
    row["report"] = record.report
    row |= {f"meta.{name}": _cell(value) for name, value in record.metadata.items()}
    for task, value in record.labels.items():
        if isinstance(value, Mapping):
            row |= {f"label.{task}.{label}": _cell(cell) for label, cell in value.items()}
        else:
            row[f"label.{task}"] = _cell(value)
    return {name: value for name, value in row.items() if not is_missing(value)}


def _joined(paths: Iterable[str], base: Path, study: str) -> str:
    return "|".join(_relative(p, base, study) for p in paths)


def _relative(path: str, base: Path, study: str) -> str:
    try:
        relative = Path(path).absolute().relative_to(base)
    except ValueError:
        raise InvalidInput(
            f"a file of {study!r} lies outside the root of the manifest.",
            code="manifest.path",
            hint="Give a root that holds all files.",
        ) from None
    text = PurePosixPath(*relative.parts).as_posix()
    if any(c in text for c in "|\\\0") or text != text.strip() or not _is_utf8(text):
        raise InvalidInput(
            f"the file name {text[-60:]!a} of {study!r} cannot stand in a manifest.",
            code="manifest.path",
            hint="Rename it in UTF-8 without |, back-slash and outer spaces.",
        )
    return text


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _cell(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        # An empty list of findings is an annotation ("nothing found"), not a missing one.
        return "|".join(str(_cell(v)) for v in value) if value else "none"
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value == int(value) and abs(value) < 1e15 else value
    return value


def _columns(rows: list[dict[str, Any]]) -> list[str]:
    names = dict.fromkeys(name for row in rows for name in row)
    ordered = [n for n in _FIRST if n in names]
    images = [n for n in names if n not in _FIRST and n != "report" and "." not in n]
    groups = [[n for n in names if n.startswith(prefix)] for prefix in ("mask.", "meta.", "label.")]
    report = ["report"] if "report" in names else []
    return [*ordered, *images, *groups[0], *groups[1], *report, *groups[2]] or ["study_id"]


def _lines(rows: list[dict[str, Any]], columns: list[str], separator: str) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=separator, lineterminator="\n")
    for cells in (columns, *([row.get(n, "") for n in columns] for row in rows)):
        writer.writerow(cells)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _parquet(rows: list[dict[str, Any]], columns: list[str]) -> bytes:
    import polars

    data: dict[str, polars.Series] = {}
    for name in columns:
        cells = [row.get(name) for row in rows]
        numeric = all(c is None or isinstance(c, (int, float)) for c in cells) and name not in _FIRST
        kind = polars.Float64 if numeric else polars.String
        data[name] = polars.Series(
            name, [c if numeric or c is None else str(c) for c in cells], dtype=kind, strict=False
        )
    buffer = io.BytesIO()
    polars.DataFrame(data).write_parquet(buffer)
    return buffer.getvalue()
