"""The schema of a table (TOML): for each column its type, unit, range, missing codes, words, date format and target."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.bound import RULES
from ...core.errors import InvalidInput, ReadError
from ...core.tasks import STANDARD_TASKS
from ...core.units import KNOWN_COLUMNS, KnownColumn, Unit, unit_of
from .dates import check_layout
from .rows import TableOptions

TYPES = ("identifier", "number", "category", "date", "text", "blood_pressure", "file")
_TABLE_KEYS = ("encoding", "delimiter", "sheet", "merged", "missing", "decimal", "thousands")
_COLUMN_KEYS = (
    "to", "type", "unit", "unit_column", "to_unit", "quantity", "range", "missing", "levels", "map", "format", "decimal",
    "thousands", "censored", "low_vision", "strip", "exclusive", "allow_future", "drop", "undecided",
)  # fmt: skip
_OF_TYPE = {
    "number": {"unit", "unit_column", "to_unit", "quantity", "range", "decimal", "thousands", "censored", "low_vision"},
    "category": {"levels", "map", "exclusive"},
    "date": {"format", "allow_future"},
    "identifier": {"strip"},
    "text": set(),
    "file": set(),
    "blood_pressure": {"unit"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnRule:
    """What one column of a file is and becomes.

    Args:
        source: Name in the file.
        to: Target: `study_id`, `patient_id`, `laterality`, `visit`, `split`, `report`, a modality, `meta.*` or `label.*`;
            empty when the column is dropped. A blood pressure has two.
        kind: One of `TYPES`.
        quantity: Known quantity the numbers are, with its units; None when it is another.
        unit: Unit of the cells; None without a quantity.
        unit_column: Column of the file that holds the unit of each row.
        to_unit: Unit of the values that come out.
        low: Least value, in the unit of the cells.
        high: Greatest value.
        missing: Codes for a missing value, beside the words every table may use.
        levels: Words that are allowed, exactly; empty allows all.
        words: Cell to word, for codes (1 = "OD").
        layout: Date format.
        decimal: "." or ",".
        thousands: Mark between groups of three digits.
        censored: What "<0.5" becomes: "keep", "bound", "half", "missing".
        low_vision: Rule that gives numbers to counting fingers and hand motion; None keeps the words.
        strip: Whether spaces are taken off the ends of an identifier.
        exclusive: Label that cannot stand beside another, such as "N" (normal).
        allow_future: Whether a date may lie ahead.
    """

    source: str
    to: tuple[str, ...]
    kind: str = "text"
    quantity: str | None = None
    unit: str | None = None
    unit_column: str | None = None
    to_unit: str | None = None
    low: float | None = None
    high: float | None = None
    missing: frozenset[str] = frozenset()
    levels: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    layout: str = ""
    decimal: str = "."
    thousands: str | None = None
    censored: str = "keep"
    low_vision: str | None = None
    strip: bool = False
    exclusive: str | None = None
    allow_future: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Rules for every column of a table and how the file is written."""

    columns: tuple[ColumnRule, ...]
    options: TableOptions = field(default_factory=TableOptions)

    def check_columns(self, names: list[str]) -> None:
        """Refuse a table that lacks a column of the schema, or has one that the schema does not name."""
        rules = {r.source for r in self.columns}
        absent = sorted(rules - set(names))
        unnamed = [n for n in names if n not in rules]
        if absent or unnamed:
            raise InvalidInput(
                f"table and schema differ: the table lacks {absent}, the schema does not name {unnamed}.",
                code="manifest.columns",
                hint="Add the columns to the schema (drop = true leaves one out), or give the right table.",
            )


