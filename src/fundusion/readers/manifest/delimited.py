"""Delimited text and JSON lines -> rows. A row that is damaged is an error in its place; the rows after it are read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from ...core.errors import FundusionError, InvalidInput
from .encoding import open_text

#: Delimiters that are told apart, in words for notes.
DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
#: Rows that are looked at to find the delimiter.
_SAMPLE = 200
#: A cell longer than this is a quote that was never closed.
MAX_CELL = 1_000_000

Row = Mapping[str, Any] | FundusionError
Rows = Iterator[tuple[int, Row]]


def find_delimiter(head: str, name: str, *, expected: str | None = None) -> str:
    """Return the delimiter the first lines are written with.

    Args:
        head: Text from the start of the table.
        name: File name for messages.
        expected: What the suffix promises; taken when the header agrees.

    Raises:
        InvalidInput: `table.delimiter`: two delimiters divide the table equally well.

    Example:
        >>> find_delimiter("id;iop\\n1;14,5\\n2;15,0\\n", "t.csv")
        ';'
    """
    counts = {d: _widths(head, d) for d in DELIMITERS}
    able = {d: w for d, w in counts.items() if w and w[0] > 1}
    if not able:
        return expected or ","
    if expected in able:
        return expected
    even = [d for d, w in able.items() if len(set(w)) == 1]
    if len(able) == 1:
        return next(iter(able))
    if len(even) == 1:
        return even[0]
    tried = ", ".join(f"{DELIMITERS[d]} gives {able[d][0]} columns" for d in (even or able))
    raise InvalidInput(
        f"the delimiter of {name!r} is not certain: {tried}.",
        code="table.delimiter",
        hint='State it, for example delimiter = ";".',
    )


def _widths(head: str, delimiter: str) -> list[int]:
    widths: list[int] = []
    try:
        for cells in csv.reader(io.StringIO(head, newline=""), delimiter=delimiter):
            if any(c.strip() for c in cells):
                widths.append(len(cells))
    except csv.Error:
        pass
    # The last row of the sample may be cut.
    return widths[:-1] if len(widths) > 2 and not head.endswith(("\n", "\r")) else widths


def open_delimited(
    path: Path, *, encoding: str | None = None, delimiter: str | None = None, longest_cell: int = MAX_CELL
) -> tuple[list[str], Rows, dict[str, str]]:
    """Return the header, the rows and the facts (encoding, delimiter) of a delimited text."""
    if delimiter is not None and delimiter not in DELIMITERS:
        raise InvalidInput(
            f"the delimiter {delimiter!r} is not known.", code="table.delimiter", hint=f"Use one of {list(DELIMITERS)}."
        )
    stream, codec = open_text(path, encoding)
    skipped = 0
    head = "".join(line for _, line in zip(range(_SAMPLE), stream, strict=False))
    first = head.split("\n", 1)[0].strip("\ufeff\r ")
    if first.startswith("sep=") and len(first) == 5:
        # Excel writes its delimiter into a first line of this form.
        delimiter, skipped = delimiter or first[4], 1
        head = head.split("\n", 1)[1] if "\n" in head else ""
    found = delimiter or find_delimiter(head, path.name, expected="\t" if path.suffix.lower() == ".tsv" else None)
    stream.seek(0)
    for _ in range(skipped):
        stream.readline()
    csv.field_size_limit(longest_cell)
    reader = csv.reader(stream, delimiter=found, strict=True)
    try:
        header = [h.strip().lstrip("\ufeff") for h in next(reader, [])]
    except csv.Error as error:
        stream.close()
        raise InvalidInput(f"the header of {path.name!r} cannot be read: {error}.", code="manifest.damaged") from error
    header = _named(header, path.name)
    return (
        header,
        _delimited_rows(reader, header, stream, (path.name, skipped)),
        {"encoding": codec, "delimiter": found},
    )


def _named(header: list[str], name: str) -> list[str]:
    """Return the header without empty names at its end; others are refused."""
    while header and not header[-1]:
        header = header[:-1]
    check_header(header, name)
    return header


def check_header(header: list[str], name: str) -> None:
    """Refuse a header with an empty or repeated name."""
    if "" in header:
        raise InvalidInput(
            f"column {header.index('') + 1} of {name!r} has no name.",
            code="manifest.columns",
            hint="Name it, or remove it.",
        )
    twice = sorted({h for h in header if header.count(h) > 1})
    if twice:
        raise InvalidInput(f"{name!r} names a column twice: {twice}.", code="manifest.columns")


def _delimited_rows(reader: Any, header: list[str], stream: TextIO, origin: tuple[str, int]) -> Rows:
    width, (name, skipped) = len(header), origin
    with stream:
        while True:
            line = skipped + reader.line_num + 1
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                message = f"line {line} of {name!r}: {error}."
                if "unexpected end of data" in str(error):
                    message = f"a quote that opens at or after line {line} of {name!r} is never closed."
                yield line, InvalidInput(message, code="manifest.damaged", hint="Check the quotes of this row.")
                continue
            if len(cells) != width:
                if not any(c.strip() for c in cells):
                    continue
                extra = cells[width:]
                if len(cells) > width and not any(c.strip() for c in extra):
                    cells = cells[:width]
                else:
                    yield (
                        line,
                        InvalidInput(
                            f"line {line} of {name!r} has {len(cells)} cells, the header {width}.",
                            code="manifest.ragged",
                            hint="A cell that contains the delimiter needs quotes.",
                        ),
                    )
                    continue
            if not any(cells) or not any(c.strip() for c in cells):
                continue
            yield line, dict(zip(header, cells, strict=True))


class _Repeated(ValueError):
    """An object names a key twice."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [k for k, _ in pairs]
        raise _Repeated(f"the key {next(n for n in names if names.count(n) > 1)!r} stands there twice")
    return found


def _constant(text: str) -> float | None:
    if text == "NaN":
        return None
    raise _Repeated(f"{text} is no value")


def open_json_lines(path: Path, *, encoding: str | None = None) -> tuple[Rows, dict[str, str]]:
    """Return the rows and the facts of JSON lines; objects under `meta` and `label` become dotted columns."""
    stream, codec = open_text(path, encoding)
    return _json_rows(stream, path.name), {"encoding": codec}


def _json_rows(stream: TextIO, name: str) -> Rows:
    with stream:
        for number, line in enumerate(stream, 1):
            if not line.strip("\ufeff \t\r\n"):
                continue
            try:
                value = json.loads(line, object_pairs_hook=_pairs, parse_constant=_constant)
                if not isinstance(value, dict):
                    raise _Repeated("it is no object")
                yield number, flatten(value)
            except (ValueError, RecursionError) as error:
                why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
                yield (
                    number,
                    InvalidInput(f"line {number} of {name!r} is no usable JSON: {why}.", code="manifest.damaged"),
                )


def flatten(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object with the content of `meta` and `label` as dotted columns."""
    flat: dict[str, Any] = {}
    for key, cell in value.items():
        if key in ("meta", "label") and isinstance(cell, dict):
            for inner, content in cell.items():
                if key == "label" and isinstance(content, dict):
                    flat.update({f"label.{inner}.{k}": v for k, v in content.items()})
                else:
                    flat[f"{key}.{inner}"] = content
        elif isinstance(cell, dict):
            raise _Repeated(f"the key {key!r} holds an object; only `meta` and `label` may")
        else:
            flat[key.strip()] = cell
    return flat
