"""Generators trained by the loop of supervised training; the run folder is `--model` of describe, ask and recommend."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..core.durable import write_json
from ..core.errors import FundusionError, InvalidInput
from ..core.interfaces import Turn
from ..core.registry import ImageInput, models, objectives
from ..core.study import StudyRecord
from ..datasets._splits import position_of
from ..layers.lora import LANGUAGE_TARGETS, add_lora, merge_lora, save_lora
from ..layers.trained_parts import part_of, train_parts
from ..layers.weights import save_state
from ..readers.conversations import Conversation
from .data import PreparedSet, Rejected, prepare_set
from .estimate import estimate
from .generator_config import GeneratorConfig
from .generator_steps import BeforeAdapters, ChatStep
from .job import PlainJob, decayed_groups
from .loop import RunResult, fit
from .run import Reporter


@dataclass(slots=True)
class GeneratorRun(PlainJob):
    """What the loop trains; only the modules change."""

    folder: Path
    config: GeneratorConfig
    network: Any
    objective: Any
    wanted: ImageInput | None
    items: Sequence[Conversation]
    data: PreparedSet
    #: Study in `data` of each item, -1 without a picture.
    picture: npt.NDArray[np.int64]
    training: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    losses: tuple[Rejected, ...] = ()
    texts: str = ""
    untouched: int = 0
    metric: str = "none"
    _step: Any = field(default=None)

    @property
    def digests(self) -> dict[str, str]:
        """Of configuration, pictures and texts."""
        return {"config": self.config.digest(), "data": self.data.digest, "texts": self.texts}

    @property
    def rejected(self) -> int:
        """Items left out."""
        return len(self.losses)

    def modules(self) -> nn.ModuleDict:
        """Return everything with weights: the generator, and the objective when it has some."""
        parts = {"network": self.network}
        if isinstance(self.objective, nn.Module):
            parts["objective"] = self.objective
        return nn.ModuleDict({"system": nn.ModuleDict(parts)})

    def model_of(self, trained: nn.ModuleDict) -> nn.Module:
        """Return the generator with its objective."""
        return trained["system"]

    def training_mode(self, trained: nn.ModuleDict, epoch: int) -> None:
        """Switch dropout on; a part that does not move stays as it answers."""
        trained.train()
        system: Any = trained["system"]
        reference = getattr(self.objective, "reference", None)
        if isinstance(reference, nn.Module):
            # A frozen copy is no part of what is trained, but answers on the same device.
            reference.to(next(trained.parameters()).device)
        for name in ("vision_model", "vision_tower", "visual", "tower"):
            for module in (m for n, m in system["network"].named_modules() if n.rpartition(".")[2] == name):
                if not any(p.requires_grad for p in module.parameters()):
                    module.eval()

    def step(self) -> ChatStep:
        """Return what makes batches and losses."""
        if self._step is None:
            config = self.config
            self._step = ChatStep(
                self.network, self.objective, config.objective, items=self.items, data=self.data, picture=self.picture,
                wanted=self.wanted, seed=config.train.seed, strength=config.strength, is_packed=config.packing,
            )  # fmt: skip
        return self._step

    def after_step(self, step: int, total: int) -> None:
        """Let the slow model of BLIP follow."""
        if hasattr(self.objective, "after_step"):
            self.objective.after_step(self.network)

    def probe(self) -> GeneratorRun:
        """Return the run with a copy of everything that changes, to measure on."""
        network, objective = copy.deepcopy((self.network, self.objective))
        return replace(self, network=network, objective=objective, _step=None)

    def names(self, rows: npt.NDArray[np.int64]) -> str:
        """Return the items of rows."""
        return ", ".join(self.items[i].item_id for i in rows)

    @torch.no_grad()
    def score(self, model: Any, epoch: int, device: Any) -> dict[str, float]:
        """Return the loss on held-out patients."""
        model.eval()
        step, size, values, weights = self.step(), self.settings.batch_size, [], []
        for start in range(0, len(self.held_out), size):
            rows = self.held_out[start : start + size]
            if len(rows) < 2 and self.config.objective in ("caption", "blip2"):
                # One text has no wrong partner.
                continue
            values.append(float(step.loss(step.still(rows).to(device), start).total))
            weights.append(len(rows))
        return {"val_loss": float(np.average(values, weights=weights))} if values else {}

    def groups(self) -> list[dict[str, Any]]:
        """Return parameter groups: weight decay on matrices only."""
        return decayed_groups(self.modules().parameters(), self.settings.weight_decay)

    def finish(self, model: Any, epochs: int) -> None:
        """Write the generator, or its adapters alone, and what it was made of."""
        config, network = self.config, model["network"]
        told: dict[str, Any] = {
            "model": config.model, "objective": config.objective, "stage": config.stage, "epochs": epochs,
            "items": len(self.training), "untouched_test_items": self.untouched, "adapter": config.lora_rank > 0,
            "weights": "base" if config.lora_rank and config.weights is None else config.weights,
        }  # fmt: skip
        if config.lora_rank:
            save_lora(self.folder / "adapter.safetensors", network)
            if config.merge:
                merge_lora(network).save(self.folder / "model")
                told["adapter"] = False
        else:
            network.save(self.folder / "model")
        if "objective" in model:
            state = {k: v for k, v in model["objective"].state_dict().items() if not k.startswith("slow.")}
            save_state(self.folder / "objective.safetensors", state, metadata={"objective": config.objective})
        write_json(self.folder / "generator.json", told)


def caption_items(records: Sequence[StudyRecord], modality: str) -> list[Conversation]:
    """Return studies with a report and a picture as conversations whose answer is the report; the first picture of each.

    Example:
        >>> record = StudyRecord(study_id="a", images={"cfp": ("/a.png",)}, report="Drusen.")
        >>> caption_items([record], "cfp")[0].turns[-1].text
        'Drusen.'
    """
    made = []
    for record in records:
        if record.report and record.report.strip() and record.images.get(modality):
            turns = (Turn(role="user", text=""), Turn(role="assistant", text=record.report.strip()))
            made.append(
                Conversation(item_id=record.study_id, turns=turns, images={modality: record.images[modality][0]},
                             group=record.group, split=record.split, origin=record.origin or "")
            )  # fmt: skip
    return made


def prepare_generator(
    items: Sequence[Conversation],
    folder: Path,
    config: GeneratorConfig,
    reporter: Reporter,
    *,
    losses: Sequence[Rejected] = (),
) -> GeneratorRun:
    """Build the generator and its objective, and read every picture.

    Args:
        items: Conversations; of patients of whom one is in the part "test" none is used.
        folder: Run folder; `rejected.json` says what was left out.
        config: Everything else.
        reporter: As in `train_generator`.
        losses: Items that could not be read.

    Raises:
        InvalidInput: The model does not fit the objective, too many items are unusable, or too few are left.
    """
    if "generate" not in models.card(config.model).roles:
        raise InvalidInput(
            f"{config.model!r} writes no words.",
            code="model.role",
            hint="List those that do with: fundusion models --role generate",
        )
    tested = {i.group for i in items if i.split == "test"}
    chosen = [i for i in items if i.group not in tested and (config.objective == "dpo") == (i.chosen is not None)]
    if config.objective in ("caption", "blip2"):
        chosen = [i for i in chosen if i.images]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        network, wanted = _network(config)
        if wanted is None and config.objective in ("caption", "blip2"):
            raise InvalidInput(
                f"{config.model!r} reads no pictures.", code="config.objective", hint="Use --objective instruct."
            )
        if config.lora_rank and config.weights is None:
            # Adapters mean something beside their base only.
            network.save(folder / "base")
        # A family that reads several kinds names them; every other one reads one.
        kinds = tuple(getattr(network.body, "settings", {}).get("modalities", (config.modality,)))
        chosen, unseen = _of_kinds(chosen, kinds if wanted is not None else ())
        data, picture, unread = _pictures(chosen, wanted, reporter)
        kept = [k for k, i in enumerate(chosen) if picture[k] >= 0 or not i.images or wanted is None]
        usable, picture = [chosen[k] for k in kept], picture[kept]
        usable, picture, long = _readable(network, usable, picture)
        lost = (*losses, *unseen, *unread, *long)
        _check_lost(lost, len(usable), config, folder)
        training, held_out = _divided(usable, config)
        objective = _objective(config, network)
        _choose_parts(config, network)
    texts = hashlib.sha256(json.dumps([_content(i) for i in usable], ensure_ascii=False).encode()).hexdigest()
    return GeneratorRun(
        folder=folder, config=config, network=network, objective=objective, wanted=wanted, items=usable, data=data,
        picture=picture, training=training, held_out=held_out, losses=lost, texts=texts,
        untouched=sum(i.group in tested for i in items),
    )  # fmt: skip


def _content(item: Conversation) -> list[Any]:
    return [item.item_id, item.group, item.split, item.chosen, item.refused, [[t.role, t.text] for t in item.turns]]


def _network(config: GeneratorConfig) -> tuple[Any, ImageInput | None]:
    # What does not move may be held in half precision; adapters are learned in float32 all the same.
    half = config.lora_rank > 0 and config.train.precision == "bf16"
    options: dict[str, Any] = {"dtype": "bfloat16" if half else "float32"}
    if config.weights is not None:
        options["weights"] = config.weights
    network = models.create(config.model, **options)
    card = models.card(config.model)
    tower = getattr(network.body, "settings", {}).get("tower")
    wanted = models.card(tower).input if tower else card.input
    if wanted is not None and network.side is not None:
        wanted = replace(wanted, size=network.side)
    return network, wanted


def _of_kinds(items: Sequence[Conversation], kinds: Sequence[str]) -> tuple[list[Conversation], list[Rejected]]:
    """Return items with the pictures the generator reads; one whose pictures are all of other kinds is told."""
    if not kinds:
        return list(items), []
    kept, lost = [], []
    for item in items:
        images = {m: p for m, p in item.images.items() if m in kinds}
        if item.images and not images:
            told = f"it shows {', '.join(item.images)}; this generator reads {', '.join(kinds)}."
            lost.append(Rejected(study_id=item.item_id, code="modality.unread", message=told))
        else:
            kept.append(replace(item, images=images))
    return kept, lost


def _pictures(
    items: Sequence[Conversation], wanted: ImageInput | None, reporter: Reporter
) -> tuple[PreparedSet, npt.NDArray[np.int64], list[Rejected]]:
    """Return every picture once, which one each item shows, and the items whose picture cannot be read."""
    keys = [tuple(sorted(i.images.items())) for i in items]
    unique = {k: n for n, k in enumerate(dict.fromkeys(k for k in keys if k))}
    if wanted is None or not unique:
        return PreparedSet(study_ids=(), groups=()), np.full(len(items), -1, np.int64), []
    records = [StudyRecord(study_id=str(n), images={m: (p,) for m, p in k}) for k, n in unique.items()]
    inputs = dict.fromkeys(dict.fromkeys(m for k in unique for m, _ in k), wanted)
    with reporter("reading") as show:
        data = prepare_set(records, inputs, progress=show)
    place = {int(s): n for n, s in enumerate(data.study_ids)}
    broken = {int(r.study_id): r for r in data.rejected}
    picture = np.array([place.get(unique[k], -1) if k else -1 for k in keys], np.int64)
    lost = [
        replace(broken[unique[k]], study_id=i.item_id)
        for i, k in zip(items, keys, strict=True)
        if k and unique[k] in broken
    ]
    return data, picture, lost


def _readable(
    network: Any, items: Sequence[Conversation], picture: npt.NDArray[np.int64]
) -> tuple[list[Conversation], npt.NDArray[np.int64], list[Rejected]]:
    """Return the items that fit the model; one that is too long is told, not cut."""
    kept, lost = [], []
    for number, item in enumerate(items):
        longest = max((item.chosen or "", item.refused or ""), key=len)
        turns = (*item.turns, Turn(role="assistant", text=longest)) if item.chosen else item.turns
        try:
            network.check_length([turns], pictures=len(item.images))
        except FundusionError as error:
            lost.append(Rejected(study_id=item.item_id, code=error.code, message=error.message))
            continue
        kept.append(number)
    return [items[k] for k in kept], picture[kept], lost


def _check_lost(lost: Sequence[Rejected], used: int, config: GeneratorConfig, folder: Path) -> None:
    write_json(folder / "rejected.json", [{"item_id": r.study_id, "code": r.code, "message": r.message} for r in lost])
    if len(lost) > config.max_rejected * (len(lost) + used):
        raise InvalidInput(
            f"{len(lost)} of {len(lost) + used} items cannot be used; first {lost[0].study_id!r} [{lost[0].code}]: {lost[0].message}",
            code="train.too_many_rejected",
            hint="rejected.json in the run folder names all.",
        )


def _divided(
    items: Sequence[Conversation], config: GeneratorConfig
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return items to train on and to measure on: patients the file calls "val", else a share of them; of few, those of one."""
    named = {i.group for i in items if i.split == "val"}
    if named:
        outside = np.array([i.group in named for i in items], np.bool_)
    else:
        places = np.array([position_of(i.group, seed=config.train.seed) for i in items])
        fraction = config.validation_fraction
        outside = places < fraction if (places < fraction).any() else places == places.min(initial=2.0)
    training, held_out = np.flatnonzero(~outside), np.flatnonzero(outside)
    if len(training) < config.train.batch_size * config.train.accumulate or len(held_out) == 0:
        raise InvalidInput(
            f"{len(training)} items to train on and {len(held_out)} to measure on are too few for batches of {config.train.batch_size}.",
            code="train.too_few",
            hint="caption and blip2 need pictures with reports, dpo pairs of answers; or give a smaller --batch-size.",
        )
    return training, held_out


