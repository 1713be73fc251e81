"""`oct-layers`: surfaces, thickness on the ETDRS grid and fluid of OCT scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .screen import REJECTED, fail, progress, say, table


def oct_layers(
    inputs: Annotated[
        list[Path], typer.Argument(help="B-scans, volumes, folders that each hold the B-scans of one volume.")
    ],
    *,
    model: Annotated[
        Path, typer.Option("--model", "-m", help="Folder that train-segmenter recipes/oct_layers.toml wrote.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for tables, surfaces and pictures.")],
    spacing_um: Annotated[
        str | None,
        typer.Option(help="DOWN,ACROSS of a B-scan or BETWEEN,DOWN,ACROSS of a volume, where files do not say."),
    ] = None,
    laterality: Annotated[str | None, typer.Option(help="OD or OS, where files do not say.")] = None,
    fovea: Annotated[
        str | None, typer.Option(help="BSCAN,COLUMN from 0; found by the pit of a volume if left out.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Measure layers of the macula. The network of the recipe has seen drawn eyes only: its numbers say nothing of patients.

    Examples:

      fundusion train-segmenter recipes/oct_layers.toml --out runs/oct_layers

      fundusion oct-layers scan.png --spacing-um 3.9,11.7 --model runs/oct_layers --out layers

      fundusion oct-layers volume/ --spacing-um 240,3.9,11.7 --laterality OD --model runs/oct_layers --out layers
    """
    try:
        from ..batch.layers import measure_scans
        from ..core.vocabulary import parse_laterality
        from ..segmenting import load_segmenter

        place = _numbers(fovea, "fovea", (2,))
        rows = measure_scans(
            inputs, out, load_segmenter(model),
            spacing_um=_numbers(spacing_um, "spacing-um", (2, 3)),
            laterality=parse_laterality(laterality) if laterality else None,
            fovea=None if place is None else (place[0], place[1]),
            reporter=progress,
        )  # fmt: skip
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    refused = [r for r in rows if r.status == "rejected"]
    say(f"{len(rows)} scans: {len(rows) - len(refused)} ok, {len(refused)} rejected, 0 pending")
    if refused:
        table([(r.name, r.code, r.message) for r in refused[:20]], ("scan", "code", "why"))
    shown = [
        (r.name, m.name, m.region or "", "" if m.value is None else f"{m.value:.4g} {m.unit}", m.failure or "")
        for r in rows
        for m in r.measurements
        if m.name in ("central_subfield_thickness", "macular_volume", "fluid_volume", "fluid_area")
        or (m.name, m.region) == ("retina_thickness", "scan")
    ]
    if shown:
        table(shown[:40], ("scan", "measurement", "region", "value", "no value because"))
        say("Learned on drawn eyes only; no number here is for the care of a patient.")
    say(f"Tables:   {out}")
    raise typer.Exit(REJECTED if rows and len(refused) == len(rows) else 0)


def _numbers(text: str | None, name: str, counts: tuple[int, ...]) -> tuple[float, ...] | None:
    from ..core.errors import InvalidInput

    if text is None:
        return None
    try:
        values = tuple(float(v) for v in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in counts:
        raise InvalidInput(
            f"--{name} is {text!r}; needed are {' or '.join(map(str, counts))} numbers with commas.",
            code="config.invalid",
        )
    return values
