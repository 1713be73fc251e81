"""`segment` and `train-segmenter`: masks of photographs, and the networks that draw them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .screen import REJECTED, fail, print_error, progress, say, table


def segment(
    inputs: Annotated[list[Path], typer.Argument(help="Pictures, folders, tables, public sets as downloaded.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for masks; a run that was interrupted goes on.")],
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="Shipped segmenters with commas, folders of train-segmenter, or one of sam, medsam, medsegx; all of the modality.",
        ),
    ] = "all",
    prompts: Annotated[
        str | None,
        typer.Option(help="auto: sam, medsam, medsegx get boxes around our own masks; never around the truth."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="Of sam, medsam, medsegx: a file, a folder, published.")] = None,
    base: Annotated[str | None, typer.Option(help="Of medsegx: the file of SAM that its own needs.")] = None,
    modality: Annotated[str, typer.Option(help="Pictures that are used: cfp, ffa, oct.")] = "cfp",
    flips: Annotated[int, typer.Option(help="Mirror images averaged: 1, 2 or 4.")] = 4,
    tile: Annotated[int | None, typer.Option(help="Segment in parts of this side in px; needs less memory.")] = None,
    overlap: Annotated[int, typer.Option(help="Of two such parts, px.")] = 128,
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

      fundusion segment photographs --model lesions --tile 512 --flips 1 --out masks

      fundusion segment angiograms --modality ffa --out areas

      fundusion segment photographs --model disc_cup,sam.vit_b --weights published --prompts auto --out masks

      fundusion measure masks/vessel --disc masks/disc --cup masks/cup --images photographs --out measured

    Of structures that a segmenter was seen to be wrong about in pictures of other cameras, a warning is printed, stands in segments.csv and
    segments.jsonl, and lies in the folder of the masks, where measure finds it.
    """
    try:
        from ..batch.segment import segment_all
        from ..datasets.folder import discover
        from ..prompting import load_models
        from ..segmenting import Tiles

        loaded, prompted = load_models(
            model, prompts=prompts, weights=weights, base=base, modality=modality, device=device
        )
        tiles = None if tile is None else Tiles(size_px=tile, overlap_px=min(overlap, tile // 64 * 32))
        found = discover(inputs, columns=columns, root=root, modality=modality)
        rows = segment_all(
            list(found), out, loaded, rejected=found.rejected, modality=modality, flips=flips,
            probabilities=probabilities, tiles=tiles, prompted=prompted, reporter=progress,
        )  # fmt: skip
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    refused = _show_segments(rows)
    say(f"Masks:    {out}")
    raise typer.Exit(REJECTED if rows and refused == len(rows) else 0)


def _show_segments(rows: Sequence[Any]) -> int:
    """Say what became of the studies; return how many were rejected."""
    refused = [r for r in rows if r.status == "rejected"]
    say(f"{len(rows)} studies: {len(rows) - len(refused)} ok, {len(refused)} rejected, 0 pending")
    if refused:
        table([(r.study_id, r.code, r.message) for r in refused[:20]], ("study", "code", "why"))
    undrawn = [(r.study_id, name, why) for r in rows for name, why in (r.skipped or {}).items()]
    if undrawn:
        say(f"{len(undrawn)} structures have no mask, because there was nothing to prompt with.")
        table(undrawn[:20], ("study", "structure", "why"))
    doubtful = sum(r.gradable is False for r in rows)
    if doubtful:
        say(f"{doubtful} of them were judged ungradable; their masks carry gradable = false.")
    warn_of_unproven({c: text for r in rows for c, text in (r.unproven or {}).items()})
    return len(refused)


def warn_of_unproven(warnings: Mapping[str, str]) -> None:
    """Say on standard error what is known of masks that are often wrong elsewhere.

    Args:
        warnings: Structure to sentence.
    """
    for structure, text in warnings.items():
        print_error(
            f"warning: masks of {structure} are not proven on pictures of other cameras. {text} Look at them before you use them."
        )


def train_segmenter(
    recipe: Annotated[Path, typer.Argument(help="TOML: model, classes, sets, scale, optimisation.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; a run that was interrupted goes on.")],
    data: Annotated[Path | None, typer.Option(help="Folder that the roots of the sets are relative to.")] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Leave a set of the recipe out of training and show Dice on all of it afterwards."),
    ] = None,
    allow_changes: Annotated[bool, typer.Option("--allow-changes", help="Go on although something changed.")] = False,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate", help="Only fit the calibration of the segmenter in --out anew, on held-out pictures."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Train a segmenter on public masks; patients that are held out decide the calibration and the score that is shown, nothing else.

    A recipe whose model is one of sam, medsam, medsegx trains low-rank adapters on the masks of one structure.

    Examples:

      fundusion train-segmenter recipes/vessels.toml --data ../shared/data --out runs/vessels

      fundusion train-segmenter recipes/vessels.toml --data ../shared/data --out runs/vessels --calibrate

      fundusion train-segmenter recipes/vessels.toml --data ../shared/data --out runs/not_hrf --without hrf

      fundusion segment photographs --model runs/vessels --out masks
    """
    try:
        from ..train.oct_layers import LayersConfig, train_layers
        from ..train.promptable import PromptedConfig, train_prompted
        from ..train.recipes import read_any_recipe
        from ..train.segment_calibration import calibrate_segmenter
        from ..train.segmentation import train_segmenter as run
        from ..train.unseen import score_unseen
        from ..train.unseen import without as leave_out

        config = read_any_recipe(recipe, data)
        if without:
            if isinstance(config, PromptedConfig | LayersConfig):
                _not_here(config.model, "--without")
            config = leave_out(config, without)
        if isinstance(config, PromptedConfig | LayersConfig) and calibrate:
            _not_here(config.model, "--calibrate")
        if isinstance(config, PromptedConfig):
            result = train_prompted(out, config=config, allow_changes=allow_changes, reporter=progress)
        elif isinstance(config, LayersConfig):
            result = train_layers(out, config=config, allow_changes=allow_changes, reporter=progress)
        else:
            if not calibrate:
                result = run(out, config=config, allow_changes=allow_changes, reporter=progress)
            if calibrate or not result.exit_code:
                _show_calibration(calibrate_segmenter(out, config, reporter=progress))
            if config.unseen and not calibrate and not result.exit_code:
                _show_unseen(score_unseen(out, config, reporter=progress))
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    if not calibrate and result.exit_code:
        say("Interrupted; the same command goes on.")
        raise typer.Exit(result.exit_code)
    if not calibrate:
        _show(out)
    say(f"Segmenter: {out}")


def _show(out: Path) -> None:
    import json

    lines = (out / "metrics.jsonl").read_text("utf-8").splitlines() if (out / "metrics.jsonl").is_file() else []
    scored: list[dict[str, Any]] = [r for r in map(json.loads, lines) if any(k.startswith("dice") for k in r)]
    if scored:
        names = [k for k in scored[-1] if k.startswith("dice")]
        table([(r["epoch"], *(f"{r[n]:.3f}" for n in names)) for r in scored[-5:]], ("epoch", *names))


def _show_calibration(report: dict[str, Any]) -> None:
    keys = ("scale", "offset", "ece", "ece_calibrated", "ece_left_out")
    rows = [(name, *(str(v.get(k, "")) for k in keys), v.get("reason", "")) for name, v in report.items()]
    table(rows, ("structure", *keys, "no calibration because"))


def _show_unseen(found: dict[str, Any]) -> None:
    rows = [
        (name, structure, str(v["pictures"]), f"{v['dice']:.3f}", f"{v['low']:.3f} to {v['high']:.3f}" if v["low"] is not None else "")
        for name, of in found.items() for structure, v in of.items()
    ]  # fmt: skip
    table(rows, ("set, not trained on", "structure", "pictures", "Dice", "95 %"))


def _not_here(model: str, option: str) -> None:
    from ..core.errors import InvalidInput

    raise InvalidInput(f"{option} is not for {model}.", code="config.invalid", hint=f"Leave {option} out.")