def _objective(config: GeneratorConfig, network: Any) -> Any:
    if config.objective == "caption" and hasattr(network.body, "text_decoder"):
        return objectives.create(
            "joint.blip",
            network=network,
            queue=config.queue,
            momentum=config.momentum,
            alpha=config.alpha,
            ramp=config.ramp,
        )
    if config.objective == "blip2" and config.stage == 1:
        return objectives.create("querying.blip2", network=network)
    if config.objective in ("caption", "blip2"):
        return objectives.create("captioning.blip")
    if config.objective == "instruct":
        return objectives.create("instruction.answers")
    reference: Any = (
        BeforeAdapters(network) if config.lora_rank else copy.deepcopy(network).eval().requires_grad_(False)
    )
    return objectives.create("preference.dpo", reference=reference, beta=config.beta)


def _choose_parts(config: GeneratorConfig, network: Any) -> None:
    if config.lora_rank:
        add_lora(network, rank=config.lora_rank, targets=LANGUAGE_TARGETS)
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
    elif not config.parts and any(".lora_" in n for n, _ in network.named_parameters()):
        # A family whose adapters are part of it, such as DeepDR-LLM, moves them alone.
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(".lora_" in name)
    elif config.moved:
        own = {p for p in config.moved if p != "projector" or config.parts or _has_projector(network)}
        train_parts(network, own)
    if config.checkpointing:
        network.spare_memory()


