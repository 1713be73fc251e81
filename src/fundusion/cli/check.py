"""`check`: look at data before time is spent on them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .screen import REFUSED, REJECTED, fail, progress, say, table

if TYPE_CHECKING:
    from ..audit.check import Checked

#: Most lines that are printed.
_SHOWN = 40


def check(
    inputs: Annotated[
        list[Path], typer.Argument(help="Tables of studies, or folders; overlaps between them are told.")
    ],
    *,
    against: Annotated[
        list[Path] | None, typer.Option(help="Table or folder to compare with only, such as your test set. Repeatable.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Tell whether this shipped model was trained on the data.")] = None,
    columns: Annotated[Path | None, typer.Option(help="TOML with [columns] for tables that look different.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")] = None,
    schema: Annotated[Path | None, typer.Option(help="Schema of the tables: types, units, missing codes.")] = None,
    propose: Annotated[
        Path | None, typer.Option(help="Propose a schema from the cells of one table; writes this TOML file.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of text tables, when it is not certain.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of text tables, when it is not certain.")] = None,
    sheet: Annotated[str | None, typer.Option(help="Of a workbook with several.")] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for check.json and check.html; a name ending in .json gets the JSON."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes that read pictures; 0 uses none.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Folder that keeps fingerprints, so that a second run reads only what is new.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 4 when a leak is found.")] = False,
    fit_quality: Annotated[
        Path | None,
        typer.Option(help="Fit the quality gate to `label.gradable` of about 100 studies; writes this JSON file."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Find duplicates, leaks between splits, contradictory labels, exchanged eyes, bad files; count classes.

    Copies are found by the vessels: encoded anew, scaled, brighter or darker, slightly cropped, mirrored, upside down. An
    interrupted check goes on where it was (fingerprints are kept in --cache, else in FUNDUSION_HOME, else in --out).

    Exit codes: 0 nothing wrong, 3 something to look at, 4 an input cannot be used, or --strict and there is a leak.

    Examples:

      fundusion check studies.csv --out checked

      fundusion check idrid_grading idrid_seg

      fundusion check train.csv --against test.csv --strict

      fundusion check labelled.csv --fit-quality our_quality.json

      fundusion check clinic.xlsx --propose schema.toml

      fundusion check clinic.xlsx --schema schema.toml
    """
    try:
        how = {"columns": columns, "root": root, "schema": schema, "options": _options(encoding, delimiter, sheet)}
        if propose is not None:
            raise typer.Exit(_propose(inputs, propose, how["options"]))
        if fit_quality is not None:
            _fit_quality(inputs, how, fit_quality)
            return
        place = {"cache": _cache_folder(cache, out), "workers": workers}
        raise typer.Exit(_check(inputs, against or (), how, model=model, out=out, strict=strict, **place))
    except typer.Exit:
        raise
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None


def _options(encoding: str | None, delimiter: str | None, sheet: str | None) -> Any:
    from .tables import options_of

    return options_of(encoding, delimiter, sheet)


def _check(
    inputs: Sequence[Path],
    against: Sequence[Path],
    how: Mapping[str, Any],
    *,
    model: str | None,
    cache: Path | None,
    workers: int | None,
    out: Path | None,
    strict: bool,
) -> int:
    """Print and write what was found; return the exit code."""
    from ..audit.check import check as run

    found = run(
        inputs,
        against=against,
        reading=how,
        model=model,
        cache=cache,
        workers=min(4, os.cpu_count() or 1) if workers is None else workers,
        steps=progress,
    )
    problems = found.sentences()
    _show(found, problems, all_told=out is not None)
    if out is not None:
        _write(found, out)
    if strict and found.leaks():
        say(f"Refused: {len(found.leaks())} leaks.")
        return REFUSED
    return REJECTED if problems else 0


