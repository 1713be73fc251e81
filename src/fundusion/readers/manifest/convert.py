"""A row of a file -> a row of targets by the rules of a schema. Every conversion is written down beside the value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from ...core.acuity import low_vision_logmar, low_vision_word, parse_snellen
from ...core.bound import Bound
from ...core.errors import InvalidInput
from ...core.study import is_missing
from ...core.units import KNOWN_COLUMNS, Unit, split_pressure, unit_of
from .cells import EYE_COLUMNS, finite, identifier, is_missing_word, parse_number, refuse_formula_error, text_of
from .dates import parse_date
from .schema import ColumnRule, Schema

#: Targets that are a day of birth; no other date of a row may lie before it.
BIRTH = ("meta.birth_date", "meta.date_of_birth", "meta.dob")
_WITH_UNIT = re.compile(r"([<>≤≥]?=?\s*[+-]?[\d.,'\s]*\d)\s*([^\d\s.,].*)")
#: Years of a life; a longer one is a wrong date.
_LONGEST = 125


def convert_row(
    schema: Schema, row: Mapping[str, Any], *, today: date | None = None
) -> tuple[dict[str, Any], list[str]]:
    """Return the cells by target and what was converted.

    Args:
        schema: Rules of the table.
        row: Cells by column of the file.
        today: Day after which no date may lie; None takes the day of the clock.

    Raises:
        InvalidInput: A cell is not what its rule says; the message names the column.
    """
    answer: dict[str, Any] = {}
    notes: list[str] = []
    days: dict[str, date] = {}
    for rule in schema.columns:
        if not rule.to:
            continue
        value = row.get(rule.source)
        if rule.kind == "blood_pressure":
            answer |= _pressure(rule, value, notes)
            continue
        target = rule.to[0]
        if rule.kind == "date":
            day = _date(rule, value, today or date.today())
            answer[target] = None if day is None else day.isoformat()
            if day is not None:
                days[target] = day
        elif rule.kind == "number":
            answer[target] = _number(rule, value, row, notes)
        elif rule.kind == "category":
            answer[target] = _category(rule, value, notes)
        elif rule.kind == "identifier":
            answer[target] = None if _is_code(rule, value) else identifier(value, rule.source, strip=rule.strip)
        else:
            answer[target] = None if is_missing(value) or _is_code(rule, value) else value
    _check_days(days, answer)
    return answer, notes


def _is_code(rule: ColumnRule, value: Any) -> bool:
    return bool(rule.missing) and text_of(value) in rule.missing


def _is_missing(rule: ColumnRule, value: Any, text: str) -> bool:
    if is_missing(value) or text in rule.missing:
        return True
    if text.casefold() == "na" and (
        rule.to[0].removeprefix("meta.") in EYE_COLUMNS or (rule.kind == "category" and "NA" in rule.levels)
    ):
        return False
    return is_missing_word(text)


def _number(rule: ColumnRule, value: Any, row: Mapping[str, Any], notes: list[str]) -> float | str | None:
    text = text_of(value)
    if _is_missing(rule, value, text) or _is_numeric_code(rule, text):
        return None
    unit = _unit_of_row(rule, row)
    word = low_vision_word(text) if rule.quantity == "va" else None
    if word is not None:
        return _low_vision(rule, text, word, notes)
    number, unit = _read(rule, value, text, unit)
    plain = number.value if isinstance(number, Bound) else number
    _check_range(rule, plain, text, unit)
    if isinstance(number, Bound):
        return _bound(rule, number, unit, notes)
    if unit is None or rule.to_unit is None or unit.name == rule.to_unit:
        return plain
    changed = unit_of(rule.quantity or "", rule.to_unit).backward(unit.forward(plain))
    notes.append(f"{rule.to[0]}: {text} {unit.name} -> {changed:.6g} {rule.to_unit}")
    return changed


def _is_numeric_code(rule: ColumnRule, text: str) -> bool:
    """Return whether a number equals a missing code that is written with other digits: 999 and 999.0."""
    if not rule.missing:
        return False
    try:
        number = float(text)
        return any(float(m) == number for m in rule.missing)
    except ValueError:
        return False


def _unit_of_row(rule: ColumnRule, row: Mapping[str, Any]) -> Unit | None:
    if rule.unit_column is None or rule.quantity is None:
        return unit_of(rule.quantity, rule.unit) if rule.quantity and rule.unit else None
    stated = text_of(row.get(rule.unit_column))
    if not stated:
        raise InvalidInput(
            f"column {rule.source!r} holds a value, but {rule.unit_column!r} states no unit.",
            code="table.unit",
            hint="State it.",
        )
    return unit_of(rule.quantity, stated)


def _read(rule: ColumnRule, value: Any, text: str, unit: Unit | None) -> tuple[float | Bound, Unit | None]:
    """Return the number of a cell; a unit that stands in the cell goes before that of the column."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return finite(float(value), rule.source), unit
    if rule.quantity == "va" and "/" in text:
        if unit is not None and unit.name not in ("Snellen",):
            raise InvalidInput(
                f"column {rule.source!r} is declared as {unit.name} and holds {text[:20]!r}.",
                code="table.unit",
                hint='A column has one notation; declare unit = "Snellen", or correct the cell.',
            )
        return parse_snellen(text), unit_of("va", "Snellen")
    if unit is not None and unit.name == "Snellen":
        return parse_snellen(text), unit
    match = _WITH_UNIT.fullmatch(text)
    if match is not None and rule.quantity is not None:
        found = KNOWN_COLUMNS[rule.quantity].unit_named(match[2])
        if found is None:
            raise InvalidInput(
                f"column {rule.source!r} holds {text[:40]!r}; {match[2][:20]!r} is no unit of {rule.quantity}.",
                code="table.unit",
                hint=f"Known: {', '.join(u.name for u in KNOWN_COLUMNS[rule.quantity].units)}.",
            )
        text, unit = match[1], found
    return parse_number(text, rule.source, decimal=rule.decimal, thousands=rule.thousands), unit


