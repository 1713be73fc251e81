"""A table with a row per eye and visit -> records. Every cell is text until it is known what it is."""

from __future__ import annotations

import difflib
import hashlib
import logging
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

from ...core.errors import FundusionError, InvalidInput, ReadError
from ...core.study import StudyRecord, is_missing
from ...core.vocabulary import Modality, parse_laterality
from .cells import NUMBER, identifier, plain_cell, text_of
from .convert import convert_row
from .paths import paths_of
from .rows import Table, TableOptions, open_table
from .schema import Schema, read_schema
from .seen import SeenStudies
from .tally import Tally

_log = logging.getLogger(__name__)
_IMAGES = tuple(m.value for m in Modality)
_PLAIN = ("study_id", "patient_id", "laterality", "visit", "report", "split")
_SPLITS = ("train", "val", "test")
MAX_REPORT = 100_000
#: Notes on single rows that are kept; the rest is counted.
_MOST_NOTES = 1000


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


class RecordStream:
    """Records and rejected rows of a table, one at a time, in memory that does not grow with the table.

    Iterate over it once. `counts` (rows, records, rejected, repeated) add up at every moment; `notes` and `label_problems` are
    complete when the rows are used up.
    """

    def __init__(
        self,
        table: Table,
        *,
        rename: Mapping[str, str],
        folder: Path,
        schema: Schema | None,
        seen: SeenStudies | None = None,
    ) -> None:
        self.facts = table.facts
        self.counts = {"rows": 0, "records": 0, "rejected": 0, "repeated": 0}
        self._table, self._rename, self._folder, self._schema = table, rename, folder, schema
        self._seen = seen or SeenStudies()
        self._tally = Tally(schema)
        self._notes = list(table.notes)
        if table.columns is not None:
            self._check(table.columns)

    @property
    def notes(self) -> list[str]:
        """What was merged, filled or converted, and what to look at."""
        more = self.counts["repeated"] - _MOST_NOTES
        tail = [f"and {more} more rows repeat others"] if more > 0 else []
        return [*self._notes, *tail, *self._tally.notes(), *self._tally.label_problems()]

    @property
    def label_problems(self) -> list[str]:
        """Label values outside their set or spelt in several ways, with counts."""
        return self._tally.label_problems()

    def __iter__(self) -> Iterator[StudyRecord | RejectedRow]:
        known: set[str] = set(self._table.columns or ())
        try:
            for line, raw in self._table.rows:
                origin = f"{self._table.name}:{line}"
                self.counts["rows"] += 1
                if isinstance(raw, FundusionError):
                    yield self._reject({}, origin, raw)
                    continue
                if self._table.columns is None and not known.issuperset(raw):
                    known.update(raw)
                    self._check(list(known), complete=False)
                item = self._item(raw, origin, line)
                if item is not None:
                    yield item
            if self._table.columns is None:
                self._check(list(known))
        finally:
            self._seen.close()

    def _item(self, raw: Mapping[str, Any], origin: str, line: int) -> StudyRecord | RejectedRow | None:
        row: Mapping[str, Any] = raw
        try:
            if self._schema is None:
                row = {self._rename.get(k, k): v for k, v in raw.items() if self._rename.get(k, k)}
                self._tally.see_row(row)
                record = _record(row, self._folder, origin)
            else:
                self._tally.see_row(raw)
                row, notes = convert_row(self._schema, raw)
                record = replace(_record(row, self._folder, origin, converted=True), notes=tuple(notes))
            earlier = self._seen.add(record.study_id, _digest(record), line)
            if earlier is not None and earlier[1]:
                self.counts["repeated"] += 1
                if self.counts["repeated"] <= _MOST_NOTES:
                    self._notes.append(f"{origin} repeats {self._table.name}:{earlier[0]} and was left out")
                return None
            if earlier is not None:
                raise InvalidInput(
                    f"study {record.study_id!r} stands in two rows that differ ({self._table.name}:{earlier[0]} and {origin}).",
                    code="manifest.duplicate",
                    hint="Give each eye and visit its own study_id, or correct the rows.",
                )
        except FundusionError as error:
            if error.code == "disk.full":
                raise
            return self._reject(row, origin, error)
        self._tally.see_record(record)
        self.counts["records"] += 1
        return record

    def _reject(self, row: Mapping[str, Any], origin: str, error: FundusionError) -> RejectedRow:
        self.counts["rejected"] += 1
        return RejectedRow(
            study_id=text_of(row.get("study_id")) or origin,
            code=error.code,
            message=error.message,
            hint=error.hint,
            origin=origin,
        )

    def _check(self, names: list[str], *, complete: bool = True) -> None:
        if self._schema is None:
            _check_columns(names, self._rename, complete=complete)
            return
        if complete:
            self._schema.check_columns(names)
        _check_targets([t for r in self._schema.columns for t in r.to])


