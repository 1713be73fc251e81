"""Records -> tables to look at before training: classes per split, and what is missing per split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.study import StudyRecord, is_missing
from ..core.vocabulary import TEXT
from .table import words_of

#: Column of records that name no split.
NO_SPLIT = "no split"
#: A label of more values than this is a number or free text, not a class.
MOST_CLASSES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """A table of counts.

    Args:
        title: Of the first column.
        columns: Splits, each with its number of studies.
        rows: Name and a count per column.
    """

    title: str
    columns: tuple[tuple[str, int], ...]
    rows: tuple[tuple[str, tuple[int, ...]], ...]


def class_tables(records: Sequence[StudyRecord]) -> list[Counts]:
    """Return, for each label, how many studies of each split have each value."""
    columns = _columns(records)
    tables = []
    for task in sorted({t for r in records for t in r.labels}):
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        for record in records:
            for word in words_of(record.labels.get(task)) or ["(not annotated)"]:
                counted[word][record.split or NO_SPLIT] += 1
        if len(counted) <= MOST_CLASSES:
            rows = tuple((w, tuple(counted[w][c] for c, _ in columns)) for w in sorted(counted, key=_numeric))
            tables.append(Counts(title=task, columns=columns, rows=rows))
    return tables


def missing_table(records: Sequence[StudyRecord]) -> Counts:
    """Return how many studies of each split lack each column."""
    columns = _columns(records)
    lacking: dict[str, Counter[str]] = defaultdict(Counter)
    modalities = sorted({m for r in records for m in r.images})
    variables = sorted({k for r in records for k in r.metadata})
    tasks = sorted({t for r in records for t in r.labels})
    has_reports = any(r.report for r in records)
    for record in records:
        split = record.split or NO_SPLIT
        found = {m: m in record.images for m in modalities}
        found |= {f"meta.{k}": not is_missing(record.metadata.get(k)) for k in variables}
        found |= {f"label.{t}": bool(words_of(record.labels.get(t))) for t in tasks}
        found |= {"patient_id": record.patient_id is not None, "laterality": record.laterality is not None}
        if has_reports:
            found[TEXT] = bool(record.report and record.report.strip())
        for name, there in found.items():
            lacking[name][split] += not there
    rows = tuple((name, tuple(n[c] for c, _ in columns)) for name, n in lacking.items())
    return Counts(title="missing", columns=columns, rows=rows)


def _columns(records: Sequence[StudyRecord]) -> tuple[tuple[str, int], ...]:
    found = Counter(r.split or NO_SPLIT for r in records)
    order = ("train", "val", "test", NO_SPLIT)
    return tuple((name, found[name]) for name in order if found[name])


def _numeric(word: str) -> tuple[float, str]:
    try:
        return float(word), word
    except ValueError:
        return float("inf"), word
