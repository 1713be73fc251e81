"""Image-text models trained by the loop of supervised training; the result is `weights=` of the model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..core.durable import write_json
from ..core.errors import InvalidInput
from ..core.registry import ImageInput, models, objectives
from ..core.study import StudyRecord
from ..datasets._splits import position_of
from ..layers.weights import digest, save_state
from .data import PreparedSet, prepare_set
from .embeddings import with_vectors
from .estimate import estimate
from .job import PlainJob, decayed_groups
from .loop import RunResult, fit
from .pair_config import PAIR_OBJECTIVES, PairConfig, below_data, studies_of
from .pair_steps import CHOICES, Line, PairStep, Said
from .pretrain import without_tests
from .run import Reporter
from .steps import generators_of
from .study_texts import StudyTexts, TextSource, read_knowledge

_NO_FINDING = "no finding"
_NEAREST = 10


@dataclass(slots=True)
class PairRun(PlainJob):
    """What the loop trains; only the modules change."""

    folder: Path
    config: PairConfig
    network: Any
    objective: Any
    wanted: ImageInput
    data: PreparedSet
    training: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    #: Study of each row: rows are pictures.
    studies: npt.NDArray[np.int64]
    said: Sequence[Said]
    findings: Sequence[str]
    wordings: Sequence[Sequence[str]]
    lines: Sequence[Line]
    knowledge: str = ""
    #: Studies of patients in the part "test", which were not looked at.
    untouched: int = 0
    metric: str = "none"
    _step: Any = field(default=None)

    @property
    def digests(self) -> dict[str, str]:
        """Of configuration, pictures and texts."""
        return {"config": self.config.digest(), "data": self.data.digest, "knowledge": self.knowledge}

    def modules(self) -> nn.ModuleDict:
        """Return everything with weights: the model, and the objective when it has some."""
        parts = {"network": self.network}
        if isinstance(self.objective, nn.Module):
            parts["objective"] = self.objective
        return nn.ModuleDict({"system": nn.ModuleDict(parts)})

    def model_of(self, trained: nn.ModuleDict) -> nn.Module:
        """Return the model with its objective."""
        return trained["system"]

    def step(self) -> PairStep:
        """Return what makes batches and losses."""
        if self._step is None:
            config = self.config
            self._step = PairStep(
                self.network, self.objective, self.data, config.modality, wanted=self.wanted, studies=self.studies,
                said=self.said, names=self.wordings, lines=self.lines, choice=CHOICES[config.objective],
                templates=config.templates, copies=config.objective_options.get("variant") == "released",
                seed=config.train.seed, strength=config.strength, flip=config.flip,
                steps_per_epoch=max(1, len(self.training) // config.train.batch_size),
            )  # fmt: skip
        return self._step

    def probe(self) -> PairRun:
        """Return the run with a copy of everything that changes, to measure on."""
        twin = copy.deepcopy(self.modules())["system"]
        objective = dict(twin.items()).get("objective", self.objective)
        return replace(self, network=twin["network"], objective=objective, _step=None)

    def names(self, rows: npt.NDArray[np.int64]) -> str:
        """Return the studies of rows."""
        return ", ".join(self.data.study_ids[self.studies[i]] for i in rows)

    @torch.no_grad()
    def score(self, model: Any, epoch: int, device: Any) -> dict[str, float]:
        """Return, on held-out patients, the loss and how often a finding is among the ten nearest ones."""
        model.eval()
        network, size, step = model["network"], self.settings.batch_size, self.step()
        objective = dict(model.items()).get("objective", self.objective)
        losses, vectors = [], []
        for start in range(0, len(self.held_out), size):
            rows = self.held_out[start : start + size]
            batch = step.still(rows, start).to(device)
            losses += [float(objective(network, batch, generator=None, epoch=float(epoch)).total)] * len(rows)
            vectors.append(network.align_images(batch.images[self.config.modality]).float().cpu())
        result = {"val_loss": float(np.mean(losses))}
        present = [self.said[s].findings for s in self.studies[self.held_out]]
        if len(self.findings) >= 2 * _NEAREST and any(present):
            ids, mask = network.tokenize(list(self.findings))
            texts = network.align_texts(ids.to(device), mask.to(device)).float().cpu()
            ranks = (-(torch.cat(vectors) @ texts.T)).argsort(dim=1, stable=True)[:, :_NEAREST].numpy()
            hits = [np.isin(list(p), r).mean() for p, r in zip(present, ranks, strict=True) if p]
            result |= {"val_recall_at_10": float(np.mean(hits)), "chance": _NEAREST / len(self.findings)}
        return result

    def groups(self) -> list[dict[str, Any]]:
        """Return parameter groups: weight decay on matrices only."""
        return decayed_groups(self.modules().parameters(), self.settings.weight_decay)

    def finish(self, model: Any, epochs: int) -> None:
        """Write the model."""
        config, path = self.config, self.folder / "encoder.safetensors"
        half = config.store == "float16"
        state = {k: v.half() if half and v.is_floating_point() else v for k, v in model["network"].state_dict().items()}
        terms = {"license": config.license} if config.license else {}
        save_state(path, state, metadata={"model": config.model, "objective": config.objective, **terms})
        split = {
            "seed": config.data.seed, "validation_fraction": config.data.validation_fraction,
            "sets": [{"name": s.name} for s in config.data.sets],
        }  # fmt: skip
        write_json(
            self.folder / "encoder.json",
            {
                "model": config.model, "options": config.options, "objective": config.objective,
                "modalities": [config.modality], "epochs": epochs, "pictures": len(self.training),
                "findings": list(self.findings), "templates": list(config.templates), "shuffled": config.shuffled,
                "split": split, "untouched_test_studies": self.untouched, "training_data": list(config.training_data),
                "license": config.license, "sha256": digest(path),
            },
        )  # fmt: skip


def prepare_pairs(
    records: Sequence[StudyRecord],
    folder: Path,
    config: PairConfig,
    reporter: Reporter,
    *,
    source: TextSource | None = None,
) -> PairRun:
    """Build model and objective, read every picture and what is said about it.

    Args:
        records: Studies; those without anything said are left out of training, texts without pictures are kept for
            objectives that need no pairs.
        folder: Run folder.
        config: Everything else.
        reporter: As in `pretrain_pairs`.
        source: Where texts come from; `StudyTexts` of the configuration when None.

    Raises:
        InvalidInput: The model cannot align, or there are too few pictures with texts.
    """
    card = models.card(config.model)
    if "align" not in card.roles:
        raise InvalidInput(
            f"{config.model!r} puts no images and texts in one space.",
            code="model.role",
            hint="List those that do with: fundusion models --role align",
        )
    sums = ""
    if source is None:
        known, sums = _known(config.knowledge)
        source = StudyTexts(known, config.aliases)
    base = card.input or ImageInput()
    wanted = replace(base, size=int(config.options.get("image_size", base.size)))
    records, untouched = without_tests(records)
    with reporter("reading") as show:
        data = prepare_set(
            [r for r in records if r.images.get(config.modality) or r.report],
            {config.modality: wanted},
            side=max(config.data.side, wanted.size),
            cache=config.data.cache,
            progress=show,
        )
    write_json(
        folder / "rejected.json",
        [{"study_id": r.study_id, "code": r.code, "message": r.message} for r in data.rejected],
    )
    if config.modality not in data.images:
        raise InvalidInput(f"no pictures of {config.modality} were found.", code="input.empty")
    by_id = {r.study_id: r for r in records}
    outside = _outside(data, config, {r.group for r in records if r.split == "val"})
    said, findings, lines = _sayings([by_id[s] for s in data.study_ids], source, outside, data, config)
    studies = np.repeat(np.arange(len(data)), np.diff(data.starts[config.modality]))
    useful = np.asarray([bool(said[s].texts or said[s].findings) for s in studies])
    training, held_out = np.flatnonzero(useful & ~outside[studies]), np.flatnonzero(useful & outside[studies])
    if len(training) < config.train.batch_size or len(held_out) == 0:
        raise InvalidInput(
            f"{len(training)} pictures with texts to train on and {len(held_out)} held out are too few for batches of {config.train.batch_size}.",
            code="train.too_few",
            hint="Give reports or labels beside the pictures, or a smaller --batch-size.",
        )
    said = _dealt(said, np.unique(studies[training]), config) if config.shuffled else said
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        network, objective = _system(config, findings, said, np.unique(studies[training]))
    if config.frozen:
        data = _with_vectors(network, data, wanted, config, reporter)
    return PairRun(
        folder=folder, config=config, network=network, objective=objective, wanted=wanted, data=data, training=training,
        held_out=held_out, studies=studies, said=said, findings=findings, lines=lines, knowledge=sums,
        wordings=[source.texts_for(f) for f in findings], untouched=untouched,
    )  # fmt: skip


def _outside(data: PreparedSet, config: PairConfig, named: set[str]) -> npt.NDArray[np.bool_]:
    """Return which studies are never trained on: of the patients the table calls "val", else of a share of the patients; among few
    patients, where the share takes nobody, those of one."""
    if named:
        return np.asarray([g in named for g in data.groups], np.bool_)
    places = np.asarray([position_of(g, seed=config.data.seed) for g in data.groups])
    fraction = config.data.validation_fraction
    return places < fraction if (places < fraction).any() else places == places.min()


def _sayings(
    records: Sequence[StudyRecord],
    source: TextSource,
    outside: npt.NDArray[np.bool_],
    data: PreparedSet,
    config: PairConfig,
) -> tuple[list[Said], list[str], list[Line]]:
    """Return what is said of each study, the findings that are known, and the texts without pictures.

    A finding is known when a training study has it or the knowledge of the source speaks of it; held-out patients add none.
    """
    mentions = [dict(source.mentions(r)) for r in records]
    order: dict[str, int] = {}
    for found, held in zip(mentions, outside, strict=True):
        if not held:
            for name in found:
                order.setdefault(name, len(order))
    for name in getattr(source, "knowledge", {}):
        order.setdefault(name, len(order))
    if config.objective == "medclip":
        order.setdefault(_NO_FINDING, len(order))
    said, lines = [], []
    pictures = np.diff(data.starts[config.modality])
    for record, found, held, count in zip(records, mentions, outside, pictures, strict=True):
        named = {order[k]: v for k, v in found.items() if k in order}
        expert = bool(record.report and record.report.strip())
        labels = tuple(order[f] for f in source.findings_of(record) if f in order)
        said.append(Said(texts=tuple(source.texts_of(record)), findings=labels, mentions=named, expert=expert))
        if count == 0 and expert and not held:
            lines += [Line(text=t, mentions=named) for t in source.texts_of(record)]
    for name in getattr(source, "knowledge", {}):
        lines += [Line(text=t, mentions={order[name]: 1}) for t in source.texts_for(name)]
    return said, list(order), lines


def _dealt(said: Sequence[Said], training: npt.NDArray[np.int64], config: PairConfig) -> list[Said]:
    """Return what is said with that of the training studies dealt out by chance; the held-out ones keep theirs."""
    dealt = list(said)
    order = np.random.default_rng([config.train.seed, 13]).permutation(training)
    for place, origin in zip(training, order, strict=True):
        dealt[place] = said[origin]
    return dealt


def _system(
    config: PairConfig, findings: Sequence[str], said: Sequence[Said], training: npt.NDArray[np.int64]
) -> tuple[Any, Any]:
    """Return a fresh model and its objective."""
    options, chosen = dict(config.options), dict(config.objective_options)
    if config.objective == "siglip" and config.model.startswith("image_text."):
        options.setdefault("sigmoid", True)
    network = models.create(config.model, **options)
    if config.objective == "siglip" and not network.shift().requires_grad:
        raise InvalidInput(
            f"{config.model!r} has no shift that is trained, which pair-by-pair training needs.",
            code="config.objective",
            hint="Use image_text.small, or --objective clip.",
        )
    if config.objective == "medclip":
        chosen.setdefault("no_finding", list(findings).index(_NO_FINDING))
    if config.objective == "keepfit":
        experts = sum(said[s].expert for s in training)
        if experts in (0, len(training)):
            raise InvalidInput(
                f"keepfit needs studies with reports and studies with labels only; {experts} of {len(training)} have a report.",
                code="config.objective",
                hint="Add a set of the other kind, or use --objective flair (labels) or clip (reports).",
            )
        if getattr(network, "attention", None) is None:
            chosen.setdefault("width", network.align_dim)
    return network, objectives.create(PAIR_OBJECTIVES[config.objective], **chosen)


def _with_vectors(
    network: Any, data: PreparedSet, wanted: ImageInput, config: PairConfig, reporter: Reporter
) -> PreparedSet:
    """Return the set with vectors of the image tower, which stays as it is, in place of pictures."""
    if not isinstance(getattr(network, "image", None), nn.Module):
        raise InvalidInput(
            f"{config.model!r} has no image tower that can be kept apart.",
            code="config.model",
            hint="Leave out frozen.",
        )
    network.image.requires_grad_(False).eval()
    tower = SimpleNamespace(
        encoders={config.modality: network.image}, spec=SimpleNamespace(inputs={config.modality: wanted})
    )
    with reporter("vectors") as show:
        return with_vectors(
            tower, data, cache=config.data.cache, device=config.train.device, mirrored=False,
            precision=config.train.precision, progress=show,
        )  # fmt: skip


def pretrain_pairs(
    records: Sequence[StudyRecord] | None,
    out: str | Path,
    *,
    config: PairConfig,
    source: TextSource | None = None,
    allow_changes: bool = False,
    announce: Callable[[str], Any] | None = None,
    reporter: Reporter | None = None,
) -> RunResult:
    """Train an image-text model and return where it is: `weights=` of the model takes the folder.

    A run folder that holds a checkpoint of the same configuration, pictures and texts goes on from it; on a CPU the weights are
    then bit for bit those of an uninterrupted run.

    Args:
        records: Studies with reports or labels; None reads those that the configuration names.
        out: Run folder.
        config: Everything else.
        source: Where texts come from; `StudyTexts` of the configuration when None.
        allow_changes: Go on although configuration, pictures or texts changed; recorded.
        announce: Called with the estimated time before the first step.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).

    Raises:
        InvalidInput: Too few pictures with texts, a model that does not fit, or the folder holds another run.

    Example:
        >>> pretrain_pairs(records, "run", config=PairConfig(objective="clip"))                     # doctest: +SKIP
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    reporter = reporter or (lambda title: nullcontext(lambda *a, **k: None))
    with torch.random.fork_rng(devices=[]):
        run = prepare_pairs(studies_of(config) if records is None else records, folder, config, reporter, source=source)
        if announce is not None:
            torch.manual_seed(generators_of(config.train.seed, 0)[0].initial_seed())
            announce(str(estimate(run)))
        return fit(run, allow_changes=allow_changes, reporter=reporter)


def _known(knowledge: str | None) -> tuple[dict[str, tuple[str, ...]], str]:
    if not knowledge:
        return {}, ""
    return read_knowledge(knowledge if knowledge == "findings" else below_data(knowledge))
