"""Dates of tables: one declared format per column, serial numbers of spreadsheets, and what a column of dates can be."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta

from ...core.errors import InvalidInput

#: Formats that are tried on a column. Two-digit years are not among them: the century would be a guess.
FORMATS = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%Y年%m月%d日",
    "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%Y", "%m.%d.%Y",
    "%d %b %Y", "%d-%b-%Y", "%b %d, %Y",
    "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d %H:%M:%S", "%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M",
)  # fmt: skip
#: Serial day numbers of spreadsheets, by their date system.
SERIALS = ("excel", "excel1904")
_LOOKS_LIKE = re.compile(
    r"(\d{4}[-/.年]\d{1,2}[-/.月]\d{1,2}日?|\d{1,2}[-/.]\d{1,2}[-/.]\d{4})([ T]\d{1,2}:\d{2}(:\d{2})?)?|\d{8}"
    r"|\d{1,2}[ -][A-Za-z]{3}[ -]\d{4}|[A-Za-z]{3} \d{1,2}, \d{4}"
)
_SHORT_YEAR = re.compile(r"\d{1,2}[-/.]\d{1,2}[-/.]\d{2}")


def looks_like_date(text: str) -> bool:
    """Return whether a cell has the outline of a date with a four-digit year.

    Example:
        >>> looks_like_date("25/12/1950"), looks_like_date("1950年3月4日"), looks_like_date("14.5")
        (True, True, False)
    """
    return _LOOKS_LIKE.fullmatch(text.strip()) is not None


def has_short_year(text: str) -> bool:
    """Return whether a cell is a date whose year has two digits."""
    return _SHORT_YEAR.fullmatch(text.strip()) is not None


def formats_of(text: str) -> frozenset[str]:
    """Return the formats a cell can be read in.

    Example:
        >>> sorted(formats_of("03/04/1950")), sorted(formats_of("25/12/1950"))
        (['%d/%m/%Y', '%m/%d/%Y'], ['%d/%m/%Y'])
    """
    found = set()
    for layout in FORMATS:
        try:
            datetime.strptime(text.strip(), layout)
        except ValueError:
            continue
        # strptime reads "195034" as a date of eight digits.
        if layout != "%Y%m%d" or len(text.strip()) == 8:
            found.add(layout)
    return frozenset(found)


def parse_date(text: str, layout: str) -> date:
    """Return the day a cell names in its declared format.

    Args:
        text: The cell.
        layout: A format of `strptime` with %Y, "iso", "excel" or "excel1904".

    Raises:
        InvalidInput: `table.date`.

    Example:
        >>> parse_date("03/04/1950", "%d/%m/%Y"), parse_date("18356", "excel")
        (datetime.date(1950, 4, 3), datetime.date(1950, 4, 3))
    """
    cell = text.strip()
    try:
        if layout in SERIALS:
            return serial_day(float(cell), is_1904=layout == "excel1904")
        if layout == "iso":
            return datetime.fromisoformat(cell).date()
        if layout == "%Y%m%d" and len(cell) != 8:
            raise ValueError("not eight digits")
        return datetime.strptime(cell, layout).date()
    except ValueError as error:
        raise InvalidInput(
            f"{cell[:30]!r} is no date in the format {layout!r}.",
            code="table.date",
            hint="A column has one date format; correct the cell or the schema.",
        ) from error


def check_layout(layout: str) -> None:
    """Refuse a date format that leaves something to guess."""
    if layout in ("iso", *SERIALS):
        return
    if "%y" in layout or "%Y" not in layout or not ("%m" in layout or "%b" in layout) or "%d" not in layout:
        raise InvalidInput(
            f"the date format {layout!r} does not name a day, a month and a year of four digits.",
            code="schema.value",
            hint='Write for example "%d/%m/%Y", "iso", or "excel" for serial numbers.',
        )


def serial_day(serial: float, *, is_1904: bool = False) -> date:
    """Return the day of a spreadsheet serial number.

    Raises:
        ValueError: Before the first day, or the 29th of February 1900, which never was.

    Example:
        >>> serial_day(60.5 + 0.5), serial_day(59), serial_day(0, is_1904=True)
        (datetime.date(1900, 3, 1), datetime.date(1900, 2, 28), datetime.date(1904, 1, 1))
    """
    day = int(serial)
    if not 0 <= serial < 2_958_466:
        raise ValueError(f"{serial:g} is no serial day")
    if is_1904:
        return date(1904, 1, 1) + timedelta(days=day)
    if day == 60 or day < 1:
        raise ValueError(f"the serial day {day} does not exist in the 1900 system")
    return date(1899, 12, 30 if day > 60 else 31) + timedelta(days=day)
