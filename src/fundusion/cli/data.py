"""`draw`: make data whose truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .screen import fail, progress, say


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