def _check_range(rule: ColumnRule, number: float, text: str, unit: Unit | None) -> None:
    low, high = rule.low, rule.high
    if unit is not None and unit.name != rule.unit:
        low, high = unit.low, unit.high
    if (low is not None and number < low) or (high is not None and number > high):
        name = unit.name if unit is not None else ""
        raise InvalidInput(
            f"column {rule.source!r} holds {text[:30]!r}; plausible is {low:g} to {high:g} {name}".rstrip() + ".",
            code="table.range",
            hint="Check the unit, or name the code in `missing` if it stands for a missing value.",
        )


def _bound(rule: ColumnRule, bound: Bound, unit: Unit | None, notes: list[str]) -> float | str | None:
    shown: Bound = bound
    if unit is not None and rule.to_unit is not None and unit.name != rule.to_unit:
        target = unit_of(rule.quantity or "", rule.to_unit)
        edge, near = (
            target.backward(unit.forward(bound.value)),
            target.backward(unit.forward(bound.value * 1.01 + 1e-9)),
        )
        relation = bound.relation
        if near < edge:
            # logMAR falls when decimal acuity rises.
            relation = relation.translate(str.maketrans("<>", "><"))
        shown = Bound(f"{relation}{edge:.6g}" if "e" not in f"{edge:.6g}" else f"{relation}{edge:.6f}")
        notes.append(f"{rule.to[0]}: {bound} {unit.name} -> {shown} {rule.to_unit}")
    if rule.censored == "keep":
        return shown
    number = shown.resolve(rule.censored)
    notes.append(f"{rule.to[0]}: {shown} -> {'missing' if number is None else f'{number:g}'} (rule {rule.censored!r})")
    return number


def _low_vision(rule: ColumnRule, text: str, word: str, notes: list[str]) -> float | str:
    """Return the category, or the published number when a rule asks for it and has one."""
    number = low_vision_logmar(word, rule.low_vision) if rule.low_vision else None
    if number is None:
        return word
    changed = unit_of("va", rule.to_unit or "logMAR").backward(number)
    notes.append(f"{rule.to[0]}: {text} -> {changed:.6g} {rule.to_unit} (rule {rule.low_vision!r})")
    return changed


