"""Label tables as publishers ship them: marks, title lines, stray spaces, empty columns; every cell stays text."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import ReadError
from ..readers.manifest import decode_text

_HEAD = 12
_MISSING = frozenset({"", "nan", "na", "n/a", "none", "null"})


def name_of(header: object) -> str:
    """Return the form in which column names are compared: letters and digits, lower case, single spaces.

    Example:
        >>> name_of("\ufeffRisk of macular edema "), name_of("X- Coordinate"), name_of("image_id"), name_of("31-0.0")
        ('risk of macular edema', 'x coordinate', 'image id', '31 0 0')
    """
    # Folding may set an accent free, which is no letter: it comes first.
    folded = str(header if header is not None else "").replace("\ufeff", "").casefold()
    return re.sub(r"[\W_]+", " ", folded).strip()


class Row(Mapping[str, str]):
    """Cells of one line by compared column name; a column that is not there, or empty, reads as ""."""

    def __init__(self, cells: Mapping[str, str], origin: str, *, too_long: bool = False) -> None:
        self._cells = cells
        self.origin = origin
        #: Whether the line has more filled cells than the header: its columns may be shifted.
        self.too_long = too_long

    def __getitem__(self, name: str) -> str:
        return self._cells.get(name_of(name), "")

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def __contains__(self, name: object) -> bool:
        return name_of(name) in self._cells

    def known(self, name: str) -> str | None:
        """Return a cell, or None when it holds nothing or a word for nothing."""
        text = self[name]
        return None if text.casefold() in _MISSING else text

    def number(self, name: str) -> float | None:
        """Return a cell as a number; None when it is empty or no number."""
        return number_of(self[name])


def number_of(text: str) -> float | None:
    """Return the number a cell holds, None when it holds none. A decimal comma is not guessed at.

    Example:
        >>> number_of(" 2.0"), number_of("14,5"), number_of(""), number_of("nan")
        (2.0, None, None, None)
    """
    if not re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", text.strip()):
        return None
    value = float(text)
    return value if math.isfinite(value) else None


def grid(path: Path) -> list[list[str]]:
    """Return the cells of a table as text, header lines included; empty lines are kept so that line numbers hold.

    Raises:
        ReadError: The file cannot be read as a table.
    """
    suffix = path.suffix.casefold()
    try:
        if suffix == ".xlsx":
            return _workbook(path)
        text = decode_text(path.read_bytes(), path.name)
        first = "\n".join(text.splitlines()[:_HEAD])
        tabbed = suffix == ".tsv" or (suffix == ".txt" and "\t" in first)
        separator = "\t" if tabbed else max(",;\t", key=first.count)
        return [[_cell(c) for c in line] for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator)]
    except (OSError, csv.Error) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"{path.name!r} cannot be read as a table: {error}.", code="dataset.table") from error


def _workbook(path: Path) -> list[list[str]]:
    import polars

    try:
        # Without inference a cell keeps the digits that are written in it; lines are kept so that their numbers hold.
        frame = polars.read_excel(
            path,
            has_header=False,
            infer_schema_length=0,
            raise_if_empty=False,
            drop_empty_rows=False,
            drop_empty_cols=False,
        )
    except Exception as error:
        raise ReadError(f"{path.name!r} cannot be read as a workbook: {error}.", code="dataset.table") from error
    return [[_cell(c) for c in line] for line in frame.iter_rows()]


def _cell(value: Any) -> str:
    return "" if value is None else str(value).replace("\ufeff", "").strip()


def rows(path: Path, *, needs: Sequence[str | tuple[str, ...]]) -> Iterator[Row]:
    """Yield the lines of a table that hold anything.

    Args:
        path: CSV, TSV or XLSX, with or without title lines above the header.
        needs: Columns by which the header line is found; of a tuple one is enough.

    Raises:
        ReadError: `dataset.table`: no line is a header with these columns.
    """
    lines = grid(path)
    start = _header(lines, needs)
    if start is None:
        raise ReadError(
            f"{path.name!r} has no header with {needs}.",
            code="dataset.table",
            hint="The table is another one, or was changed after the download.",
        )
    names = [name_of(c) for c in lines[start]]
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if any(line):
            cells: dict[str, str] = {}
            for name, cell in zip(names, line, strict=False):
                if name and not cells.get(name):
                    cells[name] = cell
            yield Row(cells, f"{path.name}:{number}", too_long=any(line[len(names) :]))


def has_columns(path: Path | None, *needs: str | tuple[str, ...]) -> bool:
    """Return whether a table is there and has these columns; of CSV only the first lines are read."""
    if path is None:
        return False
    try:
        if path.suffix.casefold() == ".xlsx":
            return _header(grid(path), needs) is not None
        with path.open("rb") as stream:
            head = stream.read(65536)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = head[: len(head) // 2 * 2].decode("utf-16", errors="ignore")
        else:
            text = head.decode("utf-8-sig", errors="replace")
        separator = max(",;\t", key="\n".join(text.splitlines()[:_HEAD]).count)
        return _header(list(csv.reader(io.StringIO(text), delimiter=separator)), needs) is not None
    except (OSError, csv.Error):
        return False


def _header(lines: Sequence[Sequence[str]], needs: Sequence[str | tuple[str, ...]]) -> int | None:
    wanted = [{name_of(n) for n in ((need,) if isinstance(need, str) else need)} for need in needs]
    for number, line in enumerate(lines[:_HEAD]):
        names = {name_of(c) for c in line}
        if all(names & need for need in wanted):
            return number
    return None
