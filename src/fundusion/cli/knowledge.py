"""`knowledge`: what findings are called and what they look like."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .screen import fail, say, table


def knowledge(
    name: Annotated[str | None, typer.Argument(help="A finding by any name, in any language; all without.")] = None,
    *,
    file: Annotated[Path | None, typer.Option(help="TOML of your own, or JSON of FLAIR's definitions.")] = None,
    copy: Annotated[Path | None, typer.Option(help="Write the file inside the package here, to be edited.")] = None,
    sets: Annotated[bool, typer.Option("--sets", help="List the sets of labels.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """List findings, show one, or check and copy the file they stand in.

    Examples:

      fundusion knowledge "macular hole"

      fundusion knowledge --copy mine.toml

      fundusion knowledge --file mine.toml
    """
    try:
        if copy is not None:
            _copy(copy)
            return
        from ..knowledge import Knowledge

        known = Knowledge.read(file)
        if sets:
            table(
                [(s.name, s.kind, len(s.labels), s.title) for s in known.sets.values()], ("set", "kind", "labels", "")
            )
        elif name is not None:
            _one(known, name)
        else:
            rows = [(f.id, f.name["en"], f.name.get("zh"), " ".join(f.abbreviations), f.kind) for f in known]
            table(rows, ("finding", "English", "Chinese", "short", "kind"))
            say(f"{len(known)} findings, {len(known.sets)} sets of labels.")
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None


def _copy(path: Path) -> None:
    from ..core.durable import write_bytes
    from ..core.errors import InvalidInput
    from ..knowledge.store import SHIPPED

    if path.exists():
        raise InvalidInput(f"{path.name!r} exists.", code="output.exists", hint="Name a file that does not.")
    write_bytes(path, SHIPPED.read_bytes())
    say(f"Written: {path}. Edit it, then: fundusion knowledge --file {path}")


def _one(known: Any, name: str) -> None:
    found = known.find(name)
    rows: list[tuple[str, str]] = []
    for language in found.name:
        rows += [(language, "; ".join(found.names(language)))]
        rows += [("", text) for text in found.definitions.get(language, ())]
    rows.append(("short", " ".join(found.abbreviations)))
    rows.append(("kind", f"{found.kind}, seen on {', '.join(found.seen_on)}"))
    rows.append(("wider", ", ".join(known.ancestors(found))))
    for kind, codes in found.codes.items():
        rows.append((kind, " ".join(codes) + (" (not yet checked)" if kind in found.to_check else "")))
    rows += [("source", known.sources[key]) for key in found.sources]
    table([r for r in rows if r[1]], ("", found.id))
