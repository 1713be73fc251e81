"""`adapt`: how well an encoder learns a question from few labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .screen import fail, progress, say, table

# One name per option: the command is then a list that can be read.
_Model = Annotated[str, typer.Argument(help="Name of a model, or a run folder of pretrain or train.")]
_Manifest = Annotated[Path, typer.Argument(help="Table of studies with labels, or a public set as downloaded.")]
_Protocol = Annotated[
    str,
    typer.Option(
        help="linear, knn, attentive, finetune, lora, bitfit; of an image-text model also zeroshot, logistic, clip_adapter, "
        "tip_adapter, tip_adapter_f; several with commas."
    ),
]
_Task = Annotated[str, typer.Option(help="Label to learn; one of several exclusive ones.")]
_Shots = Annotated[str, typer.Option(help="Studies per class, with commas; 'all' takes every one.")]
_Seeds = Annotated[int, typer.Option(min=1, help="Repetitions; intervals are over them.")]
_Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for adaptation.json and the page.")]
_Weights = Annotated[str | None, typer.Option(help="Weights of the model: a file, or a folder of pretrain.")]
_Modality = Annotated[str, typer.Option(help="Pictures that are used.")]
_ImageSize = Annotated[int | None, typer.Option(help="Side of the pictures; the model's own when left out.")]
_Steps = Annotated[int, typer.Option(min=1, help="Optimiser steps of attentive, finetune, lora, bitfit.")]
_BatchSize = Annotated[int | None, typer.Option(min=1, help="16; of a generator 8.")]
_Objective = Annotated[
    str | None,
    typer.Option(
        help="Of a generator: instruct or dpo, low-rank adapters on its language part from a file of conversations."
    ),
]
_Rate = Annotated[float | None, typer.Option(help="The protocol's own when left out.")]
_Decay = Annotated[float, typer.Option(help="Of finetune: factor of the rate per layer.")]
_Rank = Annotated[int, typer.Option(min=1)]
_Neighbours = Annotated[int, typer.Option(min=1, help="Of knn.")]
_Epochs = Annotated[
    int | None,
    typer.Option(min=1, help="Of clip_adapter and tip_adapter_f, one picture a step: 40; of a generator: 1."),
]
_TipScales = Annotated[
    str, typer.Option(help="released: predict with other scales than in training; consistent: with the same.")
]
_Augmented = Annotated[
    bool, typer.Option("--augmented-answers", help="Answer randomly changed pictures, as released adapters do.")
]
_Probe = Annotated[
    str, typer.Option(help="Of logistic: backbone (as the paper says) or projected (as the released script does).")
]
_SplitRule = Annotated[str, typer.Option(help="patients, or flair: divide pictures anew for every seed, a fifth each.")]
_Set = Annotated[
    str | None, typer.Option("--set", help="Set of labels whose texts are asked; that of the task without.")
]
_Knowledge = Annotated[Path | None, typer.Option(help="File of findings instead of the one inside.")]
_Language = Annotated[str, typer.Option(help="Of the texts: en or zh.")]
_Tokenizer = Annotated[str | None, typer.Option(help="Folder or hub id of the words of an image-text model.")]
_Frozen = Annotated[float, typer.Option(help="First share of the steps that train the head only.")]
_Cache = Annotated[Path | None, typer.Option(help="Folder for pictures and vectors.")]
_Columns = Annotated[Path | None, typer.Option(help="TOML with [columns].")]
_Root = Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")]
_Device = Annotated[str, typer.Option(help="cpu, cuda, ...")]
_Debug = Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")]
#: Of the protocols, where nothing is asked; a generator has others.
_USUAL = {"batch_size": 16, "epochs": 40}


def adapt(
    model: _Model,
    manifest: _Manifest,
    *,
    protocol: _Protocol = "linear",
    task: _Task = "dr_grade",
    shots: _Shots = "1,5,10,all",
    seeds: _Seeds = 5,
    out: _Out,
    weights: _Weights = None,
    modality: _Modality = "cfp",
    image_size: _ImageSize = None,
    steps: _Steps = 200,
    objective: _Objective = None,
    batch_size: _BatchSize = None,
    learning_rate: _Rate = None,
    layer_decay: _Decay = 0.65,
    lora_rank: _Rank = 8,
    neighbours: _Neighbours = 20,
    epochs: _Epochs = None,
    tip_scales: _TipScales = "released",
    augmented_answers: _Augmented = False,
    probe_features: _Probe = "backbone",
    split_rule: _SplitRule = "patients",
    label_set: _Set = None,
    knowledge: _Knowledge = None,
    language: _Language = "en",
    tokenizer: _Tokenizer = None,
    frozen_share: _Frozen = 0.0,
    cache: _Cache = None,
    columns: _Columns = None,
    root: _Root = None,
    device: _Device = "cpu",
    debug: _Debug = False,
) -> None:
    """Measure an encoder on a label with few and many examples, by one or more protocols; or give a generator adapters.

    Examples:

      fundusion adapt vit.tiny eyes/manifest.csv --weights run --protocol linear,knn --shots 1,5,all --out adapted

      fundusion adapt flair our_clinic.csv --weights published --tokenizer words --protocol clip_adapter,tip_adapter_f --out adapted

      fundusion adapt retfound.cfp our_clinic.csv --weights RETFound_cfp.safetensors --protocol lora --task referable --out adapted

      fundusion adapt llava conversations.jsonl --objective instruct --lora-rank 8 --out assistant
    """
    settings = {
        "steps": steps, "batch_size": batch_size, "learning_rate": learning_rate, "layer_decay": layer_decay,
        "lora_rank": lora_rank, "frozen_share": frozen_share, "neighbours": neighbours, "device": device, "epochs": epochs,
        "tip_scales": tip_scales, "augmented_answers": augmented_answers, "probe_features": probe_features,
    }  # fmt: skip
    try:
        if objective is not None:
            code = _generator(model, manifest, objective, out, weights=weights, modality=modality, root=root, settings=settings)  # fmt: skip
            raise typer.Exit(code)
        page = _adapt(
            model, manifest, protocol=protocol, task=task, shots=shots, seeds=seeds, out=out, weights=weights, modality=modality,
            image_size=image_size, label_set=label_set, knowledge=knowledge, language=language, tokenizer=tokenizer,
            split_rule=split_rule, cache=cache, columns=columns, root=root, settings=settings,
        )  # fmt: skip
    except typer.Exit:
        raise
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    _show(page.parent / "adaptation.json")
    say(f"Open:     {page.absolute()}")


def _generator(model: str, data: Path, objective: str, out: Path, *, settings: dict[str, Any], **o: Any) -> int:
    """Train low-rank adapters on the language part of a generator."""
    from ..core.errors import InvalidInput
    from .generator_training import with_generator
    from .pretrain_pairs import Plan

    if objective not in ("instruct", "dpo"):
        raise InvalidInput(
            f"--objective {objective[:40]!r} trains no adapters.",
            code="config.objective",
            hint="Use instruct or dpo; caption and blip2 are objectives of pretrain.",
        )
    names = ("epochs", "batch_size", "learning_rate", "device")
    given = {"lora_rank": settings["lora_rank"]} | ({"weights": o["weights"]} if o["weights"] else {})
    plan = Plan(
        objective=objective, model=model, data=data, out=out, modality=o["modality"], root=o["root"], generator=given,
        train={n: settings[n] for n in names if settings[n] is not None},
    )  # fmt: skip
    return with_generator(plan)


def _adapt(model: str, manifest: Path, **o: Any) -> Path:
    from ..datasets.folder import discover
    from ..train.adapt import adapt as run
    from ..train.protocols import Settings

    return run(
        _model_name(model),
        list(discover([manifest], columns=o["columns"], root=o["root"], modality=o["modality"])),
        o["out"],
        task=o["task"],
        modality=o["modality"],
        protocols=[p.strip() for p in o["protocol"].split(",") if p.strip()],
        shots=_shots(o["shots"]),
        seeds=o["seeds"],
        weights=o["weights"],
        options=None if o["image_size"] is None else {"image_size": o["image_size"]},
        settings=Settings(**{**o["settings"], **{k: o["settings"][k] or v for k, v in _USUAL.items()}}),
        prompts=_prompts(o["label_set"], o["knowledge"], o["language"], o["task"]),
        tokenizer=o["tokenizer"],
        split_rule=o["split_rule"],
        cache=None if o["cache"] is None else str(o["cache"]),
        reporter=progress,
    )


def _model_name(model: str) -> str:
    """Return the one image-text model that the name of a family means, else the name as it is."""
    from ..core.registry import models
    from ..train.aligners import aligner_name

    return aligner_name(model) if model in models.families() and model not in models.names() else model


def _prompts(label_set: str | None, knowledge: Path | None, language: str, task: str) -> Any:
    """Return the texts of the classes where the command names them, else None."""
    if label_set is None and knowledge is None and language == "en":
        return None
    from ..core.tasks import STANDARD_TASKS
    from ..knowledge import Knowledge
    from ..knowledge.questions import prompts_of_set, prompts_of_task

    known = Knowledge.read(knowledge)
    if label_set is not None or task not in STANDARD_TASKS:
        name = label_set or next((s.name for s in known.sets.values() if s.task == task), task)
        return prompts_of_set(known, name, language=language)
    return prompts_of_task(known, task, STANDARD_TASKS[task], language=language)


def _shots(text: str) -> list[int | None]:
    from ..core.errors import InvalidInput

    found: list[int | None] = []
    for part in text.split(","):
        word = part.strip().lower()
        if word == "all":
            found.append(None)
        elif word.isdigit() and int(word) > 0:
            found.append(int(word))
        else:
            raise InvalidInput(f"--shots {text!r}: {part!r} is no number of studies.", code="config.shots",
                               hint="For instance 1,5,10,all.")  # fmt: skip
    return found


def _show(path: Path) -> None:
    import json

    from ..report.adaptation import interval_words

    curves: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["curves"]
    names = list(curves[0]["metrics"])
    rows = [
        (c["protocol"], "all" if c["shots"] is None else c["shots"], *(interval_words(c["metrics"][n]) for n in names))
        for c in curves
    ]
    table(rows, ("protocol", "studies per class", *names))
