"""How well an encoder learns a question from few labels: protocols, few-shot curves, intervals over seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..core.durable import write_json, write_text
from ..core.errors import InvalidInput
from ..core.registry import models
from ..core.study import StudyRecord
from ..core.tasks import STANDARD_TASKS, MultiClass, Task
from ..datasets._splits import position_of
from ..knowledge import Knowledge
from ..knowledge.questions import PromptSet, prompts_of_task
from ..layers.prototypes import class_vectors
from ..metrics.classification import Undefined, Value, accuracy, auroc, balanced_accuracy, macro, quadratic_kappa
from ..metrics.statistics import mean_interval
from ..network import MultimodalNetwork, build_network, load_network
from ..report.adaptation import adaptation_page
from .adapters import ALIGNED, flair_split
from .aligners import load_aligner
from .data import prepare_set
from .embeddings import digest_of_module, with_vectors
from .pretrain import full_name
from .protocols import PROTOCOLS, Question, Settings
from .run import Reporter

Array = npt.NDArray[np.float64]
EVERY = {**PROTOCOLS, **ALIGNED}


def encoder_network(
    model: str, modality: str, task: Task, *, weights: str | None = None, options: Mapping[str, Any] | None = None
) -> MultimodalNetwork:
    """Return a network whose encoder of one modality is a registered model, a pretraining run or part of a trained network.

    Args:
        model: Name of a model, or a run folder.
        modality: What it reads.
        task: Needed to build a network; its head is not used.
        weights: File, or folder of `fundusion pretrain`, for a name.
        options: Of the model.

    Raises:
        InvalidInput: The network in the folder does not read the modality.
    """
    folder = Path(model)
    if (folder / "encoder.json").is_file():
        facts = json.loads((folder / "encoder.json").read_text("utf-8"))
        model, weights, options = facts["model"], str(folder), {**facts["options"], **(options or {})}
    elif (folder / "network.json").is_file() or (folder / "model" / "network.json").is_file():
        network, _ = load_network(folder if (folder / "network.json").is_file() else folder / "model")
        if modality not in network.spec.inputs:
            raise InvalidInput(
                f"the network in {folder.name!r} does not read {modality!r}.",
                code="modality.unknown",
                hint=f"It reads {', '.join(network.spec.inputs)}.",
            )
        return network
    chosen = {**(options or {}), **({"weights": weights} if weights else {})}
    return build_network({modality: (full_name(model), chosen)}, "concat", {"answer": task}, seed=0).eval()


def few(labels: npt.NDArray[np.int64], pool: npt.NDArray[np.int64], shots: int, seed: int) -> npt.NDArray[np.int64]:
    """Return rows with `shots` of each class, drawn from a pool; all of a class that has fewer.

    Example:
        >>> few(np.array([0, 0, 1, 1, 1]), np.arange(5), 1, 0).shape
        (2,)
    """
    generator = np.random.default_rng([seed, shots])
    rows = []
    for k in np.unique(labels[pool]):
        of_class = pool[labels[pool] == k]
        rows.append(generator.permutation(of_class)[:shots])
    return np.sort(np.concatenate(rows))


def adapt(
    model: str,
    records: Sequence[StudyRecord],
    out: str | Path,
    *,
    task: str = "dr_grade",
    modality: str = "cfp",
    protocols: Sequence[str] = ("linear",),
    shots: Sequence[int | None] = (1, 5, 10, None),
    seeds: int = 5,
    weights: str | None = None,
    options: Mapping[str, Any] | None = None,
    settings: Settings | None = None,
    test_fraction: float = 0.3,
    cache: str | None = None,
    prompts: PromptSet | None = None,
    tokenizer: str | None = None,
    split_rule: str = "patients",
    reporter: Reporter | None = None,
) -> Path:
    """Measure protocols at several numbers of labelled studies; write `adaptation.json` and a page, return the page.

    Labels are learned from the studies a table's split calls train (else from 70 % of the patients) and measured on the others. Each
    seed draws other studies and other initial heads; intervals are over seeds. With all studies the seeds differ in the head only, and
    protocols without chance run once and get no interval.

    Args:
        model: Name of a model, or a run folder.
        records: Studies with labels.
        out: Folder.
        task: Label: one of several exclusive ones.
        modality: Pictures that are used.
        protocols: Of linear, knn, attentive, finetune, lora, bitfit; of an image-text model also zeroshot, logistic, clip_adapter,
            tip_adapter, tip_adapter_f.
        shots: Studies per class; None is all.
        seeds: Repetitions.
        weights: Of the model.
        options: Of the model.
        settings: Of protocols with gradient steps.
        test_fraction: Patients measured on when the table has no split.
        cache: Folder for pictures and vectors.
        prompts: Texts of the classes; None takes those of the shipped findings.
        tokenizer: Of an image-text model.
        split_rule: "patients", or "flair": every seed divides the pictures anew, a fifth of each class to measure on and a fifth to learn from.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).

    Raises:
        InvalidInput: Unknown protocol, a task with several labels at once, or no labelled study on one side.
    """
    unknown = [p for p in protocols if p not in EVERY]
    if unknown or seeds < 1:
        raise InvalidInput(f"unknown protocols {unknown}; known are {', '.join(EVERY)}.", code="config.protocol")
    if split_rule not in ("patients", "flair"):
        raise InvalidInput(f"split rule {split_rule!r} is not 'patients' or 'flair'.", code="config.split")
    settings, reporter = settings or Settings(), reporter or (lambda title: nullcontext(lambda *a, **k: None))
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    chosen = _task(task, records)
    question, learn, ask, facts = _question(
        model, records, chosen, task=task, modality=modality, weights=weights, options=options, cache=cache,
        test_fraction=test_fraction, device=settings.device, reporter=reporter,
    )  # fmt: skip
    if set(protocols) & set(ALIGNED):
        words = prompts or prompts_of_task(Knowledge.read(), task, chosen, template=_template(modality))
        _check_words(words, chosen)
        facts |= _with_texts(question, words, model, weights, tokenizer, options, settings.device)
    plan = [(p, k, seed) for p in protocols for k in shots for seed in range(_repeats(p, k, seeds, split_rule))]
    found: dict[tuple[str, int | None], list[dict[str, Value]]] = {}
    with reporter("protocols") as show, torch.random.fork_rng(devices=[]):
        for done, (p, k, seed) in enumerate(plan, 1):
            pool, measured = (
                (learn, ask) if split_rule == "patients" else flair_split(_labels(question, learn, ask), seed)
            )
            rows = pool if k is None else _rows_of(question, pool, k, seed)
            probabilities = EVERY[p](question, rows, measured, replace(settings, seed=seed))
            found.setdefault((p, k), []).append(_scores(chosen, question, probabilities, measured))
            show(done, len(plan), {"protocol": p, "shots": "all" if k is None else k})
    result = {**facts, "model": model, "weights": weights, "task": task, "modality": modality, "seeds": seeds,
              "split_rule": split_rule, "labels": list(chosen.labels), "curves": _curves(found)}  # fmt: skip
    write_json(folder / "adaptation.json", result)
    write_text(folder / "index.html", adaptation_page(result))
    return folder / "index.html"


def _repeats(protocol: str, shots: int | None, seeds: int, split_rule: str) -> int:
    """Return how often a protocol is run: once where chance has no part in it."""
    without = protocol == "zeroshot" or (shots is None and protocol in ("linear", "knn", "logistic", "tip_adapter"))
    return 1 if without and split_rule == "patients" else seeds


def _check_words(words: PromptSet, task: Task) -> None:
    if words.task.labels != task.labels:
        raise InvalidInput(
            f"the texts are about {', '.join(words.task.labels)}, the task asks {', '.join(task.labels)}.",
            code="config.prompts",
            hint="Choose a set with the same labels, or write one in a file of findings.",
        )


def _template(modality: str) -> str:
    return modality if modality in ("oct", "ffa") else "cfp"


def _labels(question: Question, *parts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the class of each picture, -1 where it has none that is used."""
    labels = np.full(len(question.labels), -1, np.int64)
    rows = np.concatenate(parts)
    labels[rows] = question.labels[rows]
    return labels


