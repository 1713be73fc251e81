"""`measure`: numbers of vessels, disc and lesions from masks of any tool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .screen import fail, print_error, progress, say, table

if TYPE_CHECKING:
    from ..batch.measuring import MaskItem

_Folder = Path | None
_MASKS = "Folder of {} masks of the same names."
_FACTS = (
    "CSV with `name` and any of laterality (OD, OS), spacing_um, gradable, disc_row, disc_col, disc_diameter_px, fovea_row, "
    "fovea_col, patient_id, age, sex."
)
Inputs = Annotated[list[Path], typer.Argument(help="Vessel masks or artery-vein maps: files and folders.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of this run; created.")]
Artery = Annotated[_Folder, typer.Option(help=_MASKS.format("artery"))]
Vein = Annotated[_Folder, typer.Option(help=_MASKS.format("vein"))]
Disc = Annotated[_Folder, typer.Option(help=_MASKS.format("optic-disc"))]
Cup = Annotated[_Folder, typer.Option(help=_MASKS.format("optic-cup"))]
Field = Annotated[_Folder, typer.Option(help=_MASKS.format("field-of-view"))]
Lesion = Annotated[list[str] | None, typer.Option(help="NAME=FOLDER of lesion masks, such as EX=masks/ex. Repeatable.")]
Images = Annotated[
    _Folder,
    typer.Option(
        help="Folder of photographs: sizes are compared, ungradable ones get no numbers, the fovea is looked for."
    ),
]
Facts = Annotated[_Folder, typer.Option(help=_FACTS)]
Spacing = Annotated[float | None, typer.Option(min=0.01, help="Micrometres per pixel of all eyes.")]
Eye = Annotated[str | None, typer.Option(help="OD or OS, of all eyes.")]
Green = Annotated[str, typer.Option(help="What green means in artery-vein maps: uncertain or crossing.")]
Labels = Annotated[str | None, typer.Option(help="Numbers of classes in masks, such as artery=1,vein=2.")]
Probability = Annotated[
    bool, typer.Option("--probability", help="Grey levels are probabilities; values carry what they leave open.")
]
Estimate = Annotated[
    bool, typer.Option("--estimate/--no-estimate", help="Micrometres from the size of the disc (1850 um), marked so.")
]
Pictures = Annotated[bool, typer.Option("--pictures", help="Draw the graph and the zones of each eye.")]
CohortTable = Annotated[
    _Folder,
    typer.Option(
        "--cohort", help="CSV of other measured eyes (patient_id, age): each eye gets a page against its age."
    ),
]
MeasuredWith = Annotated[
    str | None, typer.Option(help="Tool that made the masks; only numbers of one tool are compared.")
]
Format = Annotated[str, typer.Option("--format", help="Of the tables: csv, parquet or json.")]
Resume = Annotated[bool, typer.Option("--resume/--no-resume", help="Go on with an interrupted run.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")]


def measure(
    inputs: Inputs,
    *,
    out: Out,
    artery: Artery = None,
    vein: Vein = None,
    disc: Disc = None,
    cup: Cup = None,
    field: Field = None,
    lesion: Lesion = None,
    images: Images = None,
    facts: Facts = None,
    spacing_um: Spacing = None,
    laterality: Eye = None,
    green: Green = "uncertain",
    labels: Labels = None,
    probability: Probability = False,
    estimate: Estimate = True,
    pictures: Pictures = False,
    cohort: CohortTable = None,
    measured_with: MeasuredWith = None,
    format: Format = "csv",
    resume: Resume = True,
    debug: Debug = False,
) -> None:
    """Measure masks of any tool: black and white, or arteries red and veins blue.

    Written are measurements (one row each, with unit, region, number of vessels, uncertainty, and the reason where there is no
    value), eyes and patients (one row each), and cohort.csv: the eyes with patient and age that --cohort of another run compares
    with. Every mask ends ok or rejected with a reason.

    Exit codes: 0 all measured, 3 some were rejected, 4 nothing could begin.

    Examples:

      fundusion measure masks --out measured

      fundusion measure av_maps --disc discs --facts eyes.csv --pictures --out measured

      fundusion measure healthy/masks --facts healthy.csv --measured-with lwnet --out healthy/measured

      fundusion measure masks --facts eyes.csv --measured-with lwnet --cohort healthy/measured/cohort.csv --out measured

      fundusion measure vessels --labels artery=1,vein=2 --spacing-um 8.5 --format parquet --out measured
    """
    try:
        from ..batch.measuring import COMPANIONS, Reading, find_items, measure_all
        from ..readers.cohort import read_cohort

        given = (
            dict(zip(COMPANIONS, (artery, vein, disc, cup, field), strict=True))
            | _lesions(lesion or [])
            | {"image": images}
        )
        items = find_items(inputs, companions={k: v for k, v in given.items() if v is not None}, facts=facts)
        reading = Reading(
            green=green, labels=_labels(labels), probability=probability, spacing_um=spacing_um, laterality=laterality, estimate_scale=estimate,
            measured_with=measured_with, cohort=read_cohort(cohort) if cohort else None,
        )  # fmt: skip
        _warn(items)
        prepare_kernels()
        with progress("masks") as show:
            done = measure_all(
                items, out, reading=reading, pictures=pictures, table=format, resume=resume, progress=show
            )
        say(f"{done.counts['ok']} measured, {done.counts['rejected']} rejected, {done.counts['pending']} pending")
        if done.codes:
            table(list(done.codes.items()), ("rejected because", "masks"))
        if cohort:
            say(f"Pages:   {out / 'index.html'}")
        say(
            f"Written: {out / f'measurements.{format}'}, {out / f'eyes.{format}'}, {out / 'patients.csv'}, {out / 'cohort.csv'}"
        )
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    raise typer.Exit(done.exit_code)


def _warn(items: list[MaskItem]) -> None:
    """Say what came with the masks about their segmenter, once for each folder."""
    from ..batch.unproven import read_warning
    from .segment import warn_of_unproven

    for place in sorted({p.parent for i in items for p in (i.path, *i.companions.values())}):
        warn_of_unproven(read_warning(place))


def prepare_kernels() -> None:
    """Make the measuring functions ready, and say so where that takes long."""
    from ..biomarkers.compiled import is_compiled
    from ..biomarkers.eye import prepare

    if not is_compiled():
        print_error("Compiling the measuring functions once; this takes about 20 seconds.")
    prepare()


def _lesions(texts: list[str]) -> dict[str, Path]:
    from ..biomarkers.eye import STRUCTURES
    from ..core.errors import InvalidInput

    found = {}
    for text in texts:
        name, _, folder = text.partition("=")
        if not name or not folder or name in (*STRUCTURES, "image"):
            raise InvalidInput(
                f"--lesion is {text!r}; needed is NAME=FOLDER, such as EX=masks/ex.", code="config.lesion"
            )
        found[name] = Path(folder)
    return found


def _labels(text: str | None) -> dict[str, int]:
    from ..core.errors import InvalidInput

    found: dict[str, int] = {}
    for part in (text or "").split(","):
        name, _, number = part.strip().partition("=")
        if not part.strip():
            continue
        if name not in ("artery", "vein", "vessels") or not number.isdigit():
            raise InvalidInput(f"--labels is {text!r}; needed is artery=1,vein=2 or vessels=1.", code="config.labels")
        found[name] = int(number)
    return found