def _propose(inputs: list[Path], target: Path, options: Any) -> int:
    from ..core.errors import InvalidInput
    from .tables import propose

    if len(inputs) != 1:
        raise InvalidInput(f"{len(inputs)} tables were given.", hint="A schema is proposed for one table at a time.")
    return propose(inputs[0], target, options)


def _cache_folder(cache: Path | None, out: Path | None) -> Path | None:
    if cache is not None:
        return cache
    home = os.environ.get("FUNDUSION_HOME")
    if home:
        return Path(home) / "check"
    # Fingerprints name files: without a folder to put them they are not kept at all.
    return out / ".fingerprints" if out is not None and out.suffix.lower() != ".json" else None


def _show(found: Checked, problems: list[str], *, all_told: bool) -> None:
    audit = found.table
    unnamed = f" ({audit.unnamed} studies name no patient)" if audit.unnamed else ""
    say(f"{audit.studies} studies, {audit.patients} patients{unnamed}, {audit.files} files")
    for note in found.notes:
        say(note)
    table([(k, v) for k, v in audit.modalities.items()], ("modality", "studies"))
    for counts in (*found.classes, found.missing):
        heads = [f"{name} ({n})" for name, n in counts.columns]
        title = counts.title if counts is found.missing else f"label {counts.title}"
        rows = [(name, *numbers) for name, numbers in counts.rows if counts is not found.missing or any(numbers)]
        if rows:
            table(rows, (title, *heads))
    pictures = found.to_dict()["pictures"]
    say(
        f"{pictures['compared']} pictures compared: {pictures['identical_pairs']} identical pairs, {pictures['copies']} copies, "
        f"{pictures['alike']} alike"
    )
    for name, n, share, right in pictures["disc_side_measured"]:
        say(f"optic-disc side, measured on {name} ({n} pictures): answers {share:.0%}, of these right {right:.1%}")
    for line in problems[:_SHOWN]:
        say(f"! {line}")
    if len(problems) > _SHOWN:
        say(f"! ... and {len(problems) - _SHOWN} more" + ("" if all_told else " (give --out to have all)"))
    say("Nothing wrong was found." if not problems else f"{len(problems)} things to look at.")


def _write(found: Checked, out: Path) -> None:
    from ..core.durable import write_json, write_text

    if out.suffix.lower() == ".json":
        write_json(out, found.to_dict())
        say(f"Written: {out}")
        return
    from ..audit.page import render_check

    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "check.json", found.to_dict())
    with progress("page") as show:
        write_text(out / "check.html", render_check(found, progress=show))
    say(f"Written: {out / 'check.html'} and check.json")


def _fit_quality(inputs: Sequence[Path], how: Mapping[str, Any], target: Path) -> None:
    from ..core.errors import FundusionError, InvalidInput
    from ..core.registry import ImageInput
    from ..core.tasks import STANDARD_TASKS
    from ..datasets.folder import discover
    from ..intake import take_study
    from ..preparation import VIEW_PX
    from ..quality.gradability import fit_quality
    from ..transforms.targets import encode_label

    labelled, records = [], list(discover(inputs, **how))
    with progress("pictures") as show:
        for i, record in enumerate(records):
            value = encode_label(STANDARD_TASKS["gradable"], record.labels.get("gradable"))
            show(i + 1, len(records))
            if value != value:
                continue
            try:
                # The gate is fitted on the pictures that `analyze` judges.
                view = take_study(record, {"cfp": ImageInput()}, view_px=VIEW_PX).view
                labelled += [(image, bool(value)) for image in view.images.get("cfp", ())]
            except FundusionError as error:
                say(f"! {record.study_id}: {error.code}: {error.message}")
    if len(labelled) < 20:
        raise InvalidInput(
            f"{len(labelled)} usable pictures have `label.gradable`.", hint="Needed are at least 20, better 100."
        )
    fit_quality(labelled).save(target)
    say(f"Written: {target} (from {len(labelled)} pictures). Give it to `fundusion analyze --quality`.")
