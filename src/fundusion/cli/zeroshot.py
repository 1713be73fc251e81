"""`zeroshot`: ask pictures a question in words; `ground`: show where a picture is like a phrase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .screen import fail, print_error, progress, say, table

# One name per option: a command is then a list that can be read.
_Inputs = Annotated[
    list[Path], typer.Argument(metavar="INPUT...", help="Image files, folders, DICOM, or a table of studies.")
]
_Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the results; created.")]
_Model = Annotated[
    str, typer.Option(help="Image-text model: a name, a family such as flair, or a run folder of pretrain.")
]
_Weights = Annotated[
    str | None, typer.Option(help="File, folder, published, hub:owner/name; fresh for random ones, to try the command.")
]
_Tokenizer = Annotated[str | None, typer.Option(help="Folder or hub id of the words of the text encoder.")]
_Option = Annotated[list[str] | None, typer.Option("--option", help="Of the model, NAME=VALUE; may be repeated.")]
_Labels = Annotated[
    str | None, typer.Option(help='Labels with commas; "label = words | words" asks in your own words.')
]
_Set = Annotated[str | None, typer.Option("--set", help="Labels by name: odir, icdr, rfmid, ...")]
_Several = Annotated[bool, typer.Option("--several", help="Any number of --labels may hold.")]
_KnownOnly = Annotated[bool, typer.Option("--known-only", help="Refuse labels that are no known finding.")]
_Knowledge = Annotated[
    Path | None, typer.Option(help="File of findings instead of the one inside; see `fundusion knowledge`.")
]
_Language = Annotated[str, typer.Option(help="Of the prompts: en or zh.")]
_Prompts = Annotated[
    str, typer.Option(help="prompt (name and definitions), names, definitions, or label (as it is typed).")
]
_Template = Annotated[
    list[str] | None, typer.Option(help="Sentence with {finding}; may be repeated. That of the modality without.")
]
_Calibrate = Annotated[
    Path | None, typer.Option(help="Table or public set of labelled eyes: calibrate, and make prediction sets.")
]
_Calibration = Annotated[Path | None, typer.Option(help="calibration.json of an earlier run.")]
_Coverage = Annotated[float, typer.Option(help="Share of eyes whose prediction set holds the truth; 0 makes no sets.")]
_Eyes = Annotated[int | None, typer.Option(min=1, help="Most labelled eyes that --calibrate uses.")]
_Task = Annotated[str | None, typer.Option(help="Column of the labels in --calibrate; that of the set without.")]
_Mirror = Annotated[bool, typer.Option("--mirror", help="Mean of a picture and its mirror image.")]
_Calls = Annotated[
    str, typer.Option(help="alone, class or together: texts that are tokenised in one call; see the guide.")
]
_Renormalise = Annotated[bool, typer.Option("--renormalise", help="Bring the mean of several prompts to length one.")]
_Gate = Annotated[bool, typer.Option("--gate/--no-gate", help="Refuse pictures that cannot be judged.")]
_Workers = Annotated[int, typer.Option(min=0, help="Processes that read files; 0 reads in this one.")]
_BatchSize = Annotated[int, typer.Option(min=1, help="Studies per forward pass.")]
_Resume = Annotated[bool, typer.Option("--resume/--no-resume", help="Go on with an interrupted run.")]
_Columns = Annotated[Path | None, typer.Option(help="TOML with [columns] for tables that look different.")]
_Root = Annotated[Path | None, typer.Option(help="Folder that image paths of a table are relative to.")]
_Modality = Annotated[str, typer.Option(help="What loose pictures are.")]
_Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")]


def zeroshot(
    inputs: _Inputs,
    *,
    out: _Out,
    model: _Model,
    labels: _Labels = None,
    label_set: _Set = None,
    several: _Several = False,
    known_only: _KnownOnly = False,
    weights: _Weights = None,
    tokenizer: _Tokenizer = None,
    option: _Option = None,
    knowledge: _Knowledge = None,
    language: _Language = "en",
    prompts: _Prompts = "prompt",
    template: _Template = None,
    calibrate: _Calibrate = None,
    calibration: _Calibration = None,
    coverage: _Coverage = 0.9,
    eyes: _Eyes = None,
    task: _Task = None,
    mirror: _Mirror = False,
    calls: _Calls = "alone",
    renormalise: _Renormalise = False,
    gate: _Gate = True,
    workers: _Workers = 0,
    batch_size: _BatchSize = 16,
    resume: _Resume = True,
    columns: _Columns = None,
    root: _Root = None,
    modality: _Modality = "cfp",
    device: _Device = "cpu",
    debug: _Debug = False,
) -> None:
    """Ask pictures a question in words, without training.

    Every study ends ok, rejected with a reason, or pending after an interruption; the same command goes on. Numbers are not
    probabilities of disease until they are calibrated on labelled eyes.

    Examples:

      fundusion zeroshot photographs/ --labels "normal fundus, macular hole, glaucoma" --model flair --weights published --tokenizer words/ --out asked

      fundusion zeroshot clinic.csv --set odir --model run --calibrate labelled.csv --out asked
    """
    try:
        code = _zeroshot(
            inputs, out, model=model, labels=labels, label_set=label_set, several=several, known_only=known_only,
            weights=weights, tokenizer=tokenizer, option=option, knowledge=knowledge, language=language, prompts=prompts,
            template=template, calibrate=calibrate, calibration=calibration, coverage=coverage, eyes=eyes, task=task,
            mirror=mirror, calls=calls, renormalise=renormalise, gate=gate, workers=workers, batch_size=batch_size,
            resume=resume, columns=columns, root=root, modality=modality, device=device,
        )  # fmt: skip
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    raise typer.Exit(code)


def _zeroshot(inputs: list[Path], out: Path, **o: Any) -> int:
    from ..batch.run import analyze as run
    from ..datasets.folder import discover
    from ..train.aligners import load_aligner
    from ..zeroshot import Fit, ZeroShot

    question = _question(**o)
    for note in question.notes:
        print_error(f"note: {note}")
    found = discover(inputs, columns=o["columns"], root=o["root"], modality=o["modality"])
    for note in found.notes:
        print_error(f"note: {note}")
    loaded = load_aligner(
        o["model"], weights=o["weights"], tokenizer=o["tokenizer"], options=options_of(o["option"]), device=o["device"]
    )
    how = {k: o[k] for k in ("gate", "mirror", "calls", "renormalise", "device")}
    asked = ZeroShot(loaded, question, **how)
    fit = _fit(asked, **o)
    if fit is not None:
        asked = ZeroShot(loaded, question, fit=fit, **how)
    with progress("studies") as show:
        summary = run(
            found, out, pipeline=asked, workers=o["workers"], batch_size=o["batch_size"], resume=o["resume"],
            report=False, progress=show,
        )  # fmt: skip
    if isinstance(fit, Fit):
        fit.save(summary.folder / "calibration.json")
    _show(summary, question, fit)
    return int(summary.exit_code)


def _question(**o: Any) -> Any:
    from dataclasses import replace

    from ..core.errors import InvalidInput
    from ..knowledge import Knowledge
    from ..knowledge.questions import prompts_of_labels, prompts_of_set

    known = Knowledge.read(o["knowledge"])
    if (o["labels"] is None) == (o["label_set"] is None):
        raise InvalidInput(
            "give either --labels or --set.", code="config.labels", hint=f"Sets: {', '.join(known.sets) or 'none'}."
        )
    common = {"language": o["language"], "kind": o["prompts"]}
    if o["label_set"] is not None:
        made = prompts_of_set(known, o["label_set"], template=o["template"], **common)
    else:
        template = o["template"] or (o["modality"] if o["modality"] in ("oct", "ffa") else "cfp")
        made = prompts_of_labels(
            known, o["labels"], template=template, several=o["several"], known_only=o["known_only"], **common
        )
        made = replace(made, modality=o["modality"])
    return replace(made, label_in_tables=o["task"]) if o["task"] else made


def _fit(asked: Any, **o: Any) -> Any:
    """Return the calibration that was asked for, or None."""
    from ..core.errors import InvalidInput
    from ..datasets.folder import discover
    from ..zeroshot import Fit, fit_zeroshot

    if o["calibrate"] is not None and o["calibration"] is not None:
        raise InvalidInput("give either --calibrate or --calibration.", code="config.calibration")
    if not 0 <= o["coverage"] < 1:
        raise InvalidInput(f"--coverage {o['coverage']} is not between 0 and 1.", code="config.coverage")
    if o["calibration"] is not None:
        return Fit.load(o["calibration"])
    if o["calibrate"] is None:
        return None
    records = list(discover([o["calibrate"]], columns=o["columns"], root=o["root"], modality=o["modality"]))
    name = asked.question.label_in_tables
    labelled = [r for r in records if r.labels.get(name) is not None]
    if labelled and o["eyes"]:
        from ..datasets._splits import position_of

        # Patients in an order of their own, so that the first of a table are nothing special.
        labelled = sorted(labelled, key=lambda r: (position_of(r.group, seed=7), r.study_id))[: o["eyes"]]
    with progress("labelled eyes") as show:
        return fit_zeroshot(asked, labelled or records, coverage=o["coverage"] or None, progress=show)


def _show(summary: Any, question: Any, fit: Any, *, limit: int = 14) -> None:
    from ..batch.outputs import read_results

    rows = read_results(summary.folder)
    shown = []
    for row in rows[:limit]:
        said = row["predictions"].get(question.name)
        if said is None:
            shown.append((row["study_id"], row["status"], row["message"], ""))
            continue
        top = sorted(said["probabilities"].items(), key=lambda item: -item[1])[:3]
        kept = said.get("prediction_set")
        words = ", ".join(f"{_title(question, k)} {p:.2f}" for k, p in top)
        shown.append((row["study_id"], row["status"], words, "" if kept is None else ", ".join(kept) or "none fits"))
    heads = ("study", "status", "answer", "prediction set")
    table(shown if fit is not None else [r[:3] for r in shown], heads if fit is not None else heads[:3])
    if len(rows) > limit:
        say(f"... and {len(rows) - limit} more")
    counts = summary.counts
    say()
    say(
        f"{counts['total']} studies: {counts['ok']} answered, {counts['rejected']} rejected, {counts['pending']} pending"
    )
    for code, number in summary.codes.items():
        say(f"  {number} x {code}")
    if fit is None:
        say("Not calibrated: these numbers order eyes, they are no probabilities. --calibrate TABLE makes them some.")
    else:
        facts = fit.facts
        area = "undefined" if facts["macro_auroc"] is None else f"{facts['macro_auroc']:.3f}"
        say(f"Calibrated on {facts['eyes']} eyes of {facts['patients']} patients (macro AUROC on them {area}).")
        for code, number in facts["rejected"].items():
            say(f"  labelled, left out: {number} x {code}")
        if fit.conformal is not None and min(fit.conformal.n) < facts["least_patients_for_sets"]:
            say(
                f"  Some prediction sets can leave nothing out: {min(fit.conformal.n)} patients stand behind a limit, "
                f"needed are {facts['least_patients_for_sets']}."
            )
    say(f"Results:  {summary.folder / 'results.jsonl'}, {summary.folder / 'summary.csv'}")
    say("Not a medical device. For research and education only.")


def _title(question: Any, label: str) -> str:
    return str(question.task.titles.get(label, label))


def options_of(given: list[str] | None) -> dict[str, Any]:
    """Return options of a model as they are typed; numbers become numbers.

    Raises:
        InvalidInput: One without "=".

    Example:
        >>> options_of(["pooling=mean_with_padding", "max_tokens=64"])
        {'pooling': 'mean_with_padding', 'max_tokens': 64}
    """
    from ..core.errors import InvalidInput

    found: dict[str, Any] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise InvalidInput(f"--option {text!r} is not NAME=VALUE.", code="config.option")
        words = value.strip()
        found[name.strip()] = (
            int(words) if words.lstrip("-").isdigit() else {"true": True, "false": False}.get(words, words)
        )
    return found


def ground(
    image: Annotated[Path, typer.Argument(help="One picture.")],
    phrase: Annotated[str, typer.Argument(help="A finding or words of your own.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="PNG: the picture with the map over it.")],
    model: _Model,
    weights: _Weights = None,
    tokenizer: _Tokenizer = None,
    option: _Option = None,
    against: Annotated[str | None, typer.Option(help="Show where the phrase fits better than this one.")] = None,
    method: Annotated[
        str, typer.Option(help="map (projected feature map) or occlusion (what changes when a part is hidden).")
    ] = "map",
    knowledge: _Knowledge = None,
    language: _Language = "en",
    modality: Annotated[str, typer.Option(help="What the picture is.")] = "cfp",
    device: _Device = "cpu",
    debug: _Debug = False,
) -> None:
    """Show where a picture is like a phrase: a map of similarities over it, and their range.

    Example:

      fundusion ground eye.jpg "hard exudates" --model run --out exudates.png
    """
    try:
        from ..zeroshot.pictures import ground_picture

        found = ground_picture(
            image, phrase, out, model=model, weights=weights, tokenizer=tokenizer, options=options_of(option),
            against=against, method=method, knowledge=knowledge, language=language, modality=modality, device=device,
        )  # fmt: skip
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    say(f"Whole picture: {found.overall:+.3f}; places: {found.low:+.3f} to {found.high:+.3f} ({found.kind})")
    if found.is_flat:
        say("The map is flat: no place is more like the phrase than another.")
    say(f"Open:     {out.absolute()}")
