"""`check` and `draw`: look at data before time is spent on it, and make some."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .screen import REJECTED, fail, progress, say, table


def check(
    manifest: Annotated[Path, typer.Argument(help="Table of studies, or a folder.")],
    *,
    columns: Annotated[Path | None, typer.Option(help="TOML with [columns] for tables that look different.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")] = None,
    schema: Annotated[Path | None, typer.Option(help="Schema of the table: types, units, missing codes.")] = None,
    propose: Annotated[
        Path | None, typer.Option(help="Propose a schema from the cells; writes this TOML file.")
    ] = None,
    encoding: Annotated[str | None, typer.Option(help="Of a text table, when it is not certain.")] = None,
    delimiter: Annotated[str | None, typer.Option(help="Of a text table, when it is not certain.")] = None,
    sheet: Annotated[str | None, typer.Option(help="Of a workbook with several.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the whole answer as JSON.")] = None,
    fit_quality: Annotated[
        Path | None,
        typer.Option(help="Fit the quality gate to `label.gradable` of about 100 studies; writes this JSON file."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """List missing files, duplicates, patients on both sides of a split, label sets and class counts.

    Exit codes: 0 nothing wrong, 3 something to look at, 4 the table itself cannot be used.

    Examples:

      fundusion check studies.csv

      fundusion check labelled.csv --fit-quality our_quality.json

      fundusion check clinic.xlsx --propose schema.toml

      fundusion check clinic.xlsx --schema schema.toml
    """
    try:
        from .tables import options_of, read_table
        from .tables import propose as propose_schema

        options = options_of(encoding, delimiter, sheet)
        if propose is not None:
            raise typer.Exit(propose_schema(manifest, propose, options))
        found = read_table(manifest, columns=columns, root=root, schema=schema, options=options)
        if fit_quality is not None:
            _fit_quality(list(found), fit_quality)
            return
        from ..core.durable import write_json
        from ..datasets._audit import check_records

        with progress("files") as show:
            audit = check_records(list(found), progress=show)
        rejected = [(r.origin, r.code, r.message) for r in found.rejected]
        say(f"{len(found)} studies, {audit.patients} patients, {audit.files} files")
        for note in found.notes[:20]:
            say(f"- {note}")
        table([(k, v) for k, v in audit.modalities.items()], ("modality", "studies"))
        for name, counts in audit.labels.items():
            table([(k, v) for k, v in counts.items()], (f"label {name}", "studies"))
        problems = [*audit.problems(), *(f"{o}: {c}: {m}" for o, c, m in rejected)]
        _say_problems(problems, complete=out is not None)
        if out is not None:
            write_json(out, {**audit.to_dict(), "rejected_rows": [list(r) for r in rejected]})
            say(f"Written: {out}")
        say("Nothing wrong was found." if not problems else f"{len(problems)} things to look at.")
        if problems:
            raise typer.Exit(REJECTED)
    except typer.Exit:
        raise
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None


def _say_problems(problems: list[str], *, complete: bool) -> None:
    for line in problems[:40]:
        say(f"! {line}")
    if len(problems) > 40:
        say(f"! ... and {len(problems) - 40} more" + ("" if complete else " (give --out to have all)"))


def _fit_quality(records: list, target: Path) -> None:
    from ..core.errors import FundusionError, InvalidInput
    from ..core.tasks import STANDARD_TASKS
    from ..quality.gradability import fit_quality
    from ..readers import read_study
    from ..transforms.targets import encode_label

    labelled = []
    with progress("pictures") as show:
        for i, record in enumerate(records):
            value = encode_label(STANDARD_TASKS["gradable"], record.labels.get("gradable"))
            show(i + 1, len(records))
            if value != value:
                continue
            try:
                labelled += [(image, bool(value)) for image in read_study(record).images.get("cfp", ())]
            except FundusionError as error:
                say(f"! {record.study_id}: {error.code}: {error.message}")
    if len(labelled) < 20:
        raise InvalidInput(
            f"{len(labelled)} usable pictures have `label.gradable`.", hint="Needed are at least 20, better 100."
        )
    fit_quality(labelled).save(target)
    say(f"Written: {target} (from {len(labelled)} pictures). Give it to `fundusion analyze --quality`.")


def draw(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder; created.")],
    count: Annotated[int, typer.Option(min=1, help="Eyes to draw.")] = 20,
    seed: Annotated[int, typer.Option(help="The same seed draws the same eyes.")] = 0,
    size: Annotated[int, typer.Option(min=64, max=2048, help="Side of a photograph, px.")] = 512,
    modalities: Annotated[str, typer.Option(help="Comma-separated: cfp, oct, ffa, ultrasound.")] = "cfp",
    missing: Annotated[float, typer.Option(min=0.0, max=0.95, help="Share of modalities that are left out.")] = 0.0,
) -> None:
    """Draw imaginary eyes with known truth: pictures, table, reports, labels and a manifest.

    Example:

      fundusion draw --out drawn --count 50 --modalities cfp,oct --missing 0.3
    """
    try:
        from ..datasets.synthetic import write_cohort

        names = tuple(m.strip() for m in modalities.split(",") if m.strip())
        with progress("eyes") as show:
            manifest = write_cohort(out, count, seed=seed, size=size, modalities=names, missing=missing, progress=show)
    except Exception as error:
        raise typer.Exit(fail(error)) from None
    say(f"Written: {manifest}")
