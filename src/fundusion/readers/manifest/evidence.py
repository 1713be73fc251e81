"""What the cells of a column are, counted over a whole table in memory that does not grow with it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import lru_cache
from pathlib import PurePosixPath
from typing import Any

from ...core.acuity import low_vision_word
from ...core.errors import InvalidInput
from ...core.study import is_missing
from ...core.units import KNOWN_COLUMNS, recognise, recognise_within
from ...core.vocabulary import parse_laterality
from .cells import is_missing_word, text_of
from .dates import formats_of, has_short_year, looks_like_date
from .tally import only_unit

#: Different words that are kept of a column.
MOST_WORDS = 60
#: Identifiers that are remembered to see whether they repeat.
_MOST_IDS = 500_000
#: Numbers that tables use for "not known". Each of them can be a value, so that it is asked for.
CODES = (-9999, -999, -99, -9, -1, 0, 88, 99, 888, 999, 8888, 9999)
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".dcm", ".ppm", ".gif", ".webp"}
_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?\d+,\d+")
_SIGN = re.compile(r"[<>≤≥＜＞]=?\s*")
_PRESSURE = re.compile(r"\d{2,3}\s*/\s*\d{2,3}")
_FRACTION = re.compile(r"(20|6|5|4)\s*/\s*\d+(\.\d+)?")
_WITH_UNIT = re.compile(r"([+-]?\d+(?:[.,]\d+)?)\s*([^\d\s.,/:-][^\d]*[^\s]*)")


@dataclass(slots=True)
class ColumnEvidence:
    """Counts over the cells of one column."""

    name: str
    cells: int = 0
    empty: int = 0
    missing: Counter[str] = field(default_factory=Counter)
    words: Counter[str] = field(default_factory=Counter)
    has_more_words: bool = False
    longest: int = 0
    #: Notations: plain, decimal comma (14,5), either (1,450), grouped (1,234.5), point groups (1.234,5), point thousand (1.450).
    notation: Counter[str] = field(default_factory=Counter)
    numbers: int = 0
    whole: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    codes: Counter[int] = field(default_factory=Counter)
    adults: int = 0
    only: Counter[str] = field(default_factory=Counter)
    plausible: Counter[str] = field(default_factory=Counter)
    cell_units: Counter[str] = field(default_factory=Counter)
    bounds: Counter[str] = field(default_factory=Counter)
    pressures: int = 0
    fractions: int = 0
    low_vision: Counter[str] = field(default_factory=Counter)
    typed_dates: int = 0
    date_cells: int = 0
    short_years: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    eyes: int = 0
    files: int = 0
    odd: Counter[str] = field(default_factory=Counter)
    ids: set[int] = field(default_factory=set)
    repeated: int = 0

    quantity: str | None = None
    stated_unit: str | None = None
    #: Whether the whole header names the quantity, or only a part of it ("perkins_iop").
    is_named: bool = False
    outside: Counter[float] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.quantity, self.stated_unit = recognise(self.name)
        self.is_named = self.quantity is not None
        if self.quantity is None:
            self.quantity = recognise_within(self.name)

    @property
    def known(self) -> int:
        """Cells that hold something."""
        return self.cells - self.empty - sum(self.missing.values())

    def share(self, count: int) -> str:
        """Return "12 of 40 cells"."""
        return f"{count} of {self.known} cells"

    def add(self, value: Any) -> None:
        """Count one cell."""
        self.cells += 1
        text = text_of(value)
        if is_missing(value) or not text:
            self.empty += 1
            return
        if is_missing_word(text):
            self.missing[text] += 1
            return
        self.longest = max(self.longest, len(text))
        self._remember(value, text)
        if isinstance(value, (date, datetime)):
            self.typed_dates += 1
            return
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self.notation["plain"] += 1
            self._number(float(value))
            return
        if not self._as_number(text):
            self._as_other(text)

    def _remember(self, value: Any, text: str) -> None:
        raw = value if isinstance(value, str) else text
        if raw in self.words or len(self.words) < MOST_WORDS:
            self.words[raw] += 1
        else:
            self.has_more_words = True
        if len(self.ids) < _MOST_IDS and _is_identity(self.name):
            key = hash(text)
            self.repeated += key in self.ids
            self.ids.add(key)

    def _as_number(self, text: str) -> bool:
        kind = notation_of(text)
        if kind is not None:
            self.notation[kind] += 1
            self._number(float(_point(text, kind)))
            return not looks_like_date(text) or self._count_date(text)
        sign = _SIGN.match(text)
        if sign is not None and (kind := notation_of(text[sign.end() :])) is not None:
            self.notation[kind] += kind != "plain"
            if text in self.bounds or len(self.bounds) < MOST_WORDS:
                self.bounds[text] += 1
            return True
        if self.quantity is not None and (match := _WITH_UNIT.fullmatch(text)):
            unit = KNOWN_COLUMNS[self.quantity].unit_named(match[2])
            if unit is not None:
                self.cell_units[unit.name] += 1
                return True
        return False

    def _count_date(self, text: str) -> bool:
        self.date_cells += 1
        self.formats.update(_formats(text))
        return True

    def _as_other(self, text: str) -> None:
        if looks_like_date(text):
            self._count_date(text)
        elif has_short_year(text):
            self.short_years += 1
        elif _FRACTION.fullmatch(text):
            self.fractions += 1
        elif _PRESSURE.fullmatch(text):
            self.pressures += 1
        elif self.quantity == "va" and (word := low_vision_word(text)):
            self.low_vision[word] += 1
        elif PurePosixPath(text).suffix.lower() in _IMAGE_SUFFIXES:
            self.files += 1
        elif len(self.odd) < MOST_WORDS or text in self.odd:
            self.odd[text[:40]] += 1
        self.eyes += _is_eye(text)

    def _number(self, number: float) -> None:
        self.numbers += 1
        self.whole += number.is_integer()
        self.adults += 18 <= number <= 110
        if number in CODES:
            self.codes[int(number)] += 1
        else:
            self.low, self.high = min(self.low, number), max(self.high, number)
        if self.quantity is None:
            return
        known = KNOWN_COLUMNS[self.quantity]
        self.only.update(filter(None, [only_unit(known, number)]))
        fitting = [u.name for u in known.units if u.low <= number <= u.high]
        self.plausible.update(fitting)
        if not fitting and (number in self.outside or len(self.outside) < MOST_WORDS):
            self.outside[number] += 1


def notation_of(text: str) -> str | None:
    """Return how a number is written, or None for another text.

    Example:
        >>> [notation_of(t) for t in ("14.5", "14,5", "1,450", "1,234.5", "1.234,5", "1.450", "abc")]
        ['plain', 'comma', 'either', 'comma groups', 'point groups', 'plain or group', None]
    """
    if _PLAIN.fullmatch(text):
        return "plain or group" if re.fullmatch(r"[+-]?[1-9]\d{0,2}\.\d{3}", text) else "plain"
    if re.fullmatch(r"[+-]?[1-9]\d{0,2},\d{3}", text):
        return "either"
    if _COMMA.fullmatch(text):
        return "comma"
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?", text):
        return "comma groups"
    if re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?", text):
        return "point groups"
    return None


def _point(text: str, kind: str) -> str:
    if kind in ("comma", "either"):
        return text.replace(",", ".")
    if kind == "comma groups":
        return text.replace(",", "")
    return text.replace(".", "").replace(",", ".") if kind == "point groups" else text


@lru_cache(maxsize=65_536)
def _formats(text: str) -> frozenset[str]:
    return formats_of(text)


@lru_cache(maxsize=1024)
def _is_eye(text: str) -> bool:
    try:
        return parse_laterality(text) is not None
    except InvalidInput:
        return False


@lru_cache(maxsize=1024)
def _is_identity(name: str) -> bool:
    return re.search(r"id\b|_id|编号|号$|^no\.?$|mrn|patient$|患者$", name.casefold()) is not None


def gather(columns: Mapping[str, ColumnEvidence], row: Mapping[str, Any]) -> None:
    """Count the cells of a row."""
    for name, evidence in columns.items():
        evidence.add(row.get(name))
