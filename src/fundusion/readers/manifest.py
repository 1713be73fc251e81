"""A table with a row per eye and visit -> records. Every cell is text until it is known what it is."""

from __future__ import annotations

import difflib
import io
import json
import logging
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from ..core.errors import FundusionError, InvalidInput, ReadError
from ..core.study import StudyRecord, is_missing
from ..core.vocabulary import Modality, parse_laterality

SUFFIXES = (".csv", ".tsv", ".xlsx", ".parquet", ".jsonl")

_log = logging.getLogger(__name__)
_IMAGES = tuple(m.value for m in Modality)
_PLAIN = ("study_id", "patient_id", "laterality", "visit", "report", "split")
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", ".", "-", "--", "unknown", "未知", "不详"})
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_SPLITS = ("train", "val", "test")
MAX_REPORT = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RejectedRow:
    """A row that is no usable record, and why."""

    study_id: str
    code: str
    message: str
    hint: str
    origin: str


class Manifest(Sequence[StudyRecord]):
    """Records of a table, the rows that were rejected, and notes on what was merged or skipped."""

    def __init__(
        self, records: Sequence[StudyRecord], *, rejected: Sequence[RejectedRow] = (), notes: Sequence[str] = ()
    ) -> None:
        self.records = tuple(records)
        self.rejected = tuple(rejected)
        self.notes = tuple(notes)

    @overload
    def __getitem__(self, index: int) -> StudyRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[StudyRecord]: ...
    def __getitem__(self, index: int | slice) -> StudyRecord | Sequence[StudyRecord]:
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[StudyRecord]:
        return iter(self.records)


def read_manifest(
    path: str | Path,
    *,
    columns: Mapping[str, str] | str | Path | None = None,
    root: str | Path | None = None,
    on_bad_row: str = "refuse",
) -> Manifest:
    """Return the records of a table.

    Columns: `study_id` (made of patient, eye and visit when absent), `patient_id`, `laterality`, `visit`, one per image
    modality (`cfp`, `oct`, ...; files relative to the table's folder, several joined by "|"), `report`, `meta.<name>`,
    `label.<task>` or `label.<task>.<label>` (0, 1 or empty), `split` (train, val, test).

    Args:
        path: `.csv`, `.tsv`, `.xlsx`, `.parquet` or `.jsonl`.
        columns: Map from column of the file to column above ("" drops it), or a TOML file with a table `[columns]`.
        root: Folder that image paths are relative to and must stay in; None takes the folder of the table.
        on_bad_row: "refuse" ends at the first bad row; "collect" lists bad rows in `Manifest.rejected`.

    Raises:
        ReadError: The file cannot be read, or its encoding is not certain.
        InvalidInput: An unknown column, or (with "refuse") a row that is no record.
    """
    source = Path(path)
    if on_bad_row not in ("refuse", "collect"):
        raise InvalidInput(f"on_bad_row is {on_bad_row!r}; use 'refuse' or 'collect'.")
    rows = _read_rows(source)
    rename = _column_map(columns)
    if rows:
        _check_columns(list(rows[0][1]), rename)
    folder = Path(root if root is not None else source.parent).resolve()
    records: dict[str, tuple[StudyRecord, str]] = {}
    rejected: list[RejectedRow] = []
    notes: list[str] = []
    for line, raw in rows:
        origin = f"{source.name}:{line}"
        row = {rename.get(k, k): v for k, v in raw.items() if rename.get(k, k)}
        try:
            record = _record(row, folder, origin)
            _add(record, origin, records, notes)
        except FundusionError as error:
            if on_bad_row == "refuse":
                raise type(error)(f"{origin}: {error.message}", code=error.code, hint=error.hint) from error
            rejected.append(
                RejectedRow(
                    study_id=_text(row.get("study_id")) or origin,
                    code=error.code,
                    message=error.message,
                    hint=error.hint,
                    origin=origin,
                )
            )
    return Manifest([r for r, _ in records.values()], rejected=rejected, notes=notes)


def _add(record: StudyRecord, origin: str, records: dict[str, tuple[StudyRecord, str]], notes: list[str]) -> None:
    known = records.get(record.study_id)
    if known is None:
        records[record.study_id] = (record, origin)
        return
    if _content(known[0]) == _content(record):
        notes.append(f"{origin} repeats {known[1]} and was left out")
        _log.info(notes[-1])
        return
    raise InvalidInput(
        f"study {record.study_id!r} stands in two rows that differ ({known[1]} and {origin}).",
        code="manifest.duplicate",
        hint="Give each eye and visit its own study_id, or correct the rows.",
    )


def _content(record: StudyRecord) -> Any:
    return repr({k: getattr(record, k) for k in record.__dataclass_fields__ if k != "origin"})


