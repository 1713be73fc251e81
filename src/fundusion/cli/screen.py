"""What the command line shows: progress, errors, small tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

#: Exit codes of the contract.
INTERNAL, USAGE, REJECTED, REFUSED, EXHAUSTED = 1, 2, 3, 4, 5


class Report(Protocol):
    """Called with what is done, the total (0 when it is not known), and counts to show."""

    def __call__(self, done: int, total: int, counts: Mapping[str, Any] | None = None) -> None: ...


def exit_code_of(error: Exception) -> int:
    """Return the exit code an error means.

    Example:
        >>> from fundusion.core.errors import InvalidInput, ExhaustedResource
        >>> exit_code_of(InvalidInput("x")), exit_code_of(ExhaustedResource("x")), exit_code_of(RuntimeError("x"))
        (4, 5, 1)
    """
    from ..core.errors import ExhaustedResource, FundusionError

    if isinstance(error, ExhaustedResource | MemoryError):
        return EXHAUSTED
    if isinstance(error, FundusionError) and error.code not in ("internal", "train.not_finite", "model.not_finite"):
        return USAGE if error.code.startswith("config.") else REFUSED
    return INTERNAL


def fail(error: Exception) -> int:
    """Print an error for a person and return its exit code."""
    code = getattr(error, "code", "internal")
    message = getattr(error, "message", None) or f"{type(error).__name__}: {error}"
    hint = getattr(error, "hint", "")
    lines = [f"error [{code}]: {message}"] + ([f"  {hint}"] if hint else [])
    if code == "internal":
        lines.append("  Run the command again with --debug for the full trace, and report it.")
    print_error("\n".join(lines))
    return exit_code_of(error)


def print_error(text: str) -> None:
    """Write to standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def say(text: str = "") -> None:
    """Write a line of the answer to standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def table(rows: Sequence[Sequence[Any]], heads: Sequence[str]) -> None:
    """Print a small table."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(show_edge=False, pad_edge=False, header_style="bold")
    for i, head in enumerate(heads):
        shown.add_column(head, overflow="fold", justify="left" if i == 0 else "default")
    for row in rows:
        shown.add_row(*("" if c is None else str(c) for c in row))
    Console(width=None if sys.stdout.isatty() else 110).print(shown)


@contextmanager
def progress(title: str) -> Iterator[Report]:
    """Show progress with time left on standard error: a bar in a terminal, else a line every few seconds."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=None, note="")

            def show(done: int, total: int, counts: Mapping[str, Any] | None = None) -> None:
                bar.update(task, completed=done, total=total or None, note=_counts(counts))

            yield show
        return
    began = last = time.monotonic()
    first = 0

    def line(done: int, total: int, counts: Mapping[str, Any] | None = None) -> None:
        nonlocal last, first
        now = time.monotonic()
        if now - last < 5 and (done < total or not total):
            first = first or done
            return
        last = now
        rate = (done - first) / max(now - began, 1e-6)
        left = f", about {(total - done) / rate:.0f} s left" if rate > 0 and done < total else ""
        of = f" of {total}" if total else ""
        print_error(f"{title}: {done}{of}{left} {_counts(counts)}".rstrip())

    yield line


def _counts(counts: Mapping[str, Any] | None) -> str:
    return " ".join(f"{k} {v}" for k, v in (counts or {}).items())
