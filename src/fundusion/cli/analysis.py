"""`analyze` and `demo`: files in, answers and reports out."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from .measure import prepare_kernels
from .screen import USAGE, fail, print_error, progress, say, table

_EXPLAIN = ("none", "cam", "full")


_Unproven = Annotated[
    bool,
    typer.Option("--unproven", help="Also measure what the segmenters are often wrong about elsewhere: cup, lesions."),
]
_Narrator = Annotated[
    str | None,
    typer.Option(help="Generator that words the findings in the reports: name, hub id or folder; checked."),
]


def analyze(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            metavar="INPUT...", help="Image files, folders, DICOM, or a table (.csv .tsv .xlsx .parquet .jsonl)."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results; created.")],
    model: Annotated[str, typer.Option(help="Shipped model, or folder that `train` wrote.")] = "screen",
    workers: Annotated[int, typer.Option(min=0, help="Processes that read files; 0 reads in this one.")] = 2,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    batch_size: Annotated[int, typer.Option(min=1, help="Studies per forward pass.")] = 16,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with an interrupted run in the folder.")
    ] = True,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write a page per study.")] = True,
    explain: Annotated[
        str, typer.Option(help="none, cam (where it looked, share of each modality) or full (also cells and phrases).")
    ] = "cam",
    measure: Annotated[
        bool, typer.Option("--measure/--no-measure", help="Segment and measure colour photographs: about 2 s per eye.")
    ] = True,
    unproven: _Unproven = False,
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Also write the pictures of measured eyes as PNG and SVG.")
    ] = False,
    cohort: Annotated[
        Path | None,
        typer.Option(help="CSV of other measured eyes (patient_id, age): each eye is shown against its age."),
    ] = None,
    columns: Annotated[Path | None, typer.Option(help="TOML with [columns] for tables that look different.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image paths of a table are relative to.")] = None,
    modality: Annotated[str, typer.Option(help="What loose pictures are.")] = "cfp",
    quality: Annotated[
        Path | None, typer.Option(help="Calibration of the quality gate that `check --fit-quality` wrote.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds one study may take to read.")] = 120.0,
    narrator: _Narrator = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Judge, diagnose, measure, explain and report studies.

    Exit codes: 0 all answered, 3 finished with rejected studies, 4 refused before work began, 5 disk or memory
    exhausted, 130/143 interrupted (the same command goes on).

    Examples:

      fundusion analyze photo.jpg --out results

      fundusion analyze clinic.csv --out results --workers 4 --explain full

      fundusion analyze photographs/ --out results --no-measure

      fundusion analyze clinic.csv --out results --cohort healthy/cohort.csv --pictures
    """
    if explain not in _EXPLAIN:
        print_error(f"error [config.explain]: --explain is {explain!r}.\n  Choose one of {', '.join(_EXPLAIN)}.")
        raise typer.Exit(USAGE)
    try:
        code = run_analysis(
            inputs, out, model=model, workers=workers, device=device, batch_size=batch_size, resume=resume, report=report,
            explain=explain, columns=columns, root=root, modality=modality, quality=quality, timeout=timeout,
            measure=measure, unproven=unproven, pictures=pictures, cohort=cohort,
            narrator=narrator,
        )  # fmt: skip
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    raise typer.Exit(code)


def run_analysis(
    inputs: list[Path], out: Path, *, model: str = "screen", device: str = "cpu", explain: str = "cam", **options: Any
) -> int:
    """Run the analysis with progress and print what came of it; returns the exit code."""
    from ..datasets.folder import discover

    found = discover(
        inputs, columns=options.get("columns"), modality=options.get("modality", "cfp"), root=options.get("root")
    )
    for note in found.notes:
        print_error(f"note: {note}")
    from ..batch.run import analyze as run
    from ..pipeline import Pipeline

    pipeline = Pipeline.load(
        model, device=device, explain=explain, quality=options.get("quality"), measure=options.get("measure", True),
        cohort=options.get("cohort"), unproven=options.get("unproven", False),
    )  # fmt: skip
    if pipeline.measurer is not None:
        prepare_kernels()
    if options.get("narrator") and options.get("report", True):
        from .wording import Wording

        worder = Wording(model=str(options["narrator"]), device=device).open()
        if worder is not None:
            from ..narrative.generators import narrate_with

            pipeline.narrate, pipeline.narrator = narrate_with(worder), worder.origin
    with progress("studies") as show:
        summary = run(
            found,
            out,
            pipeline=pipeline,
            workers=options.get("workers", 0),
            batch_size=options.get("batch_size", 16),
            resume=options.get("resume", True),
            report=options.get("report", True),
            pictures=options.get("pictures", False),
            timeout_s=options.get("timeout", 120.0),
            progress=show,
        )
    _show(summary)
    return int(summary.exit_code)


