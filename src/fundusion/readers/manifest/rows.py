"""Any table -> its columns and rows, streamed; what was found out about the file; notes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...core.errors import FundusionError, InvalidInput, ReadError
from .delimited import MAX_CELL, Rows, flatten, open_delimited, open_json_lines
from .sheets import open_sheet

SUFFIXES = (".csv", ".tsv", ".xlsx", ".parquet", ".jsonl")
#: Rows of a Parquet file that are in memory at a time.
_BATCH = 20_000
#: A damaged Parquet file can make the native reader abort the whole process; one that a child reads to its end is safe to read.
_PROBE = f"""
import sys
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
except ImportError:
    pass
import polars
lazy, start = polars.scan_parquet(sys.argv[1]), 0
while len(lazy.slice(start, {_BATCH}).collect()) == {_BATCH}:
    start += {_BATCH}
"""
_PROBE_SECONDS = 900


@dataclass(frozen=True, slots=True, kw_only=True)
class TableOptions:
    """How a table is written, where it cannot be found out.

    Args:
        encoding: Of text files.
        delimiter: Of delimited files.
        sheet: Name of the sheet of a workbook.
        merged: "refuse" or "fill" for merged cells of a sheet.
        longest_cell: Characters of a delimited cell above which its quote was never closed.
    """

    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None
    merged: str = "refuse"
    longest_cell: int = MAX_CELL


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """An open table.

    Args:
        name: File name.
        columns: Names in order; None where rows name their own (JSON lines).
        rows: Line (or row) number and cells by column, or the error that stands in place of a damaged row.
        facts: Encoding, delimiter, sheet, date system.
        notes: What was changed in reading.
    """

    name: str
    columns: list[str] | None
    rows: Rows
    facts: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def open_table(path: str | Path, options: TableOptions | None = None) -> Table:
    """Return an open table; its rows are read as they are asked for.

    Raises:
        ReadError: No such file, not readable, damaged, or its encoding is not certain.
        InvalidInput: Delimiter or sheet are not certain; the header cannot be used.
    """
    path, options = Path(path), options or TableOptions()
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ReadError(
            f"tables of type {suffix!r} are not read.", code="manifest.type", hint=f"Use one of {', '.join(SUFFIXES)}."
        )
    try:
        if not path.is_file() and path.exists():
            raise ReadError(f"{path.name!r} is no file.", code="manifest.type", hint="Give the table itself.")
        if suffix in (".csv", ".tsv"):
            columns, rows, facts = open_delimited(
                path, encoding=options.encoding, delimiter=options.delimiter, longest_cell=options.longest_cell
            )
            return Table(name=path.name, columns=columns, rows=_guarded(rows, path.name), facts=facts)
        if suffix == ".jsonl":
            rows, facts = open_json_lines(path, encoding=options.encoding)
            return Table(name=path.name, columns=None, rows=_guarded(rows, path.name), facts=facts)
        if suffix == ".xlsx":
            columns, rows, facts, notes = open_sheet(path, sheet=options.sheet, merged=options.merged)
            return Table(name=path.name, columns=columns, rows=_guarded(rows, path.name), facts=facts, notes=notes)
        return _open_parquet(path)
    except FileNotFoundError as error:
        raise ReadError(f"no table {path.name!r}.", code="file.missing", hint="Check the path.") from error
    except FundusionError:
        raise
    except PermissionError as error:
        raise ReadError(f"{path.name!r} may not be read.", code="file.permission") from error
    except OSError as error:
        raise ReadError(f"{path.name!r} cannot be read: {error.strerror}.", code="file.unreadable") from error


def _guarded(rows: Rows, name: str) -> Rows:
    """Yield rows; a file that changes or fails under the reader is an error of the file, not of the program."""
    try:
        yield from rows
    except FundusionError:
        raise
    except UnicodeError as error:
        raise ReadError(
            f"{name!r} changed while it was read: {error.reason if isinstance(error, UnicodeDecodeError) else error}.",
            code="table.encoding",
            hint="Read it again when nothing writes to it.",
        ) from error
    except OSError as error:
        raise ReadError(f"{name!r} cannot be read: {error.strerror}.", code="file.unreadable") from error


def _open_parquet(path: Path) -> Table:
    import polars

    try:
        lazy = polars.scan_parquet(path)
        schema = lazy.collect_schema()
    except FileNotFoundError:
        raise
    except BaseException as error:
        _raise_if_no_damage(error)
        raise ReadError(f"{path.name!r} cannot be read as .parquet: {error}.", code="manifest.damaged") from error
    _survive(path)
    binary = [n for n, kind in schema.items() if kind == polars.Binary]
    if binary:
        raise InvalidInput(
            f"columns {binary} of {path.name!r} hold bytes.", code="table.type", hint="Store text, numbers or dates."
        )
    names = [n.strip() for n in schema.names()]
    nested = any(isinstance(kind, polars.Struct) for kind in schema.values())
    return Table(name=path.name, columns=None if nested else names, rows=_parquet_rows(lazy, path.name, names))


def _survive(path: Path) -> None:
    """Read the file once in a process that may die of it.

    Raises:
        ReadError: It died, failed, or took too long.
    """
    command = [sys.executable, "-I", "-c", _PROBE, str(path.absolute())]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        done = subprocess.run(
            command, env={**os.environ, "POLARS_MAX_THREADS": "1"}, timeout=_PROBE_SECONDS, check=False, **quiet
        )
    except subprocess.TimeoutExpired as error:
        raise ReadError(
            f"{path.name!r} could not be read within {_PROBE_SECONDS} s.",
            code="manifest.damaged",
            hint="Write it again.",
        ) from error
    if done.returncode != 0:
        raise ReadError(f"{path.name!r} is damaged.", code="manifest.damaged", hint="Write it again.")


def _raise_if_no_damage(error: BaseException) -> None:
    """Let an interruption through; a panic of the native reader is no `Exception`, but means a damaged file."""
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        raise error


def _parquet_rows(lazy: Any, name: str, names: list[str]) -> Rows:
    start = 0
    while True:
        try:
            frame = lazy.slice(start, _BATCH).collect()
        except BaseException as error:
            _raise_if_no_damage(error)
            raise ReadError(f"{name!r} is damaged: {error}.", code="manifest.damaged") from error
        for i, row in enumerate(frame.iter_rows(), start + 2):
            cells = dict(zip(names, row, strict=True))
            yield i, flatten(cells) if any(isinstance(v, dict) for v in row) else cells
        start += len(frame)
        if len(frame) < _BATCH:
            return


def known_rows(table: Table) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows that are not damaged."""
    for line, row in table.rows:
        if not isinstance(row, FundusionError):
            yield line, dict(row)


def read_rows(path: str | Path, options: TableOptions | None = None) -> list[tuple[int, dict[str, Any]]]:
    """Return the rows of any table with their line numbers; every cell as it stands, columns of any name.

    Raises:
        ReadError: The file cannot be read, or its encoding is not certain.
        InvalidInput: The table, or a row of it, is damaged.
    """
    found: list[tuple[int, dict[str, Any]]] = []
    for line, row in open_table(path, options).rows:
        if isinstance(row, FundusionError):
            raise type(row)(f"{Path(path).name}:{line}: {row.message}", code=row.code, hint=row.hint)
        found.append((line, dict(row)))
    return found
