"""`train-captioner`: the small captioner from keywords, grades and drawn eyes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .screen import fail, progress, say, table


def train_captioner(
    recipe: Annotated[Path, typer.Argument(help="TOML: tower, sets, drawn eyes, optimisation.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; a run that was interrupted goes on.")],
    data: Annotated[Path | None, typer.Option(help="Folder that the roots of the sets are relative to.")] = None,
    allow_changes: Annotated[bool, typer.Option("--allow-changes", help="Go on although something changed.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Train a captioner; patients that are held out decide nothing but the scores that are shown.

    Examples:

      fundusion train-captioner recipes/captioner.toml --data ../shared/data --out runs/captioner

      fundusion describe eye.jpg --captioner runs/captioner
    """
    try:
        from ..train.captioner import read_caption_recipe
        from ..train.captioner import train_captioner as run

        result = run(out, config=read_caption_recipe(recipe, data), allow_changes=allow_changes, reporter=progress)
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    if result.exit_code:
        say("Interrupted; the same command goes on.")
        raise typer.Exit(result.exit_code)
    _show(out)
    say(f"Captioner: {out}")


def _show(out: Path) -> None:
    import json

    path = out / "metrics.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
    rows = [r for r in rows if "answers" in r]
    if rows:
        names = [k for k in ("answers", "modality", "laterality", "retinopathy", "findings") if k in rows[-1]]
        table([(r["epoch"], *(f"{r[n]:.3f}" for n in names)) for r in rows[-5:]], ("epoch", *names))