def _show(summary: Any, *, limit: int = 14) -> None:
    from ..batch.outputs import read_results

    rows = read_results(summary.folder)
    shown = []
    for row in rows[:limit]:
        named = [f["name"] for f in row["findings"] if f["status"] == "present"]
        answer = ", ".join(named) or ("no finding over its threshold" if row["status"] == "ok" else row["message"])
        shown.append((row["study_id"], row["laterality"], row["status"], answer))
    table(shown, ("study", "eye", "status", "answer"))
    if len(rows) > limit:
        say(f"... and {len(rows) - limit} more")
    counts = summary.counts
    say()
    say(
        f"{counts['total']} studies: {counts['ok']} answered, {counts['rejected']} rejected, {counts['pending']} pending"
    )
    for code, number in summary.codes.items():
        say(f"  {number} x {code}")
    if summary.seconds.get("studies"):
        say(_times(summary.seconds))
    say(f"Results:  {summary.folder / 'results.jsonl'}, {summary.folder / 'summary.csv'}")
    say(f"Open:     {(summary.folder / 'index.html').absolute()}")
    say("Not a medical device. For research and education only.")


def _times(seconds: dict[str, float]) -> str:
    """Return the time per study in words.

    Example:
        >>> _times({"total": 30.0, "studies": 10, "network": 2.0, "measuring": 15.0})
        'Time:     30.0 s, 3.00 s per study (network 0.20 s, measuring 1.50 s)'
    """
    number = seconds["studies"]
    steps = ", ".join(f"{k} {seconds[k] / number:.2f} s" for k in ("network", "measuring") if seconds.get(k))
    return f"Time:     {seconds['total']:.1f} s, {seconds['total'] / number:.2f} s per study{f' ({steps})' if steps else ''}"


def demo(
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path("demo"),
    count: Annotated[int, typer.Option(min=2, help="Eyes to analyse.")] = 12,
    data: Annotated[
        Path | None, typer.Option(help="Folder of real data; default FUNDUSION_DATA or ../shared/data.")
    ] = None,
) -> None:
    """Run the main job on real eyes where they are, else on drawn ones, and name the report to open.

    Example:

      fundusion demo --out demo
    """
    import shutil
    import tempfile

    folder = data or Path(os.environ.get("FUNDUSION_DATA") or "../shared/data")
    with tempfile.TemporaryDirectory() as scratch:
        try:
            if (folder / "odir" / "labels.csv").is_file():
                say(f"Real eyes: {count} of ODIR-5K and one damaged file, with age and sex.")
                manifest = _real_manifest(folder / "odir", Path(scratch), count)
            else:
                say(f"Drawn eyes: {count} imaginary ones (no real data found; set FUNDUSION_DATA to use them).")
                from ..datasets.synthetic import write_cohort

                manifest = write_cohort(
                    Path(scratch) / "drawn", count, seed=7, modalities=("cfp", "text", "table"), size=512
                )
            # A demonstration starts over each time; a real run never deletes anything.
            if (out / ".ledger.sqlite").is_file():
                shutil.rmtree(out)
            code = run_analysis([manifest], out, workers=0, explain="full")
        except Exception as error:
            raise typer.Exit(fail(error)) from None
    # The damaged file is part of the show: its rejection is what should happen.
    raise typer.Exit(0 if code == 3 else code)


def _real_manifest(folder: Path, scratch: Path, count: int) -> Path:
    """Write a table of eyes spread over the labels, and a copy of one picture that is cut in half."""
    import csv
    import shutil

    from ..datasets.odir import odir

    records = odir(folder)
    letters = "NDGCAHMO"
    picked = []
    for i in range(count):
        wanted = letters[i % len(letters)]
        pool = [r for r in records if r.labels["disease"][wanted] == 1 and r not in picked]
        picked.append(pool[(i // len(letters)) * 7 + 3])
    pictures = scratch / "pictures"
    pictures.mkdir(parents=True)
    table_path = scratch / "studies.csv"
    with table_path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["study_id", "patient_id", "laterality", "cfp", "meta.age", "meta.sex"])
        for record in picked:
            source = Path(record.images["cfp"][0])
            shutil.copyfile(source, pictures / source.name)
            eye = record.laterality.value if record.laterality else ""
            age, sex = record.metadata["age"], record.metadata["sex"]
            writer.writerow([record.study_id, record.patient_id, eye, f"pictures/{source.name}", age, sex])
        content = Path(picked[0].images["cfp"][0]).read_bytes()
        (pictures / "damaged.jpg").write_bytes(content[: len(content) // 2])
        writer.writerow(["damaged_copy", "damaged", "", "pictures/damaged.jpg", 60, "female"])
    return table_path
