"""What only the whole of a table shows: label spellings with counts, two units in one column, ages to pool, conversions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.study import StudyRecord, is_missing
from ...core.units import KNOWN_COLUMNS, KnownColumn
from .cells import text_of
from .schema import Schema

#: A label column with more different values is a quantity or free text.
_MOST_VALUES = 200
#: Ages above it are pooled when data leave a clinic. Source: 45 CFR 164.514(b)(2)(i)(C).
OLDEST = 89


class Tally:
    """Counts over the rows of one table; its size does not grow with them."""

    def __init__(self, schema: Schema | None = None) -> None:
        self._labels: dict[str, Counter[str]] = defaultdict(Counter)
        self._sets: dict[str, tuple[str, ...]] = {}
        self._sources: list[tuple[str, str, Mapping[str, str]]] = []
        for rule in schema.columns if schema else ():
            if rule.to and rule.to[0].startswith("label.") and rule.kind == "category":
                self._sources.append((rule.to[0], rule.source, rule.words))
                if rule.levels:
                    self._sets[rule.to[0]] = rule.levels
        self._schema = schema
        self._units: dict[str, Counter[str]] = defaultdict(Counter)
        self._old = 0
        self._converted: Counter[str] = Counter()

    def see_row(self, row: Mapping[str, Any]) -> None:
        """Count the label cells of a row as they are written."""
        if self._schema is None:
            for key, value in row.items():
                if key.startswith("label."):
                    self._label(key, value)
            return
        for target, source, words in self._sources:
            value = row.get(source)
            self._label(target, words.get(value, value) if isinstance(value, str) else words.get(text_of(value), value))

    def _label(self, key: str, value: Any) -> None:
        if is_missing(value) or isinstance(value, (list, tuple, bool)):
            return
        counts = self._labels[key]
        text = value if isinstance(value, str) else text_of(value)
        if text in counts or len(counts) <= _MOST_VALUES:
            counts[text] += 1

    def see_record(self, record: StudyRecord) -> None:
        """Count ages, units and conversions of a record."""
        age = record.metadata.get("age")
        if isinstance(age, float) and age > OLDEST:
            self._old += 1
        for note in record.notes:
            self._converted[note.partition(":")[0]] += 1
        if self._schema is not None:
            return
        for name, value in record.metadata.items():
            known = KNOWN_COLUMNS.get(name)
            if known is not None and isinstance(value, float) and len(known.units) > 1:
                self._units[name][only_unit(known, value) or ""] += 1

    def label_problems(self) -> list[str]:
        """Return a sentence for each label column with values outside its set, or one value written in several ways."""
        lines = []
        for key, counts in self._labels.items():
            if len(counts) > _MOST_VALUES:
                continue
            levels = self._sets.get(key)
            if levels is not None:
                outside = {v: n for v, n in counts.items() if not _inside(v, levels)}
                if outside:
                    lines.append(f"{key}: outside its set {list(levels)[:12]}: {_listed(outside)}")
            else:
                lines += [f"{key} writes one value in several ways: {_listed(g)}" for g in _spellings(counts)]
        return lines

    def notes(self) -> list[str]:
        """Return what a reader of the whole table should know."""
        lines = [f"{target}: {n} cells were converted; each record says how" for target, n in self._converted.items()]
        for name, counts in self._units.items():
            shown = {u: n for u, n in counts.items() if u}
            if len(shown) > 1:
                text = " and ".join(f"{n} only in {u}" for u, n in shown.items())
                lines.append(
                    f"meta.{name}: cells are usual {text}: two units in one column? State the unit in a schema"
                )
        if self._old:
            lines.append(f"meta.age: {self._old} ages above {OLDEST}; a de-identified export pools them to 90 and more")
        return lines


def only_unit(known: KnownColumn, value: float) -> str | None:
    """Return the one unit in which a value is usual, or None when that is none or several.

    Example:
        >>> only_unit(KNOWN_COLUMNS["hba1c"], 53), only_unit(KNOWN_COLUMNS["hba1c"], 7.1), only_unit(KNOWN_COLUMNS["iop"], 7)
        ('mmol/mol', '%', None)
    """
    usual = [u.name for u in known.units if u.usual[0] <= value <= u.usual[1]]
    return usual[0] if len(usual) == 1 else None


def _inside(value: str, levels: Sequence[str]) -> bool:
    return value in levels or ("|" in value and all(p.strip() in levels for p in value.split("|"))) or not value.strip()


def _listed(counts: Mapping[str, int]) -> str:
    shown = [f"{v[:30]!r} ({n} row{'s' if n > 1 else ''})" for v, n in list(counts.items())[:12]]
    return ", ".join(shown) + (f" and {len(counts) - 12} more" if len(counts) > 12 else "")


def _spellings(counts: Mapping[str, int]) -> list[dict[str, int]]:
    groups: dict[Any, dict[str, int]] = defaultdict(dict)
    for text, n in counts.items():
        bare = text.strip()
        try:
            key: Any = float(bare)
        except ValueError:
            key = bare.casefold()
        groups[key][text] = n
    return [g for g in groups.values() if len(g) > 1]