def _record(row: Mapping[str, Any], folder: Path, origin: str) -> StudyRecord:
    eye = parse_laterality(_text(row.get("laterality")))
    patient, visit = _text(row.get("patient_id")) or None, _text(row.get("visit")) or None
    study = _text(row.get("study_id"))
    if not study:
        parts = [p for p in (patient, eye.value if eye else None, visit) if p]
        if not patient:
            raise InvalidInput(
                "the row has neither study_id nor patient_id.", code="study.id", hint="Give one of them."
            )
        study = "_".join(parts)
    images = {m: _paths(row[m], folder) for m in _IMAGES if m in row and not is_missing(row[m])}
    metadata = {k[5:]: _cell(k, v) for k, v in row.items() if k.startswith("meta.")}
    report = _text(row.get("report")) or None
    if report and len(report) > MAX_REPORT:
        raise InvalidInput(
            f"the report has {len(report)} characters.", code="report.too_long", hint=f"At most {MAX_REPORT}."
        )
    split = _text(row.get("split")) or None
    if split and split not in _SPLITS:
        raise InvalidInput(f"split is {split!r}; known are {_SPLITS}.", code="manifest.split")
    return StudyRecord(
        study_id=study,
        patient_id=patient,
        laterality=eye,
        images=images,
        report=report,
        metadata=metadata,
        labels=_labels(row),
        visit=visit,
        split=split,
        origin=origin,
    )


def _labels(row: Mapping[str, Any]) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    for key, value in row.items():
        if not key.startswith("label."):
            continue
        task, _, label = key[6:].partition(".")
        if not label:
            if not is_missing(value):
                labels[task] = value
            continue
        cell = _text(value)
        if cell not in ("", "0", "1", "0.0", "1.0"):
            raise InvalidInput(f"column {key!r} holds {cell[:40]!r}; use 0, 1 or empty.", code="label.unknown")
        labels.setdefault(task, {})[label] = float(cell) if cell else float("nan")
    return {t: v for t, v in labels.items() if not isinstance(v, dict) or any(not is_missing(x) for x in v.values())}


def _cell(name: str, value: Any) -> float | str | None:
    """Return a number, a word, or None. What could be read in two ways is refused."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, (int, float)):
        return None if is_missing(value) else float(value)
    text = _text(value)
    if text.casefold() in _MISSING:
        return None
    if _NUMBER.fullmatch(text):
        return float(text)
    if re.fullmatch(r"[+-]?\d+,\d+", text):
        raise InvalidInput(
            f"column {name!r} holds {text!r}: a decimal comma or a thousands mark.",
            code="table.decimal_comma",
            hint="Write numbers with a decimal point and no thousands mark.",
        )
    if re.fullmatch(r"[<>≤≥]\s*\d+(\.\d*)?", text):
        raise InvalidInput(
            f"column {name!r} holds {text!r}, a bound and not a value.",
            code="table.censored",
            hint="Leave the cell empty, or give the value.",
        )
    return text


def _paths(value: Any, folder: Path) -> tuple[str, ...]:
    parts = [str(p) for p in value] if isinstance(value, (list, tuple)) else str(value).split("|")
    return tuple(safe_path(p.strip(), folder) for p in parts if p.strip())


def safe_path(text: str, folder: Path) -> str:
    """Return the absolute path of a cell; it may not leave the folder.

    Raises:
        InvalidInput: `manifest.path`: a URL, "..", backslash, NUL, or a link that leads outside.
    """
    bad = "\0" in text or "\\" in text or "://" in text or text.startswith("~")
    path = Path(text)
    if not bad:
        bad = ".." in path.parts
    if not bad:
        try:
            target = (folder / path).resolve()
            bad = not target.is_relative_to(folder)
        except (OSError, RuntimeError, ValueError):
            bad = True
    if bad:
        raise InvalidInput(
            f"the path {text[-60:]!r} leads outside the folder of the table.",
            code="manifest.path",
            hint="Use paths relative to the table, with forward slashes; or give the folder that holds the images.",
        )
    return str(folder / path)


def _text(value: Any) -> str:
    if is_missing(value):
        return ""
    if isinstance(value, float) and value == int(value):
        return str(int(value))
    return str(value).strip()


def _column_map(columns: Mapping[str, str] | str | Path | None) -> dict[str, str]:
    if columns is None:
        return {}
    if isinstance(columns, Mapping):
        return dict(columns)
    try:
        table = tomllib.loads(Path(columns).read_text("utf-8"))["columns"]
    except FileNotFoundError as error:
        raise ReadError(f"no column map {Path(columns).name!r}.", code="file.missing") from error
    except (tomllib.TOMLDecodeError, KeyError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{Path(columns).name!r} is no column map: {error}.",
            hint='Write [columns] and lines like "Age" = "meta.age".',
        ) from error
    return {str(k): str(v) for k, v in table.items()}


def _check_columns(names: list[str], rename: Mapping[str, str]) -> None:
    unused = sorted(set(rename) - set(names))
    if unused:
        raise InvalidInput(
            f"the column map names {unused}, which the table does not have: {names}.", code="manifest.columns"
        )
    final = [rename.get(n, n) for n in names]
    known = {*_PLAIN, *_IMAGES}
    for name in final:
        if name and name not in known and not name.startswith(("meta.", "label.")):
            close = difflib.get_close_matches(name, [*known, f"meta.{name}"], n=1, cutoff=0.5)
            raise InvalidInput(
                f"column {name!r} is not known.",
                code="manifest.columns",
                hint=(f"Did you mean {close[0]!r}? " if close else "")
                + f"Columns are {', '.join(_PLAIN)}, {', '.join(_IMAGES)}, meta.*, label.*; a column map renames or drops others.",
            )
    twice = sorted({n for n in final if n and final.count(n) > 1})
    if twice:
        raise InvalidInput(f"columns occur twice: {twice}.", code="manifest.columns")


def read_rows(path: str | Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of any table with their line numbers; every cell as it stands, columns of any name.

    Raises:
        ReadError: The file cannot be read, or its encoding is not certain.
        InvalidInput: The table is damaged.
    """
    return _read_rows(Path(path))