def _has_projector(network: Any) -> bool:
    return any(part_of(n) == "projector" for n, _ in network.named_parameters())


def train_generator(
    items: Sequence[Conversation],
    out: str | Path,
    *,
    config: GeneratorConfig,
    losses: Sequence[Rejected] = (),
    allow_changes: bool = False,
    announce: Callable[[str], Any] | None = None,
    reporter: Reporter | None = None,
) -> RunResult:
    """Train a generator and return where it is: `--model FOLDER` of describe, ask and recommend.

    A run folder that holds a checkpoint of the same configuration, pictures and texts goes on from it; on a CPU the weights are
    then bit for bit those of an uninterrupted run.

    Args:
        items: Conversations.
        out: Run folder.
        config: Everything else.
        losses: Items that could not be read.
        allow_changes: Go on although configuration, pictures or texts changed; recorded.
        announce: Called with the estimated time before the first step.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).

    Raises:
        InvalidInput: Too few items, a model that does not fit, or the folder holds another run.

    Example:
        >>> train_generator(items, "run", config=generator_config({"objective": "instruct", "model": "llava.v1_5_7b"}))  # doctest: +SKIP
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    reporter = reporter or (lambda title: nullcontext(lambda *a, **k: None))
    with torch.random.fork_rng(devices=[]):
        run = prepare_generator(items, folder, config, reporter, losses=losses)
        if announce is not None:
            announce(str(estimate(run)))
        return fit(run, allow_changes=allow_changes, reporter=reporter)
