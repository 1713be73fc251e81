"""XLSX -> rows, cell by cell as stored. Converters round long numbers, drop error cells and lose merged ranges silently.

Layout of the parts: ECMA-376 part 1, SpreadsheetML.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from posixpath import join, normpath
from typing import IO, Any
from xml.etree.ElementTree import Element, ParseError, iterparse

from ...core.errors import FundusionError, InvalidInput, ReadError
from .dates import serial_day
from .delimited import Rows, check_header

#: An unpacked part beyond this is a bomb or belongs into another format.
MAX_PART = 4 << 30
MAX_STRINGS = 512 << 20
_MERGE = re.compile(rb"<(?:\w+:)?mergeCell\s[^>]*?ref=\"([A-Z]+\d+:[A-Z]+\d+)\"")
_DATE_IDS = frozenset((*range(14, 23), *range(27, 37), *range(45, 48), *range(50, 59)))
_PLACE = re.compile(r"([A-Z]+)(\d+)")


#: What a damaged archive or part raises on its way through the standard library.
_DAMAGE = (
    zipfile.BadZipFile, zlib.error, struct.error, ParseError, EOFError, LookupError, ValueError, OverflowError, RuntimeError,
    NotImplementedError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Book:
    archive: zipfile.ZipFile
    name: str
    sheets: dict[str, str]
    strings: list[str]
    formats: list[str]
    is_1904: bool


def open_sheet(
    path: Path, *, sheet: str | None = None, merged: str = "refuse"
) -> tuple[list[str], Rows, dict[str, str], list[str]]:
    """Return header, rows, facts and notes of one sheet.

    Args:
        path: XLSX file.
        sheet: Name of the sheet; None takes the only one that is not empty.
        merged: "refuse", or "fill" to give every cell of a merged range the value of its first.

    Raises:
        InvalidInput: Several sheets hold cells (`table.sheet`), or merged cells with "refuse" (`table.merged`).
        ReadError: Not an XLSX file.
    """
    if merged not in ("refuse", "fill"):
        raise InvalidInput(f"merged is {merged!r}; use 'refuse' or 'fill'.", code="schema.value")
    try:
        archive = zipfile.ZipFile(path)
        book = _open_book(archive, path.name)
        chosen = _choose(book, sheet)
        ranges = _merged_ranges(book, chosen)
        lines = _lines(book, chosen, [b for _, b in ranges] if merged == "fill" else [])
        _, first = next(lines, (0, {}))
    except _DAMAGE as error:
        if isinstance(error, FundusionError):
            raise
        raise ReadError(f"{path.name!r} cannot be read as .xlsx: {error}.", code="manifest.damaged") from error
    notes = []
    if ranges and merged == "refuse":
        shown = ", ".join(r for r, _ in ranges[:5])
        raise InvalidInput(
            f"sheet {chosen!r} of {path.name!r} has {len(ranges)} merged ranges ({shown}); all but their first cell read as empty.",
            code="table.merged",
            hint='Unmerge them, or say merged = "fill" to repeat the first cell.',
        )
    if ranges:
        notes.append(f"{len(ranges)} merged ranges of sheet {chosen!r} were filled with their first cell")
    last = max((c for c, v in first.items() if str(v or "").strip()), default=0)
    header = ["" if first.get(c) is None else str(first[c]).strip() for c in range(1, last + 1)]
    check_header(header, path.name)
    facts = {"sheet": chosen, "dates": "excel1904" if book.is_1904 else "excel"}
    return header, _rows(lines, header, path.name, archive), facts, notes


def _rows(lines: Iterator[tuple[int, dict[int, Any]]], header: list[str], name: str, archive: zipfile.ZipFile) -> Rows:
    with archive:
        while True:
            try:
                number, cells = next(lines)
            except StopIteration:
                return
            except _DAMAGE as error:
                if isinstance(error, FundusionError):
                    raise
                raise ReadError(f"{name!r} is damaged: {error}.", code="manifest.damaged") from error
            known = {c: v for c, v in cells.items() if v is not None and v != ""}
            if not known:
                continue
            broken = next((v for v in known.values() if isinstance(v, FundusionError)), None)
            beyond = [c for c in known if c > len(header)]
            if broken is not None:
                yield number, broken
            elif beyond:
                yield (
                    number,
                    InvalidInput(
                        f"row {number} of {name!r} has a cell in column {beyond[0]}, beyond the header of {len(header)}.",
                        code="manifest.ragged",
                        hint="Name the column, or clear the cell.",
                    ),
                )
            else:
                yield number, {h: known.get(i) for i, h in enumerate(header, 1)}


def _open_book(archive: zipfile.ZipFile, name: str) -> _Book:
    for part in archive.infolist():
        limit = MAX_STRINGS if part.filename.endswith("sharedStrings.xml") else MAX_PART
        if part.file_size > limit:
            raise ReadError(
                f"{name!r} unpacks to {part.file_size >> 20} MB in one part.",
                code="table.too_large",
                hint="Save it as CSV or Parquet.",
            )
    links = {
        e.get("Type", "").rsplit("/", 1)[-1]: e.get("Target", "")
        for e in _elements(archive, "_rels/.rels", "Relationship")
    }
    main = links.get("officeDocument", "xl/workbook.xml").lstrip("/")
    folder = main.rpartition("/")[0]
    targets, kinds = {}, {}
    for e in _elements(archive, f"{folder}/_rels/{main.rpartition('/')[2]}.rels", "Relationship"):
        target = e.get("Target", "")
        place = target.lstrip("/") if target.startswith("/") else normpath(join(folder, target))
        targets[e.get("Id", "")] = place
        kinds.setdefault(e.get("Type", "").rsplit("/", 1)[-1], place)
    sheets, is_1904 = {}, False
    for e in _elements(archive, main, "sheet", "workbookPr"):
        if _tag(e) == "workbookPr":
            is_1904 = e.get("date1904", "0") in ("1", "true")
        elif e.get("state", "visible") == "visible":
            key = next((v for k, v in e.attrib.items() if k.endswith("}id")), "")
            sheets[e.get("name", "")] = targets.get(key, "")
    strings = list(_shared_strings(archive, kinds.get("sharedStrings", "")))
    return _Book(archive, name, sheets, strings, _formats(archive, kinds.get("styles", "")), is_1904)


def _elements(archive: zipfile.ZipFile, part: str, *tags: str) -> Iterator[Element]:
    with archive.open(part) as stream:
        for _, element in iterparse(_no_entities(stream, part), events=("end",)):
            if _tag(element) in tags:
                yield element


def _no_entities(stream: IO[bytes], part: str) -> IO[bytes]:
    """Refuse a part that declares entities; no spreadsheet program writes any."""
    head = stream.read(4096)
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise ReadError(f"{part!r} declares entities.", code="manifest.damaged")
    stream.seek(0)
    return stream


def _tag(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _shared_strings(archive: zipfile.ZipFile, part: str) -> Iterator[str]:
    if part not in archive.namelist():
        return
    for element in _elements(archive, part, "si"):
        yield _text_of(element)
        element.clear()


def _text_of(element: Element) -> str:
    """Return the text of a plain or rich string, without the phonetic reading beside it."""
    parts = []
    for child in element:
        if _tag(child) == "t":
            parts.append(child.text or "")
        elif _tag(child) == "r":
            parts += [t.text or "" for t in child if _tag(t) == "t"]
    return "".join(parts)


def _formats(archive: zipfile.ZipFile, part: str) -> list[str]:
    """Return the number format of each cell style; a date format of the standard is "date"."""
    if part not in archive.namelist():
        return []
    codes: dict[int, str] = {}
    styles: list[int] = []
    for element in _elements(archive, part, "numFmt", "cellXfs"):
        if _tag(element) == "numFmt":
            codes[int(element.get("numFmtId", "0"))] = element.get("formatCode", "")
        else:
            styles = [int(e.get("numFmtId", "0")) for e in element if _tag(e) == "xf"]
    return ["date" if s in _DATE_IDS and s not in codes else codes.get(s, "") for s in styles]


def _is_date(layout: str) -> bool:
    """Return whether a number format shows a date or a time.

    Example:
        >>> _is_date("yyyy/mm/dd"), _is_date('0.0 "mmHg"'), _is_date("General")
        (True, False, False)
    """
    bare = re.sub(r'"[^"]*"|\\.|\[(?![hms]+\])[^\]]*\]|General', "", layout)
    return layout == "date" or any(c in bare.lower() for c in "ymdhs")


def _choose(book: _Book, sheet: str | None) -> str:
    if sheet is not None:
        if sheet not in book.sheets:
            raise InvalidInput(
                f"{book.name!r} has no sheet {sheet!r}.", code="table.sheet", hint=f"It has {list(book.sheets)}."
            )
        return sheet
    filled = [s for s in book.sheets if next(_lines(book, s, []), None) is not None]
    if len(filled) > 1:
        raise InvalidInput(
            f"{book.name!r} has several sheets: {filled}.",
            code="table.sheet",
            hint='Name one, for example sheet = "Visits".',
        )
    return (filled or list(book.sheets))[0]


def _merged_ranges(book: _Book, sheet: str) -> list[tuple[str, tuple[int, int, int, int]]]:
    found = []
    with book.archive.open(book.sheets[sheet]) as stream:
        rest = b""
        while block := stream.read(1 << 20):
            data = rest + block
            for match in _MERGE.finditer(data):
                text = match[1].decode()
                (a, b), (c, d) = (_PLACE.findall(corner)[0] for corner in text.split(":"))
                found.append((text, (int(b), _column(a), int(d), _column(c))))
            # A tag may be cut by the end of a block; what was matched is not matched again.
            rest = data[max(data.rfind(b"<"), 0) :] if b"<" in data[-500:] else b""
    return list(dict.fromkeys(found))


def _column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number


def _lines(book: _Book, sheet: str, ranges: list[tuple[int, int, int, int]]) -> Iterator[tuple[int, dict[int, Any]]]:
    """Yield the number and the cells by column of each row that is not empty."""
    held: dict[tuple[int, int], Any] = {}
    with book.archive.open(book.sheets[sheet]) as stream:
        number = 0
        container: Element | None = None
        for event, element in iterparse(_no_entities(stream, sheet), events=("start", "end")):
            tag = _tag(element)
            if event == "start":
                if tag == "sheetData":
                    container = element
                continue
            if tag != "row":
                continue
            number = int(element.get("r", number + 1))
            cells: dict[int, Any] = {}
            for cell in element:
                match = _PLACE.fullmatch(cell.get("r", ""))
                place = _column(match[1]) if match else max(cells, default=0) + 1
                cells[place] = _value(book, cell, number)
            for top, left, bottom, right in ranges:
                if top <= number <= bottom:
                    if number == top:
                        held[top, left] = cells.get(left)
                    cells.update(dict.fromkeys(range(left, right + 1), held.get((top, left))))
            if container is not None:
                container.clear()
            if any(v is not None and v != "" for v in cells.values()):
                yield number, cells


def _value(book: _Book, cell: Element, row: int) -> Any:
    kind = cell.get("t", "n")
    if kind == "inlineStr":
        return next((_text_of(e) for e in cell if _tag(e) == "is"), None)
    text = next((e.text for e in cell if _tag(e) == "v"), None)
    if text is None:
        if any(_tag(e) == "f" for e in cell):
            return InvalidInput(
                f"cell {cell.get('r')} holds a formula without a stored value.",
                code="table.formula",
                hint="Open the file in a spreadsheet program and save it, or paste the values.",
            )
        return None
    if kind == "s":
        return book.strings[int(text)]
    if kind in ("str", "e"):
        return text
    if kind == "b":
        return text == "1"
    if kind == "d":
        return (
            datetime.fromisoformat(text.rstrip("Z")).date()
            if "T" not in text
            else datetime.fromisoformat(text.rstrip("Z"))
        )
    style = int(cell.get("s", "0"))
    layout = book.formats[style] if style < len(book.formats) else ""
    return _number(text, layout, book, f"cell {cell.get('r', row)}")


def _number(text: str, layout: str, book: _Book, where: str) -> Any:
    if _is_date(layout):
        return _moment(float(text), book.is_1904, where)
    number = float(text)
    if "%" in re.sub(r'"[^"]*"|\\.', "", layout):
        # What is shown as 7.2% is stored as 0.072; the cell is what people typed and see.
        return f"{number * 100:.12g}%"
    if not number.is_integer():
        return number
    if abs(number) < 1e15 and re.fullmatch(r"0{2,}", layout):
        # A number shown as 00123 is that to whoever typed and reads it.
        return f"{int(number):0{len(layout)}d}"
    # Spreadsheets keep fifteen digits; a longer whole number stays a float, so that it cannot pass as an identifier.
    return int(number) if abs(number) < 1e15 else number


def _moment(serial: float, is_1904: bool, where: str) -> date | datetime | time | InvalidInput:
    try:
        part = serial - int(serial)
        if serial < 1 and not is_1904:
            return (datetime.min + timedelta(days=part)).time()
        day = serial_day(serial, is_1904=is_1904)
    except ValueError as error:
        return InvalidInput(f"{where} is formatted as a date, but {error}.", code="table.date")
    if part < 1e-9:
        return day
    return datetime(day.year, day.month, day.day) + timedelta(seconds=round(part * 86_400))
