"""`check --propose`: a schema written from the cells of a table, with the questions that they leave open."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .screen import REJECTED, progress, say, table

if TYPE_CHECKING:
    from ..readers.manifest import Manifest, TableOptions


def options_of(encoding: str | None, delimiter: str | None, sheet: str | None) -> TableOptions | None:
    """Return how a table is written, or None when nothing was said about it."""
    if encoding is None and delimiter is None and sheet is None:
        return None
    from ..readers.manifest import TableOptions

    return TableOptions(
        encoding=encoding, delimiter={"tab": "\t", "\\t": "\t"}.get(delimiter or "", delimiter), sheet=sheet
    )


def read_table(manifest: Path, **how: Any) -> Manifest:
    """Return the records of whatever was given, telling the rows that are done."""
    from ..datasets.folder import discover

    with progress("rows") as show:
        return discover([manifest], progress=lambda done: show(done, 0), **how)


def propose(manifest: Path, target: Path, options: TableOptions | None = None) -> int:
    """Write the proposed schema of a table, print what is open, and return the exit code.

    Args:
        manifest: Table of any column names.
        target: TOML file; an existing one is refused, because it may hold decisions.
        options: Encoding, delimiter or sheet, when they are not certain.

    Returns:
        0 when the cells decide everything, 3 when a person must choose.

    Raises:
        InvalidInput: `output.exists`.
    """
    from ..core.durable import write_text
    from ..core.errors import InvalidInput
    from ..readers.manifest.propose import propose_schema

    if target.exists():
        raise InvalidInput(
            f"{target.name!r} exists and may hold decisions.",
            code="output.exists",
            hint="Give another name, or remove it.",
        )
    with progress("rows") as show:
        proposal = propose_schema(manifest, options=options, progress=lambda done: show(done, 0))
    write_text(target, proposal.text)
    facts = ", ".join(f"{k} {v!r}" for k, v in proposal.facts.items() if k in ("encoding", "delimiter", "sheet"))
    say(f"{proposal.rows} rows, {len(proposal.columns)} columns" + (f", {facts}" if facts else ""))
    for line in (d for d in proposal.damaged if d):
        say(f"! {line}")
    if proposal.refused:
        table([(c, r) for c, r in proposal.refused], ("column", "to be decided"))
    say(f"Written: {target}")
    if not proposal.refused:
        say(f"Nothing is open. Read it, then: fundusion check {manifest.name} --schema {target.name}")
        return 0
    say(f"{len(proposal.refused)} questions are open: take the comment sign off one choice of each.")
    return REJECTED
