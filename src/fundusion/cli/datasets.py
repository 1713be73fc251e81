"""`datasets`: the public sets that are read as downloaded, their cards, and a folder of one -> a manifest."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from .screen import REFUSED, REJECTED, fail, print_error, say, table

if TYPE_CHECKING:
    from ..core.registry import DatasetCard
    from ..datasets._reading import Reading

#: Files of one kind that are named on the screen; `--report` has all.
_SHOWN = 20


class _NameOrVerb(TyperGroup):
    """A word that is no verb is the name of a set: `fundusion datasets odir` shows its card."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="datasets",
    cls=_NameOrVerb,
    invoke_without_command=True,
    rich_markup_mode="rich",
)


@app.callback()
def list_sets(
    context: typer.Context,
    *,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page of the documentation.")] = False,
) -> None:
    """List the public sets that are read as downloaded: what they hold, terms, where to ask; read one into a manifest.

    Examples:

      fundusion datasets

      fundusion datasets odir

      fundusion datasets read odir ~/Downloads/ODIR-5K --out manifest.parquet
    """
    if context.invoked_subcommand is not None:
        return
    try:
        from ..core.registry import datasets
        from ..datasets._cards import markdown as page
        from ..datasets._cards import size_of, words_of
        from ..datasets._recognise import public_sets

        if markdown:
            say(page().rstrip("\n"))
            return
        rows = []
        for name in public_sets():
            card: DatasetCard = datasets.card(name)
            rows.append(
                (
                    name,
                    words_of(card.modalities),
                    words_of([*card.labels, *card.masks]),
                    size_of(card),
                    card.license,
                    card.ask,
                )
            )
        table(rows, ("name", "holds", "labels, drawn truth", "size", "terms", "where to ask"))
        say(
            f"{len(rows)} sets. `fundusion datasets NAME` shows one; `fundusion datasets read NAME FOLDER --out manifest.csv` reads it."
        )
    except Exception as error:
        raise typer.Exit(fail(error)) from None


@app.command()
def show(name: Annotated[str, typer.Argument(help="Name of a set; `fundusion datasets` lists them.")]) -> None:
    """Print the card of a set: labels, truth, terms, traps, and which other sets it shares pictures with.

    Example:

      fundusion datasets show idrid
    """
    try:
        from ..core.registry import datasets
        from ..datasets._cards import card_lines
        from ..datasets._recognise import set_named

        found = set_named(name)
        for line in card_lines(found, datasets.card(found)):
            say(line)
    except Exception as error:
        raise typer.Exit(fail(error)) from None


@app.command()
def read(
    name: Annotated[str, typer.Argument(help="Name of a set; `fundusion datasets` lists them.")],
    folder: Annotated[Path, typer.Argument(help="The set as unpacked, or the folder that holds it.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Manifest: .csv, .tsv, .jsonl or .parquet.")],
    split: Annotated[str | None, typer.Option(help="Only this part of the publisher: train, val or test.")] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder that paths are written relative to; else that of the manifest, or of the set."),
    ] = None,
    report: Annotated[Path | None, typer.Option(help="Write counts and every file that does not fit as JSON.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Read a public set into a manifest, and name each file that is missing, not listed, or contradicts.

    Exit codes: 0 all fits, 3 written with something to look at, 4 the folder is not that set.

    Examples:

      fundusion datasets read idrid "B. Disease Grading" --out idrid.csv

      fundusion datasets read eyepacs /data/kaggle --split train --out eyepacs.parquet --report eyepacs.json
    """
    try:
        from ..core.durable import write_json
        from ..core.registry import datasets
        from ..datasets._recognise import set_named
        from ..readers.manifest_writer import write_manifest

        _refuse_early(out)
        with _counting():
            reading: Reading = datasets.create(set_named(name), root=_existing(folder), split=split)
        wrong = _print(reading)
        if report is not None:
            report.parent.mkdir(parents=True, exist_ok=True)
            write_json(report, {"set": set_named(name), **reading.to_dict()})
            say(f"Written: {report}")
        if not len(reading):
            print_error(
                "error [dataset.empty]: the folder has the layout of the set, but none of its studies is usable."
            )
            raise typer.Exit(REFUSED)
        base = _root(reading, out, root)
        write_manifest(reading, out, root=base)
        say(f"Written: {out} ({len(reading)} studies)")
        if base != out.parent.resolve():
            inside = base.is_relative_to(folder.resolve())
            shown = folder / base.relative_to(folder.resolve()) if inside else base
            say(f"Its paths are relative to {shown}: give that as --root.")
        if wrong:
            raise typer.Exit(REJECTED)
    except typer.Exit:
        raise
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None


def _refuse_early(out: Path) -> None:
    """A place that cannot be written is refused before a large set is read."""
    from ..core.errors import InvalidInput
    from ..readers.manifest_writer import SUFFIXES

    if out.suffix.lower() not in SUFFIXES:
        hint = f"Use one of {', '.join(SUFFIXES)}."
        raise InvalidInput(f"a manifest of type {out.suffix!r} is not written.", code="manifest.type", hint=hint)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InvalidInput(
            f"the folder of {out.name!r} cannot be made: {reason}.", code="output.folder", hint="Give another --out."
        ) from error
    if not os.access(out.parent, os.W_OK):
        raise InvalidInput(
            f"the folder of {out.name!r} may not be written.", code="output.folder", hint="Give another --out."
        )


def _existing(folder: Path) -> Path:
    from ..core.errors import ReadError

    if not folder.is_dir():
        raise ReadError(
            f"{folder.name!r} is no folder.", code="input.missing", hint="Check the path; unpack archives first."
        )
    return folder.resolve()


def _root(reading: Reading, out: Path, root: Path | None) -> Path:
    """The folder of the manifest where it holds the set, else that of the set: paths must stay inside their root."""
    if root is not None:
        return root.resolve()
    beside = out.parent.resolve()
    return beside if Path(reading.folder).is_relative_to(beside) else Path(reading.folder)


def _print(reading: Reading) -> int:
    """Print counts and what does not fit; return how much of that there is."""
    facts = reading.to_dict()
    say(f"{facts['records']} studies, {facts['patients'] or 'no'} identified patients")
    for name, counts in facts["counts"].items():
        if counts and list(counts) != ["(none)"]:
            shown = list(counts.items())[:_SHOWN]
            rest = len(counts) - len(shown)
            table([*shown, *([(f"... and {rest} more", "")] if rest > 0 else [])], (name, "studies"))
    for note in reading.notes:
        say(f"note: {note}")
    kinds = (
        ("listed but missing", list(reading.missing)),
        ("present but not listed", list(reading.unlisted)),
        ("contradictory", [f"{where}: {what}" for where, what in reading.contradictory]),
    )
    for title, lines in kinds:
        if lines:
            say(f"! {len(lines)} {title}:")
            for line in lines[:_SHOWN]:
                say(f"    {line}")
            if len(lines) > _SHOWN:
                say(f"    ... and {len(lines) - _SHOWN} more (give --report FILE.json to have all)")
    return sum(len(lines) for _, lines in kinds)


@contextmanager
def _counting() -> Iterator[None]:
    """Say every two seconds how many records have been read."""
    from ..datasets._reading import watched

    last = time.monotonic()

    def show_count(count: int) -> None:
        nonlocal last
        if time.monotonic() - last >= 2:
            last = time.monotonic()
            print_error(f"records: {count} so far")

    with watched(show_count):
        yield