def _category(rule: ColumnRule, value: Any, notes: list[str]) -> str | None:
    # A label or code is compared as it is written: " 2" and "2.0" are not "2" unless `map` says so.
    text = value if isinstance(value, str) else text_of(value)
    if _is_missing(rule, value, text.strip()):
        return None
    refuse_formula_error(text, rule.source)
    word = rule.words.get(text, text)
    if rule.levels and word not in rule.levels and not _is_list(rule, word):
        label = rule.to[0].startswith("label.")
        raise InvalidInput(
            f"column {rule.source!r} holds {text[:40]!r}, which is none of {list(rule.levels)[:12]}.",
            code="label.unknown" if label else "table.level",
            hint="Correct the cell, or say in `map` which word it stands for.",
        )
    if word != text:
        notes.append(f"{rule.to[0]}: {text} -> {word}")
    parts = [p.strip() for p in word.split("|")]
    if rule.exclusive and rule.exclusive in parts and len(parts) > 1:
        raise InvalidInput(
            f"column {rule.source!r} holds {text[:40]!r}: {rule.exclusive!r} excludes the others.",
            code="label.conflict",
        )
    return word


def _is_list(rule: ColumnRule, word: str) -> bool:
    parts = [p.strip() for p in word.split("|")]
    return rule.to[0].startswith("label.") and len(parts) > 1 and all(p in rule.levels for p in parts)


def _date(rule: ColumnRule, value: Any, today: date) -> date | None:
    text = text_of(value)
    if _is_missing(rule, value, text):
        return None
    if isinstance(value, datetime):
        day = value.date()
    elif isinstance(value, date):
        day = value
    else:
        try:
            day = parse_date(text, rule.layout)
        except InvalidInput as error:
            raise InvalidInput(f"column {rule.source!r}: {error.message}", code=error.code, hint=error.hint) from None
    if day > today and not rule.allow_future:
        raise InvalidInput(
            f"column {rule.source!r} holds {text[:30]!r}, which lies ahead.",
            code="table.date_future",
            hint="Correct the date; allow_future = true lets planned visits pass.",
        )
    if day.year < 1850:
        raise InvalidInput(f"column {rule.source!r} holds {text[:30]!r}.", code="table.date", hint="Correct the year.")
    return day


def _check_days(days: Mapping[str, date], row: Mapping[str, Any]) -> None:
    """Refuse a visit before birth, a life that is too long, and an age that the two dates contradict."""
    birth = next((days[b] for b in BIRTH if b in days), None)
    if birth is None:
        return
    for target, day in days.items():
        if target in BIRTH:
            continue
        years = (day - birth).days / 365.25
        if not 0 <= years <= _LONGEST:
            raise InvalidInput(
                f"{target} is {day}, the day of birth {birth}: {years:.0f} years later.",
                code="table.date_order",
                hint="Correct one of the dates.",
            )
        age = row.get("meta.age")
        if (
            isinstance(age, float)
            and abs(age - years) > 1.1
            and target in ("meta.exam_date", "meta.visit_date", "visit")
        ):
            raise InvalidInput(
                f"meta.age is {age:g}, but from {birth} to {day} there are {years:.1f} years.",
                code="table.age_conflict",
                hint="Correct the age or one of the dates.",
            )


def _pressure(rule: ColumnRule, value: Any, notes: list[str]) -> dict[str, float | None]:
    text = text_of(value)
    if _is_missing(rule, value, text):
        return dict.fromkeys(rule.to)
    high, low = split_pressure(re.sub(r"\s*(mm\s*hg|毫米汞柱)$", "", text, flags=re.IGNORECASE))
    values = {}
    for target, number, quantity in zip(rule.to, (high, low), ("sbp", "dbp"), strict=True):
        unit = unit_of(quantity, rule.unit or "mmHg")
        if not unit.low <= number <= unit.high:
            raise InvalidInput(
                f"column {rule.source!r} holds {text!r}; plausible is {unit.low:g} to {unit.high:g} {unit.name}.",
                code="table.range",
            )
        values[target] = unit.forward(number)
    notes.append(f"{rule.to[0]}, {rule.to[1]}: {text} -> {values[rule.to[0]]:.6g} and {values[rule.to[1]]:.6g} mmHg")
    return values