def stream_manifest(
    path: str | Path,
    *,
    columns: Mapping[str, str] | str | Path | None = None,
    schema: Schema | Mapping[str, Any] | str | Path | None = None,
    root: str | Path | None = None,
    options: TableOptions | None = None,
) -> RecordStream:
    """Return the records and rejected rows of a table as a stream; arguments as in `read_manifest`."""
    source = Path(path)
    if columns is not None and schema is not None:
        raise InvalidInput(
            "a schema names the target of every column; give it or a column map, not both.", code="schema.value"
        )
    if schema is None and _is_schema(columns):
        columns, schema = None, columns
    rules = read_schema(schema) if schema is not None else None
    chosen = options or (rules.options if rules else None)
    return RecordStream(
        open_table(source, chosen),
        rename=_column_map(columns),
        folder=Path(root if root is not None else source.parent).resolve(),
        schema=rules,
    )


def read_manifest(
    path: str | Path,
    *,
    columns: Mapping[str, str] | str | Path | None = None,
    schema: Schema | Mapping[str, Any] | str | Path | None = None,
    root: str | Path | None = None,
    on_bad_row: str = "refuse",
    options: TableOptions | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Manifest:
    """Return the records of a table.

    Columns: `study_id` (made of patient, eye and visit when absent), `patient_id`, `laterality`, `visit`, one per image
    modality (`cfp`, `oct`, ...; files relative to the table's folder, several joined by "|"), `report`, `meta.<name>`,
    `label.<task>` or `label.<task>.<label>` (0, 1 or empty), `mask.<structure>` (files of drawn truth), `split` (train,
    val, test).

    Args:
        path: `.csv`, `.tsv`, `.xlsx`, `.parquet` or `.jsonl`.
        columns: Map from column of the file to column above ("" drops it), or a TOML file with a table `[columns]`; a file that
            is a schema is taken as one, so that whatever takes a column map takes a schema.
        schema: Type, unit, missing codes and target of every column; a TOML file, or its content. Conversions are written into
            `StudyRecord.notes`.
        root: Folder that image paths are relative to and must stay in; None takes the folder of the table.
        on_bad_row: "refuse" ends at the first bad row; "collect" lists bad rows in `Manifest.rejected`.
        options: Encoding, delimiter, sheet; None takes those of the schema, else what is found out and certain.
        progress: Called with the number of rows done, now and then.

    Raises:
        ReadError: The file cannot be read, or its encoding is not certain.
        InvalidInput: An unknown column, or (with "refuse") a row that is no record. Labels outside their set are listed with
            counts over the whole table.
    """
    if on_bad_row not in ("refuse", "collect"):
        raise InvalidInput(f"on_bad_row is {on_bad_row!r}; use 'refuse' or 'collect'.")
    stream = stream_manifest(path, columns=columns, schema=schema, root=root, options=options)
    records: list[StudyRecord] = []
    rejected: list[RejectedRow] = []
    for item in stream:
        if progress is not None and stream.counts["rows"] % 2000 == 0:
            progress(stream.counts["rows"])
        if isinstance(item, StudyRecord):
            records.append(item)
            continue
        rejected.append(item)
        if on_bad_row == "refuse" and item.code != "label.unknown":
            raise _refusal(item)
    if on_bad_row == "refuse" and (rejected or stream.label_problems):
        listed = stream.label_problems
        if not listed:
            raise _refusal(rejected[0])
        at = f" (first at {rejected[0].origin})" if rejected else ""
        raise InvalidInput(
            "; ".join(listed) + at + ".",
            code="label.unknown",
            hint="Correct the cells, leave those empty that are not annotated, or say in a schema what each stands for.",
        )
    for note in stream.notes[:20]:
        _log.info(note)
    return Manifest(records, rejected=rejected, notes=stream.notes)


def _refusal(row: RejectedRow) -> InvalidInput:
    return InvalidInput(f"{row.origin}: {row.message}", code=row.code, hint=row.hint)


def _digest(record: StudyRecord) -> bytes:
    fields = [getattr(record, k) for k in record.__dataclass_fields__ if k != "origin"]
    plain = [dict(f) if isinstance(f, Mapping) else f for f in fields]
    return hashlib.blake2b(repr(plain).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _record(row: Mapping[str, Any], folder: Path, origin: str, *, converted: bool = False) -> StudyRecord:
    eye = parse_laterality(text_of(row.get("laterality")))
    patient = identifier(row.get("patient_id"), "patient_id") or None
    visit = text_of(row.get("visit")) or None
    study = identifier(row.get("study_id"), "study_id")
    if not study:
        parts = [p for p in (patient, eye.value if eye else None, visit) if p]
        if not patient:
            raise InvalidInput(
                "the row has neither study_id nor patient_id.", code="study.id", hint="Give one of them."
            )
        study = "_".join(parts)
    images = {m: paths_of(row[m], folder) for m in _IMAGES if m in row and not is_missing(row[m])}
    metadata = {k[5:]: v if converted else plain_cell(k, v) for k, v in row.items() if k.startswith("meta.")}
    return StudyRecord(
        study_id=study,
        patient_id=patient,
        laterality=eye,
        images=images,
        report=_report(row),
        metadata=metadata,
        labels=_labels(row),
        visit=visit,
        masks={k[5:]: paths_of(v, folder) for k, v in row.items() if k.startswith("mask.") and not is_missing(v)},
        split=_split(row),
        origin=origin,
    )


def _report(row: Mapping[str, Any]) -> str | None:
    report = text_of(row.get("report")) or None
    if report and len(report) > MAX_REPORT:
        raise InvalidInput(
            f"the report has {len(report)} characters.", code="report.too_long", hint=f"At most {MAX_REPORT}."
        )
    if report and "\0" in report:
        raise InvalidInput("the report holds a NUL character.", code="table.character", hint="Remove it.")
    return report


def _split(row: Mapping[str, Any]) -> str | None:
    split = text_of(row.get("split")) or None
    if split and split not in _SPLITS:
        raise InvalidInput(f"split is {split!r}; known are {_SPLITS}.", code="manifest.split")
    return split


def _labels(row: Mapping[str, Any]) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    for key, value in row.items():
        if not key.startswith("label."):
            continue
        task, _, label = key[6:].partition(".")
        if not label:
            if not is_missing(value):
                labels[task] = _point(key, value) if task.endswith("_px") else _label(key, value)
            continue
        cell = text_of(value)
        if cell not in ("", "0", "1", "0.0", "1.0"):
            raise InvalidInput(f"column {key!r} holds {cell[:40]!r}; use 0, 1 or empty.", code="label.unknown")
        labels.setdefault(task, {})[label] = float(cell) if cell else float("nan")
    disease = labels.get("disease")
    if (
        isinstance(disease, Mapping)
        and disease.get("N") == 1.0
        and any(v == 1.0 for k, v in disease.items() if k != "N")
    ):
        named = "|".join(k for k, v in disease.items() if v == 1.0)
        raise InvalidInput(
            f"label.disease is {named}: N (normal) stands together with a disease.",
            code="label.conflict",
            hint="Correct the row; a label that is not known stays empty.",
        )
    return {t: v for t, v in labels.items() if not isinstance(v, dict) or any(not is_missing(x) for x in v.values())}


def _point(key: str, value: Any) -> tuple[float, ...]:
    """Return the (row, column) of a cell "row|column"."""
    parts = [str(p).strip() for p in (value if isinstance(value, (list, tuple)) else str(value).split("|"))]
    if len(parts) != 2 or not all(NUMBER.fullmatch(p) for p in parts):
        raise InvalidInput(
            f"column {key!r} holds {str(value)[:40]!r}; a point is row|column in pixels.", code="label.unknown"
        )
    return tuple(float(p) for p in parts)


def _label(key: str, value: Any) -> Any:
    """Return a label as it is written; typed numbers as their digits."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (list, tuple)):
        value = "|".join(str(v) for v in value)
    text = value if isinstance(value, str) else text_of(value)
    parts = [p.strip() for p in text.split("|")]
    if text.strip() in ("-100", "-100.0"):
        raise InvalidInput(
            f"column {key!r} holds {text!r}, which training code takes for `ignore this`.",
            code="label.unknown",
            hint="Leave the cell empty when the study is not annotated.",
        )
    if key == "label.disease" and "N" in parts and len(parts) > 1:
        raise InvalidInput(
            f"column {key!r} holds {text[:40]!r}: N (normal) stands together with a disease.",
            code="label.conflict",
            hint="Correct the row.",
        )
    return text


def _is_schema(columns: Mapping[str, Any] | str | Path | None) -> bool:
    """Return whether a file that was given as a column map describes its columns in tables of their own."""
    if columns is None or isinstance(columns, Mapping):
        return False
    try:
        named = tomllib.loads(Path(columns).read_text("utf-8")).get("columns")
    except (OSError, ValueError):
        return False
    return isinstance(named, Mapping) and any(isinstance(v, Mapping) for v in named.values())


def _column_map(columns: Mapping[str, str] | str | Path | None) -> dict[str, str]:
    if columns is None:
        return {}
    if isinstance(columns, Mapping):
        return dict(columns)
    try:
        table = tomllib.loads(Path(columns).read_text("utf-8"))["columns"]
    except FileNotFoundError as error:
        raise ReadError(f"no column map {Path(columns).name!r}.", code="file.missing") from error
    except (tomllib.TOMLDecodeError, KeyError, UnicodeDecodeError, AttributeError) as error:
        raise InvalidInput(
            f"{Path(columns).name!r} is no column map: {error}.",
            hint='Write [columns] and lines like "Age" = "meta.age".',
        ) from error
    return {str(k): str(v) for k, v in table.items()}


def _check_columns(names: list[str], rename: Mapping[str, str], *, complete: bool = True) -> None:
    unused = sorted(set(rename) - set(names)) if complete else []
    if unused:
        raise InvalidInput(
            f"the column map names {unused}, which the table does not have: {names}.", code="manifest.columns"
        )
    _check_targets([rename.get(n, n) for n in names])


def _check_targets(final: list[str]) -> None:
    known = {*_PLAIN, *_IMAGES}
    for name in final:
        if name and name not in known and not name.startswith(("meta.", "label.", "mask.")):
            close = difflib.get_close_matches(name, [*known, f"meta.{name}"], n=1, cutoff=0.5)
            raise InvalidInput(
                f"column {name!r} is not known.",
                code="manifest.columns",
                hint=(f"Did you mean {close[0]!r}? " if close else "")
                + f"Columns are {', '.join(_PLAIN)}, {', '.join(_IMAGES)}, meta.*, label.*, mask.*; a column map or schema renames or "
                "drops others (`fundusion check TABLE --propose schema.toml`).",
            )
    twice = sorted({n for n in final if n and final.count(n) > 1})
    if twice:
        raise InvalidInput(f"columns occur twice: {twice}.", code="manifest.columns")