def _with_texts(
    question: Question,
    words: PromptSet,
    model: str,
    weights: str | None,
    tokenizer: str | None,
    options: Mapping[str, Any] | None,
    device: str,
) -> dict[str, Any]:
    """Put what an image-text model says of pictures and classes into the question; return facts for the record."""
    run = (Path(model) / "encoder.json").is_file()
    loaded = load_aligner(
        model, weights=None if run else weights or "fresh", tokenizer=tokenizer, options=options, device=device
    )
    classes = class_vectors(loaded.model, words.groups[: question.classes], device=device)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(question.pictures), 32):
            images = question.images(np.arange(start, min(start + 32, len(question.pictures)))).to(device)
            parts.append(loaded.model.align_images(images).float().cpu())
    question.aligner, question.scale = loaded.model, float(loaded.model.scale().detach())
    question.aligned, question.class_vectors = torch.cat(parts).numpy(), classes.cpu().numpy()
    return {"prompts": {k: list(v) for k, v in words.prompts.items()}, "aligner_sha256": loaded.sha256}


def _task(name: str, records: Sequence[StudyRecord]) -> Task:
    found = sorted({str(r.labels[name]) for r in records if r.labels.get(name) not in (None, "")})
    if name in STANDARD_TASKS:
        task = STANDARD_TASKS[name]
    elif len(found) >= 2:
        task = MultiClass(tuple(found))
    else:
        known = sorted({k for r in records for k in r.labels})
        raise InvalidInput(
            f"the studies have no label {name!r} with at least two values.",
            code="config.task",
            hint=f"Labels there are: {', '.join(known) or 'none'}.",
        )
    if task.kind in ("multilabel", "regression"):
        raise InvalidInput(
            f"{name!r} is a {task.kind} task; protocols answer one of several exclusive labels.", code="config.task"
        )
    return task