def _read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ReadError(
            f"tables of type {suffix!r} are not read.", code="manifest.type", hint=f"Use one of {', '.join(SUFFIXES)}."
        )
    try:
        if suffix in (".csv", ".tsv"):
            return _rows_of_text(
                decode_text(path.read_bytes(), path.name), path.name, "\t" if suffix == ".tsv" else None
            )
        if suffix == ".jsonl":
            return _rows_of_json(decode_text(path.read_bytes(), path.name), path.name)
        import polars

        if suffix == ".xlsx":
            # Without inference a cell keeps the digits that are written in it.
            frame = polars.read_excel(path, infer_schema_length=0, raise_if_empty=False)
        else:
            frame = polars.read_parquet(path)
    except FileNotFoundError as error:
        raise ReadError(f"no table {path.name!r}.", code="file.missing", hint="Check the path.") from error
    except FundusionError:
        raise
    except PermissionError as error:
        raise ReadError(f"{path.name!r} may not be read.", code="file.permission") from error
    except Exception as error:
        raise ReadError(f"{path.name!r} cannot be read as {suffix}: {error}.", code="manifest.damaged") from error
    return [(i + 2, {str(k).strip(): v for k, v in row.items()}) for i, row in enumerate(frame.iter_rows(named=True))]


def decode_text(data: bytes, name: str) -> str:
    """Return the text of bytes whose encoding is certain: UTF-8, UTF-16 with its mark, or GB18030 that holds Chinese.

    Raises:
        ReadError: `table.encoding`; a wrong guess would change names and findings silently.
    """
    if b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ReadError(f"{name!r} holds NUL bytes.", code="table.encoding", hint="Save it as UTF-8.")
    try:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        text = data.decode("gb18030")
    except UnicodeDecodeError:
        text = ""
    chinese = sum("\u4e00" <= c <= "\u9fff" for c in text)
    foreign = sum(ord(c) > 127 for c in text)
    # Bytes of a Latin encoding rarely give mostly common Chinese characters; below that share it is a guess.
    if foreign and chinese >= 0.8 * foreign and text.encode("gb18030") == data:
        return text
    raise ReadError(
        f"the encoding of {name!r} is not certain.",
        code="table.encoding",
        hint="Save it as UTF-8 (in Excel: CSV UTF-8).",
    )


def _rows_of_text(text: str, name: str, separator: str | None) -> list[tuple[int, dict[str, Any]]]:
    import csv

    first = text.split("\n", 1)[0]
    if separator is None:
        separator = (
            ";" if first.count(";") > first.count(",") else "\t" if first.count("\t") > first.count(",") else ","
        )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows: list[tuple[int, dict[str, Any]]] = []
    try:
        header = [h.strip() for h in next(reader, [])]
        if len(set(header)) != len(header):
            raise InvalidInput(f"{name!r} names a column twice: {header}.", code="manifest.columns")
        for cells in reader:
            if not any(c.strip() for c in cells):
                continue
            if len(cells) != len(header):
                raise InvalidInput(
                    f"line {reader.line_num} of {name!r} has {len(cells)} cells, the header {len(header)}.",
                    code="manifest.ragged",
                    hint="A cell that contains the separator needs quotes.",
                )
            rows.append((reader.line_num, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise InvalidInput(f"line {reader.line_num} of {name!r}: {error}.", code="manifest.damaged") from error
    return rows


def _rows_of_json(text: str, name: str) -> list[tuple[int, dict[str, Any]]]:
    rows: list[tuple[int, dict[str, Any]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except ValueError as error:
            raise InvalidInput(f"line {number} of {name!r} is no JSON: {error}.", code="manifest.damaged") from error
        if not isinstance(value, dict):
            raise InvalidInput(f"line {number} of {name!r} is no object.", code="manifest.damaged")
        flat: dict[str, Any] = {}
        for key, cell in value.items():
            nested = key in ("meta", "label") and isinstance(cell, dict)
            flat.update({f"{key}.{k}": v for k, v in cell.items()} if nested else {key: cell})
        rows.append((number, flat))
    # Lines may leave out keys; the check of columns looks at the first row.
    keys = dict.fromkeys(k for _, row in rows for k in row)
    return [(n, {k: row.get(k) for k in keys}) for n, row in rows]
