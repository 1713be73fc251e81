"""`segment` and `train-segmenter`: masks of photographs, and the networks that draw them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .screen import REJECTED, fail, progress, say, table


def segment(
    inputs: Annotated[list[Path], typer.Argument(help="Pictures, folders, tables, public sets as downloaded.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for masks; a run that was interrupted goes on.")],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Shipped segmenters with commas, or folders of train-segmenter; all.")
    ] = "all",
    modality: Annotated[str, typer.Option(help="Pictures that are used: cfp, ffa, oct.")] = "cfp",
    flips: Annotated[int, typer.Option(help="Mirror images averaged: 1, 2 or 4.")] = 4,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Also write probability pictures.")] = False,
    columns: Annotated[Path | None, typer.Option(help="TOML with [columns].")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Write vessels, arteries and veins, disc and cup, and lesions of photographs as masks and overlays.

    Examples:

      fundusion segment eye.jpg --out masks

      fundusion segment photographs --model vessels,disc_cup --probabilities --out masks
    """
    try:
        from ..batch.segment import segment_all
        from ..datasets.folder import discover
        from ..segmenting import load_segmenter
        from ..shipped import shipped_segmenters

        names = [n for n in shipped_segmenters() if n != "ffa_areas"] if model == "all" else \
            [m.strip() for m in model.split(",") if m.strip()]  # fmt: skip
        loaded = [load_segmenter(n, device=device) for n in names]
        found = discover(inputs, columns=columns, root=root, modality=modality)
        rows = segment_all(
            list(found), out, loaded, rejected=found.rejected, modality=modality, flips=flips,
            probabilities=probabilities, reporter=progress,
        )  # fmt: skip
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    refused = [r for r in rows if r.status == "rejected"]
    say(f"{len(rows)} studies: {len(rows) - len(refused)} ok, {len(refused)} rejected, 0 pending")
    if refused:
        table([(r.study_id, r.code, r.message) for r in refused[:20]], ("study", "code", "why"))
    doubtful = sum(r.gradable is False for r in rows)
    if doubtful:
        say(f"{doubtful} of them were judged ungradable; their masks carry gradable = false.")
    say(f"Masks:    {out}")
    raise typer.Exit(REJECTED if rows and len(refused) == len(rows) else 0)


def train_segmenter(
    recipe: Annotated[Path, typer.Argument(help="TOML: model, classes, sets, scale, optimisation.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; a run that was interrupted goes on.")],
    data: Annotated[Path | None, typer.Option(help="Folder that the roots of the sets are relative to.")] = None,
    allow_changes: Annotated[bool, typer.Option("--allow-changes", help="Go on although something changed.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Train a segmenter on public masks; patients that are held out decide nothing but the score that is shown.

    Examples:

      fundusion train-segmenter recipes/vessels.toml --data ../shared/data --out runs/vessels

      fundusion segment photographs --model runs/vessels --out masks
    """
    try:
        from ..train.segmentation import read_recipe
        from ..train.segmentation import train_segmenter as run

        result = run(out, config=read_recipe(recipe, data), allow_changes=allow_changes, reporter=progress)
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    if result.exit_code:
        say("Interrupted; the same command goes on.")
        raise typer.Exit(result.exit_code)
    _show(out)
    say(f"Segmenter: {out}")


def _show(out: Path) -> None:
    import json

    lines = (out / "metrics.jsonl").read_text("utf-8").splitlines() if (out / "metrics.jsonl").is_file() else []
    scored: list[dict[str, Any]] = [r for r in map(json.loads, lines) if "dice" in r]
    if scored:
        names = [k for k in scored[-1] if k.startswith("dice")]
        table([(r["epoch"], *(f"{r[n]:.3f}" for n in names)) for r in scored[-5:]], ("epoch", *names))
