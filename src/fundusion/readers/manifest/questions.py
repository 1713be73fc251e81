"""What the cells of a column decide and what they leave open: unit, notation, missing codes, date format."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from ...core.units import KNOWN_COLUMNS, KnownColumn
from .dates import serial_day
from .evidence import ColumnEvidence


@dataclass(slots=True)
class Draft:
    """Lines of TOML for one column: what is decided, and questions with their choices."""

    source: str
    lines: list[str] = field(default_factory=list)
    open_keys: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    def set(self, key: str, value: Any, why: str = "") -> None:
        """Decide a key."""
        self.lines.append(f"{key} = {toml(value)}" + (f"  # {why}" if why else ""))

    def say(self, text: str) -> None:
        """Add a comment."""
        self.lines.append(f"# {text}")

    def ask(self, key: str, why: str, choices: Iterable[tuple[str, str]]) -> None:
        """Leave a key open: say why and write the choices as comments."""
        self.open_keys.append(key)
        self.reasons.append(why)
        self.lines.append(f"# CHOOSE {key}: {why}")
        self.lines += [f"# {choice}" + (f"  # {note}" if note else "") for choice, note in choices]

    @property
    def text(self) -> str:
        """The table of the column."""
        head = [f"[columns.{json.dumps(self.source, ensure_ascii=False)}]"]
        if self.open_keys:
            head.append(f"undecided = {toml(self.open_keys)}")
        return "\n".join([*head, *self.lines]) + "\n"


def toml(value: Any) -> str:
    """Return a value as TOML.

    Example:
        >>> toml(["a", 1.5, True]), toml({"1": "OD"})
        ('["a", 1.5, true]', '{ "1" = "OD" }')
    """
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(k, ensure_ascii=False)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(toml(v) for v in value) + "]"
    if isinstance(value, float):
        return f"{value:.6g}" if value != int(value) else str(int(value))
    return json.dumps(value, ensure_ascii=False)


def counted(number: int, word: str) -> str:
    """Return a number with its word.

    Example:
        >>> counted(1, "cell"), counted(2, "cell")
        ('1 cell', '2 cells')
    """
    return f"{number} {word}" + ("" if number == 1 else "s")


def number_lines(draft: Draft, seen: ColumnEvidence) -> None:
    """Write what a column of numbers decides and ask for the rest."""
    amount = seen.numbers + seen.fractions + sum(seen.cell_units.values()) + sum(seen.bounds.values())
    draft.set("type", "number", f"{seen.share(amount)} are numbers")
    _notation(draft, seen)
    unit = _unit(draft, seen)
    _codes(draft, seen, unit)
    if seen.bounds:
        shown = ", ".join(f"{b!r}" for b in list(seen.bounds)[:3])
        draft.set(
            "censored",
            "keep",
            f"{seen.share(sum(seen.bounds.values()))} are bounds such as {shown}; a network needs a rule:",
        )
        draft.say('censored = "bound", "half" (below a limit of detection) or "missing"')
    if seen.odd:
        shown = ", ".join(f"{w!r} ({n})" for w, n in seen.odd.most_common(5))
        draft.say(f"{sum(seen.odd.values())} cells are no numbers and will be rejected: {shown}")


def _notation(draft: Draft, seen: ColumnEvidence) -> None:
    n = seen.notation
    decimal_comma, decimal_point = (
        n["comma"] + n["point groups"],
        n["plain"] - seen_whole_plain(seen) + n["comma groups"],
    )
    if decimal_comma and (decimal_point > 0 or n["comma groups"]):
        draft.ask(
            "decimal",
            f"{decimal_comma} cells have a decimal comma and {decimal_point} a decimal point; the others will be rejected.",
            [('decimal = ","', f"{decimal_comma} cells"), ('decimal = "."', f"{decimal_point} cells")],
        )
    elif decimal_comma:
        draft.set("decimal", ",", f"{n['comma'] + n['point groups']} cells can only be read so, as 14,5")
        if n["point groups"]:
            draft.set("thousands", ".", f"{n['point groups']} cells such as 1.234,5")
        elif n["plain or group"]:
            draft.ask(
                "thousands",
                f"{n['plain or group']} cells such as 1.450 may be grouped; without a mark they are rejected.",
                [
                    ('thousands = "."', "1.450 is one thousand four hundred and fifty"),
                    ('thousands = ""', "they are wrong"),
                ],
            )
    elif n["comma groups"]:
        draft.set("thousands", ",", f"{n['comma groups']} cells can only be read so, as 1,234.5")
    elif n["either"]:
        draft.ask(
            "decimal",
            f"{n['either']} cells such as 1,450 have a decimal comma or a thousands mark.",
            [('decimal = ","', "1,450 is a little more than one"),
             ('decimal = "."', 'with the line thousands = ",": 1,450 is one thousand four hundred and fifty')],
        )  # fmt: skip


def seen_whole_plain(seen: ColumnEvidence) -> int:
    """Return how many plain numbers have no decimal mark: they say nothing about it."""
    return min(seen.whole, seen.notation["plain"])


def _unit(draft: Draft, seen: ColumnEvidence) -> str | None:
    if seen.quantity is None:
        return None
    known = KNOWN_COLUMNS[seen.quantity]
    if draft.source and f'to = "meta.{seen.quantity}"' not in "\n".join(draft.lines):
        draft.set("quantity", seen.quantity, known.title)
    chosen, why, question = decide_unit(seen, known)
    if question:
        choices = [
            (f"unit = {toml(u.name)}", _support(seen, u.name))
            for u in known.units
            if seen.fractions or u.name != "Snellen"
        ]
        draft.ask(
            "unit", question, [*choices, ('unit_column = "..."', "when another column says the unit of each row")]
        )
        return None
    draft.set("unit", chosen, why)
    unit = known.unit_named(chosen or "")
    if unit is not None and seen.numbers:
        inside = seen.plausible[unit.name]
        draft.set("range", [unit.low, unit.high], f"{inside} of {counted(seen.numbers, 'number')} inside")
        if seen.outside:
            shown = ", ".join(f"{x:g}" for x in sorted(seen.outside)[:3] + sorted(seen.outside)[3:][-3:])
            draft.say(f"outside and rejected, unless the range is wrong: {shown}")
    if unit is not None and unit.name != known.unit:
        draft.say(f"values are converted to {known.unit}; each record says so")
    return chosen


def _support(seen: ColumnEvidence, unit: str) -> str:
    return f"{seen.plausible[unit]} of {seen.numbers} numbers are plausible, {seen.only[unit]} in this unit only"


def decide_unit(seen: ColumnEvidence, known: KnownColumn) -> tuple[str | None, str, str]:
    """Return the unit with the reason for it, or None with the question to ask."""
    stated = seen.stated_unit
    others = {u: n for u, n in seen.only.items() if n}
    if len(known.units) == 1:
        return known.unit, "the only unit it is recorded in", ""
    if stated is not None:
        against = {u: n for u, n in others.items() if u != stated}
        if against and stated not in ("years", "months", "days"):
            return None, "", f"the header says {stated}, but {_in_words(against)}."
        return stated, "the header says so", ""
    if seen.fractions and seen.quantity == "va":
        if seen.numbers:
            return None, "", f"{seen.fractions} cells are fractions such as 20/40 and {seen.numbers} are plain numbers."
        return "Snellen", f"{seen.share(seen.fractions)} are fractions", ""
    if seen.cell_units and not seen.numbers:
        unit = seen.cell_units.most_common(1)[0][0]
        return unit, f"units stand in the cells: {dict(seen.cell_units)}", ""
    if seen.quantity == "age":
        # Children are recorded in all three units; a column of grown-ups can only be in years.
        if seen.numbers and seen.adults >= 0.5 * seen.numbers and seen.high <= 120:
            return (
                "years",
                f"no unit is stated; {seen.adults} of {seen.numbers} are 18 to 110 and none is above 120",
                "",
            )
        return None, "", "no unit is stated, and the numbers can be years, months or days."
    if len(others) > 1:
        return None, "", f"two units in one column? {_in_words(others)}."
    if len(others) == 1:
        ((unit, count),) = others.items()
        # Cells that fit this unit and another too must not hide a mixture.
        if count >= 0.5 * seen.numbers and seen.plausible[unit] >= 0.9 * seen.numbers:
            return (
                unit,
                f"no unit is stated; {count} of {seen.numbers} numbers are usual only in it, none only in another",
                "",
            )
    return None, "", "no unit is stated, and the numbers fit several or none."


def _in_words(counts: dict[str, int]) -> str:
    return " and ".join(
        f"{counted(n, 'number')} {'is' if n == 1 else 'are'} usual only in {u}" for u, n in counts.items()
    )


def _codes(draft: Draft, seen: ColumnEvidence, unit: str | None) -> None:
    known = KNOWN_COLUMNS[seen.quantity].unit_named(unit) if seen.quantity and unit else None
    found = {c: n for c, n in sorted(seen.codes.items()) if _is_suspicious(c, n, seen, known)}
    if not found:
        return
    shown = ", ".join(f"{c} ({counted(n, 'cell')})" for c, n in found.items())
    others = f"{seen.low:g} to {seen.high:g}" if seen.low <= seen.high else "none"
    draft.ask(
        "missing",
        f"{shown} may stand for a missing value; other numbers are {others}.",
        [(f"missing = {toml([str(c) for c in found])}", "they are codes"), ("missing = []", "they are values")],
    )


def _is_suspicious(code: int, count: int, seen: ColumnEvidence, unit: Any) -> bool:
    if unit is not None and not unit.low <= code <= unit.high:
        return True
    if seen.low > seen.high:
        return False
    if code < 0:
        return seen.low >= 0 or code < 3 * seen.low
    if code == 0:
        return unit is not None and unit.low > 0
    return code >= 88 and (code >= 2 * seen.high or (count >= 3 and code > seen.high))


def date_lines(draft: Draft, seen: ColumnEvidence) -> None:
    """Write the date format of a column, or ask for it."""
    draft.set("type", "date", f"{seen.share(seen.date_cells + seen.typed_dates)} look like dates")
    full = [f for f, n in seen.formats.items() if n == seen.date_cells]
    if seen.short_years:
        draft.ask(
            "format",
            f"{seen.short_years} years have two digits; the century is not known.",
            [("drop = true", "or export it again with four digits")],
        )
    elif seen.typed_dates and not seen.date_cells:
        draft.set("format", "iso", "the file stores dates, not text")
    elif len(full) == 1:
        draft.set(
            "format", full[0], f"{seen.formats[full[0]]} of {seen.date_cells} cells; no other format reads them all"
        )
    elif full:
        example = next((w for w in seen.words if _reads_twice(w)), "")
        draft.ask(
            "format",
            f"every cell reads in {len(full)} ways, as {example!r}; nothing in the column says which.",
            [(f"format = {toml(f)}", "") for f in sorted(full)],
        )
    else:
        counts = ", ".join(f"{n} in {f}" for f, n in seen.formats.most_common(3))
        draft.ask(
            "format",
            f"no format reads all {seen.date_cells} cells ({counts}); two orders are mixed.",
            [(f"format = {toml(f)}", f"{n} cells; the others are rejected") for f, n in seen.formats.most_common(3)],
        )


def _reads_twice(text: str) -> bool:
    from .dates import formats_of

    return len(formats_of(text)) > 1


def serial_lines(draft: Draft, seen: ColumnEvidence, system: str | None) -> None:
    """Ask for the date system of serial numbers, with what they would mean."""
    draft.set("type", "date", f"{seen.share(seen.numbers)} are whole numbers of the size of spreadsheet days")
    day = int(seen.high)
    first, second = serial_day(day), serial_day(day, is_1904=True)
    hint = f" The workbook says {system}." if system else ""
    draft.ask(
        "format",
        f"serial numbers count from 1900 or from 1904.{hint}",
        [('format = "excel"', f"{day} is {first}"), ('format = "excel1904"', f"{day} is {second}")],
    )