def read_schema(source: str | Path | Mapping[str, Any] | Schema) -> Schema:
    """Return a schema from a TOML file or from its content as a mapping.

    Raises:
        ReadError: No such file.
        InvalidInput: `schema.key`, `schema.value`, or `schema.undecided`: a question of the proposal is still open.

    Example:
        >>> schema = read_schema({"columns": {"HbA1c": {"to": "meta.hba1c", "type": "number", "unit": "mmol/mol"}}})
        >>> schema.columns[0].to_unit, schema.columns[0].low
        ('%', 9)
    """
    if isinstance(source, Schema):
        return source
    if isinstance(source, Mapping):
        content, name = source, "the schema"
    else:
        name = Path(source).name
        try:
            content = tomllib.loads(Path(source).read_text("utf-8"))
        except FileNotFoundError as error:
            raise ReadError(f"no schema {name!r}.", code="file.missing", hint="Check the path.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InvalidInput(
                f"{name!r} is no schema: {error}.", code="schema.value", hint="It is a TOML file in UTF-8."
            ) from error
    _known_keys(content, ("table", "columns"), name)
    table = content.get("table", {})
    _known_keys(table, _TABLE_KEYS, "[table]")
    columns = content.get("columns", {})
    if not isinstance(columns, Mapping) or not columns or not all(isinstance(v, Mapping) for v in columns.values()):
        raise InvalidInput(
            f"{name!r} has no [columns.NAME] tables.",
            code="schema.value",
            hint='Write [columns."Age"] and to = "meta.age".',
        )
    _all_decided(columns)
    rules = tuple(_rule(str(source), dict(value), table) for source, value in columns.items())
    targets = [t for r in rules for t in r.to]
    twice = sorted({t for t in targets if targets.count(t) > 1 and t not in ("",)})
    if twice:
        raise InvalidInput(f"several columns become {twice}.", code="schema.value")
    options = TableOptions(
        encoding=table.get("encoding"),
        delimiter=table.get("delimiter"),
        sheet=table.get("sheet"),
        merged=table.get("merged", "refuse"),
    )
    return Schema(columns=rules, options=options)


def _all_decided(columns: Mapping[str, Any]) -> None:
    open_questions = [
        f"{source}: {key}"
        for source, value in columns.items()
        for key in value.get("undecided", ())
        if key not in value and not value.get("drop")
    ]
    if open_questions:
        raise InvalidInput(
            f"the schema is not decided: {'; '.join(open_questions)}.",
            code="schema.undecided",
            hint="Take the comment sign off one of the choices that stand below each column.",
        )