def _question(
    model: str,
    records: Sequence[StudyRecord],
    answer: Task,
    *,
    task: str,
    modality: str,
    weights: str | None,
    options: Mapping[str, Any] | None,
    cache: str | None,
    test_fraction: float,
    device: str,
    reporter: Callable[[str], Any],
) -> tuple[Question, npt.NDArray[np.int64], npt.NDArray[np.int64], dict[str, Any]]:
    """Return pictures with labels, rows to learn from and rows to answer, and facts for the record."""
    network = encoder_network(model, modality, answer, weights=weights, options=options)
    wanted = network.spec.inputs[modality]
    usable = [r for r in records if r.images.get(modality) and r.labels.get(task) not in (None, "")]
    with reporter("reading") as show:
        data = prepare_set(usable, {modality: wanted}, tasks={task: answer}, cache=cache, progress=show)
    if modality not in data.images:
        raise InvalidInput(f"no study has a picture of {modality!r} and a label {task!r}.", code="input.empty")
    with reporter("embedding") as show:
        vectors = with_vectors(network, data, cache=cache, device=device, progress=show).images[modality]
    network.cpu()
    counts = np.diff(data.starts[modality])
    studies = np.repeat(np.arange(len(data)), counts)
    label = data.targets[task][studies]
    by_id = {r.study_id: r for r in usable}
    splits = [by_id[s].split for s in data.study_ids]
    if any(splits):
        outside = np.asarray([s in ("val", "test") for s in splits])[studies]
    else:
        outside = np.asarray([position_of(g, seed=0) < test_fraction for g in data.groups])[studies]
    known = ~np.isnan(label)
    learn, ask = np.flatnonzero(known & ~outside), np.flatnonzero(known & outside)
    if len(np.unique(label[learn])) < 2 or len(ask) == 0:
        raise InvalidInput(
            f"{len(learn)} pictures to learn from and {len(ask)} to measure on are too few.",
            code="train.too_few",
            hint="Give a table with a split column, or more studies.",
        )
    question = Question(
        encoder=network.encoders[modality],
        wanted=wanted,
        pictures=data.images[modality],
        labels=np.nan_to_num(label, nan=-1).astype(np.int64),
        classes=len(answer.labels),
        studies=studies,
        groups=np.unique(data.groups, return_inverse=True)[1][studies],
        vectors=vectors,
    )
    facts = {
        "learn": len(np.unique(studies[learn])),
        "measured": len(np.unique(studies[ask])),
        "rejected": [{"study_id": r.study_id, "code": r.code} for r in data.rejected],
        "encoder_sha256": digest_of_module(network.encoders[modality]),
        "weight_license": models.card(network.spec.encoders[modality][0]).weight_license if weights else None,
    }
    return question, learn, ask, facts


def _rows_of(q: Question, learn: npt.NDArray[np.int64], shots: int, seed: int) -> npt.NDArray[np.int64]:
    """Draw studies, and take all their pictures."""
    studies, first = np.unique(q.studies[learn], return_index=True)
    label = q.labels[learn][first]
    chosen = studies[few(label, np.arange(len(studies)), shots, seed)]
    return learn[np.isin(q.studies[learn], chosen)]


def _scores(task: Task, q: Question, p: Array, ask: npt.NDArray[np.int64]) -> dict[str, Value]:
    """Return the metrics over studies; a study's probabilities are the mean of its pictures'."""
    ids, first, place = np.unique(q.studies[ask], return_index=True, return_inverse=True)
    mean = np.zeros((len(ids), q.classes))
    np.add.at(mean, place, p)
    mean /= np.bincount(place)[:, None]
    truth, said = q.labels[ask][first], mean.argmax(1)
    areas = [auroc((truth == k).astype(float), mean[:, k]) for k in range(q.classes)]
    scores: dict[str, Value] = {
        "macro AUROC": macro(areas),
        "balanced accuracy": balanced_accuracy(truth, said, classes=q.classes),
        "accuracy": accuracy(truth, said),
    }
    if task.kind == "ordinal":
        scores["quadratic kappa"] = quadratic_kappa(truth, said, classes=q.classes)
    return scores


def _curves(found: Mapping[tuple[str, int | None], list[dict[str, Value]]]) -> list[dict[str, Any]]:
    rows = []
    for (protocol, shots), scores in found.items():
        metrics = {}
        for name in scores[0]:
            values = [s[name] for s in scores]
            known = [float(v) for v in values if not isinstance(v, Undefined)]
            bounds = (-1.0, 1.0) if name == "quadratic kappa" else (0.0, 1.0)
            metrics[name] = {"values": known, **mean_interval(known, bounds=bounds)}
        rows.append({"protocol": protocol, "shots": shots, "metrics": metrics})
    return rows