def _known_keys(value: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    for key in value:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            raise InvalidInput(
                f"{where} has the key {key!r}, which is not known.",
                code="schema.key",
                hint=(f"Did you mean {close[0]!r}? " if close else "") + f"Known are {', '.join(known)}.",
            )


def _rule(source: str, value: dict[str, Any], table: Mapping[str, Any]) -> ColumnRule:
    where = f"column {source!r}"
    _known_keys(value, _COLUMN_KEYS, where)
    if value.get("drop"):
        return ColumnRule(source=source, to=())
    kind = value.get("type")
    to = value.get("to")
    targets = (to,) if isinstance(to, str) else tuple(to or ())
    if kind not in TYPES or not targets or not all(isinstance(t, str) and t for t in targets):
        raise InvalidInput(
            f"{where} needs `to` and a `type` of {', '.join(TYPES)}; got to = {to!r}, type = {kind!r}.",
            code="schema.value",
        )
    if len(targets) != (2 if kind == "blood_pressure" else 1):
        raise InvalidInput(
            f"{where} becomes {list(targets)}; one target, or two for a blood pressure.",
            code="schema.value",
            hint='A pressure such as "130/80" has to = ["meta.sbp", "meta.dbp"].',
        )
    every = {"to", "type", "missing", "undecided", "drop"}
    for key in value:
        if key not in every | _OF_TYPE[kind]:
            raise InvalidInput(f"{where} is of type {kind} and cannot have {key!r}.", code="schema.key")
    missing = frozenset(str(m) for m in (*table.get("missing", ()), *value.get("missing", ())))
    made = {"number": _number, "date": _date, "category": _category, "blood_pressure": _pressure}.get(kind)
    details = made(where, targets, value, table) if made else {}
    return ColumnRule(
        source=source, to=targets, kind=kind, missing=missing, strip=bool(value.get("strip", False)), **details
    )


def _number(where: str, targets: tuple[str, ...], value: dict[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    decimal, thousands = value.get("decimal", table.get("decimal", ".")), value.get("thousands", table.get("thousands"))
    censored = value.get("censored", "keep")
    if decimal not in (".", ",") or decimal == thousands or censored not in RULES:
        raise InvalidInput(
            f"{where} has decimal = {decimal!r}, thousands = {thousands!r}, censored = {censored!r}.",
            code="schema.value",
            hint=f"decimal is . or , and differs from thousands; censored is one of {RULES}.",
        )
    details: dict[str, Any] = {
        "decimal": decimal,
        "thousands": thousands,
        "censored": censored,
        "low_vision": value.get("low_vision"),
    }
    quantity = value.get("quantity", targets[0].removeprefix("meta."))
    known = KNOWN_COLUMNS.get(quantity)
    if known is None and "quantity" in value:
        raise InvalidInput(
            f"{where}: the quantity {quantity!r} is not known.",
            code="schema.value",
            hint=f"Known: {sorted(KNOWN_COLUMNS)}.",
        )
    if known is not None:
        details |= _units(where, quantity, known, value)
    limits = value.get("range")
    if limits is not None:
        if len(limits) != 2 or not all(isinstance(x, (int, float)) for x in limits) or limits[0] > limits[1]:
            raise InvalidInput(f"{where}: range = {limits!r} is not [least, greatest].", code="schema.value")
        details |= {"low": limits[0], "high": limits[1]}
    return details


def _units(where: str, quantity: str, known: KnownColumn, value: dict[str, Any]) -> dict[str, Any]:
    stated, column = value.get("unit"), value.get("unit_column")
    if stated is None and column is None and len(known.units) > 1:
        raise InvalidInput(
            f"{where} is {known.title} and its unit is not stated.",
            code="schema.unit",
            hint=f"Write unit = one of {[u.name for u in known.units]}, or unit_column = the column that says it per row.",
        )
    unit: Unit | None = unit_of(quantity, stated) if stated is not None else None if column else known.units[0]
    details: dict[str, Any] = {"quantity": quantity, "unit_column": column}
    details["to_unit"] = unit_of(quantity, value["to_unit"]).name if "to_unit" in value else known.unit
    if unit is not None:
        details |= {"unit": unit.name, "low": unit.low, "high": unit.high}
    return details


def _date(where: str, targets: tuple[str, ...], value: dict[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    if "format" not in value:
        raise InvalidInput(
            f"{where} is a date without `format`.",
            code="schema.value",
            hint='Write format = "%d/%m/%Y", "iso" or "excel".',
        )
    check_layout(str(value["format"]))
    return {"layout": str(value["format"]), "allow_future": bool(value.get("allow_future", False))}


def _category(where: str, targets: tuple[str, ...], value: dict[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    levels = tuple(str(v) for v in value.get("levels", ()))
    task = STANDARD_TASKS.get(targets[0].removeprefix("label.")) if targets[0].startswith("label.") else None
    if not levels and task is not None:
        levels = task.labels
    words = {str(k): str(v) for k, v in dict(value.get("map", {})).items()}
    strange = sorted(set(words.values()) - set(levels)) if levels else []
    if strange:
        raise InvalidInput(f"{where}: map leads to {strange}, which are no levels.", code="schema.value")
    exclusive = value.get("exclusive", "N" if targets[0] == "label.disease" else None)
    return {"levels": levels, "words": words, "exclusive": exclusive}


def _pressure(where: str, targets: tuple[str, ...], value: dict[str, Any], table: Mapping[str, Any]) -> dict[str, Any]:
    unit = unit_of("sbp", value.get("unit", "mmHg"))
    return {"quantity": "sbp", "unit": unit.name, "to_unit": "mmHg"}
