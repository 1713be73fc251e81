"""A supervised run: patients divided, network and objectives built, every study read once; how the loop trains and ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..core.durable import write_json
from ..core.errors import InvalidInput
from ..core.study import StudyRecord
from ..core.table import TableSchema
from ..core.tasks import Task
from ..core.vocabulary import TABLE
from ..layers.lora import add_lora, merge_lora
from ..layers.rates import depth_of, layer_of
from ..network import MultimodalNetwork, build_network, check_pixels, load_network
from ..objectives.classification import head_loss
from ..objectives.multitask import Multitask
from .calibrate import calibrate
from .config import TrainConfig, to_toml
from .data import PreparedSet, prepare_set, resolve_tasks, table_rows, training_counts
from .embeddings import with_vectors
from .evaluation import validation_score
from .job import PlainJob
from .steps import AuxiliaryHeads, Step

Reporter = Callable[[str], Any]


@dataclass(slots=True)
class Run(PlainJob):
    """What training works with; only the modules change."""

    folder: Path
    config: TrainConfig
    network: MultimodalNetwork
    auxiliary: AuxiliaryHeads
    data: PreparedSet
    training: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    main_loss: Multitask
    auxiliary_loss: Multitask
    tasks: dict[str, Task]
    metric: str = "macro_auroc"
    #: Parameters of bodies that learn after the first stage; known from the first step on.
    free: list[nn.Parameter] | None = None

    def toml(self) -> str:
        """Return the complete configuration."""
        return to_toml(self.config)

    def modules(self) -> nn.ModuleDict:
        """Return everything with weights."""
        return nn.ModuleDict({"network": self.network, "auxiliary": self.auxiliary})

    def step(self) -> Step:
        """Return what makes batches and losses."""
        return Step(self.config, self.network, self.auxiliary, self.main_loss, self.auxiliary_loss, data=self.data)

    def model_of(self, trained: nn.ModuleDict) -> nn.Module:
        """Return the network among the modules."""
        return trained["network"]

    def training_mode(self, trained: nn.ModuleDict, epoch: int) -> None:
        """Switch dropout and batch statistics on, except in what stays still: frozen encoders, and bodies in the first epochs."""
        trained.train()
        if self.config.network.encoder == "frozen":
            for modality in self.network.spec.inputs:
                self.network.encoders[modality].eval()
        if self.settings.head_epochs:
            self._hold_bodies(epoch < self.settings.head_epochs)

    def _hold_bodies(self, still: bool) -> None:
        encoders = [self.network.encoders[m] for m in self.network.spec.inputs]
        # What attention or projection an encoder has beside its body learns from the start.
        bodies: list[nn.Module] = [getattr(e, "body", e) for e in encoders]
        if self.free is None:
            self.free = [p for body in bodies for p in body.parameters() if p.requires_grad]
        for parameter in self.free:
            parameter.requires_grad_(not still)
        if still:
            for body in bodies:
                body.eval()

    def names(self, rows: npt.NDArray[np.int64]) -> str:
        """Return the studies of rows."""
        return ", ".join(self.data.study_ids[i] for i in rows)

    def score(self, model: Any, epoch: int, device: Any) -> dict[str, float]:
        """Return the validation score of an epoch."""
        size = self.settings.plan[epoch - 1]
        return validation_score(model, self.data, self.held_out, size=size, device=device)

    def groups(self) -> list[dict[str, Any]]:
        """Return parameter groups: weight decay on matrices only; encoders have their own rate, which may fall by layer."""
        settings = self.settings
        groups: dict[tuple[bool, int, bool], list[nn.Parameter]] = {}
        named = [*self.network.named_parameters(prefix="network"), *self.auxiliary.named_parameters(prefix="auxiliary")]
        for name, parameter in named:
            if parameter.requires_grad:
                is_encoder = name.startswith("network.encoders.") and not name.startswith(f"network.encoders.{TABLE}.")
                below = self._below(name) if is_encoder and settings.layer_decay < 1 else 0
                groups.setdefault((is_encoder, below, parameter.ndim > 1), []).append(parameter)
        return [
            {
                "params": parameters,
                "weight_decay": settings.weight_decay if matrix else 0.0,
                "factor": settings.encoder_rate * settings.layer_decay**below if is_encoder else 1.0,
            }
            for (is_encoder, below, matrix), parameters in sorted(groups.items(), key=lambda g: g[0])
        ]

    def _below(self, name: str) -> int:
        """Return how many layers lie between a parameter of an encoder and its end."""
        _, _, modality, inner = name.split(".", 3)
        depth = depth_of(n for n, _ in self.network.encoders[modality].named_parameters())
        return depth + 1 - layer_of(inner, depth)

    def finish(self, model: Any, epochs: int) -> None:
        """Calibrate on the held-out patients and write the model: with early stopping the best, else the last."""
        if self.config.network.encoder == "lora":
            for modality, encoder in model.encoders.items():
                if modality != TABLE:
                    merge_lora(encoder)
        network = model.cpu().eval()
        facts = calibrate(network, self.data, self.held_out, self.training, config=self.config)
        dtype = torch.float16 if self.config.model.store == "float16" else None
        network.save(self.folder / "model", extra={**facts, "epochs": epochs}, dtype=dtype)


def prepare_run(records: Sequence[StudyRecord], folder: Path, config: TrainConfig, reporter: Reporter) -> Run:
    """Divide the patients, build network and objectives, read every study.

    Raises:
        InvalidInput: Too many studies are rejected, too few are left, or a label is not in its set.
    """
    outside = _held_out(records, config)
    tasks = resolve_tasks(config, records, ~outside)
    schema = None
    if TABLE in config.network.encoders:
        names = None if config.table.columns == "auto" else config.table.columns
        schema = TableSchema.fit(table_rows([r for r, o in zip(records, outside, strict=True) if not o]), names=names)
    network = _network(config, {n: t for n, t in tasks.items() if not config.tasks[n].auxiliary}, schema)
    side_tasks = {n: t for n, t in tasks.items() if config.tasks[n].auxiliary}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed + 17)
        auxiliary = AuxiliaryHeads(network, side_tasks, {n: config.tasks[n].modality for n in side_tasks})
    with reporter("reading") as show:
        data = prepare_set(
            records,
            network.spec.inputs,
            tasks=tasks,
            wanted=config.tasks,
            schema=schema,
            side=max(config.data.side, *(s for s in config.train.plan if s)) if any(config.train.plan) else None,
            cache=config.data.cache,
            cache_bytes=None if config.data.cache_gb is None else int(config.data.cache_gb * 1e9),
            progress=show,
        )
    _check_rejected(data, len(records), config, folder)
    test_ids = {r.study_id for r, o in zip(records, outside, strict=True) if o}
    outside = np.asarray([s in test_ids for s in data.study_ids])
    training, held_out = np.flatnonzero(~outside), np.flatnonzero(outside)
    if len(training) < config.train.batch_size or len(held_out) == 0:
        raise InvalidInput(
            f"{len(training)} studies to train on and {len(held_out)} held out are too few for batches of {config.train.batch_size}.",
            code="train.too_few",
        )
    if config.network.encoder == "frozen":
        with reporter("embedding") as show:
            data = with_vectors(network, data, cache=config.data.cache, device=config.train.device, progress=show)
    main_loss, auxiliary_loss = _losses(config, tasks, data, training)
    return Run(
        folder=folder,
        config=config,
        network=network,
        auxiliary=auxiliary,
        data=data,
        training=training,
        held_out=held_out,
        main_loss=main_loss,
        auxiliary_loss=auxiliary_loss,
        tasks=tasks,
    )


def _held_out(records: Sequence[StudyRecord], config: TrainConfig) -> npt.NDArray[np.bool_]:
    """Return which records are not trained on: those a table says are, else a share of the patients."""
    if any(r.split for r in records) and not config.data.sets:
        _check_leak(records, config)
        return np.asarray([r.split in ("val", "test") for r in records])
    everyone = PreparedSet(study_ids=tuple(r.study_id for r in records), groups=tuple(r.group for r in records))
    return everyone.held_out(config.data.validation_fraction, config.data.seed)


def _check_leak(records: Sequence[StudyRecord], config: TrainConfig) -> None:
    sides: dict[str, set[bool]] = {}
    for r in records:
        sides.setdefault(r.group, set()).add(r.split in ("val", "test"))
    leaking = sorted(p for p, found in sides.items() if len(found) > 1)
    if leaking and not config.data.allow_patient_overlap:
        shown = ", ".join(leaking[:10]) + (f" and {len(leaking) - 10} more" if len(leaking) > 10 else "")
        raise InvalidInput(
            f"{len(leaking)} patients are both trained on and held out: {shown}.",
            code="split.leak",
            hint="Put all studies of a patient into one split; data.allow_patient_overlap = true goes on and records it.",
        )


def _losses(
    config: TrainConfig, tasks: dict[str, Task], data: PreparedSet, training: npt.NDArray[np.int64]
) -> tuple[Multitask, Multitask]:
    """Return the objective of the model's heads and that of the auxiliary ones."""
    losses = {
        n: head_loss(
            t,
            counts=training_counts(t, data.targets[n][training]),
            weighting=config.tasks[n].weighting,
            name=config.tasks[n].loss,
            smoothing=config.tasks[n].smoothing,
        )
        for n, t in tasks.items()
    }
    weights = {n: config.tasks[n].weight for n in tasks}
    main = {n: x for n, x in losses.items() if not config.tasks[n].auxiliary}
    side = {n: x for n, x in losses.items() if config.tasks[n].auxiliary}
    return Multitask(main, weights, config.train.unimodal, config.train.fused), Multitask(side, weights, 0.0)


def _network(config: TrainConfig, tasks: dict[str, Task], schema: TableSchema | None) -> MultimodalNetwork:
    def named(value: Any) -> tuple[str, dict[str, Any]]:
        return (
            (value, {}) if isinstance(value, str) else (value["name"], {k: v for k, v in value.items() if k != "name"})
        )

    chosen = config.network
    network = build_network(
        {m: named(v) for m, v in chosen.encoders.items()},
        named(chosen.fusion),
        tasks,
        table=schema,
        embed_dim=chosen.embed_dim,
        modality_dropout=chosen.modality_dropout,
        head_dropout=chosen.head_dropout,
        seed=config.train.seed,
    )
    if chosen.init:
        given, _ = load_network(chosen.init)
        for modality, encoder in network.encoders.items():
            if (
                modality in given.encoders
                and given.spec.encoders[modality][0] == network.spec.encoders[modality][0]
                and modality != TABLE
            ):
                if modality in network.spec.inputs:
                    check_pixels(
                        network.spec.inputs[modality],
                        given.spec.inputs[modality],
                        what=f"the {modality} encoder of {chosen.init!r}",
                    )
                encoder.load_state_dict(given.encoders[modality].state_dict())
                if modality in given.origins:
                    network.origins[modality] = given.origins[modality]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed + 29)
        for modality, encoder in network.encoders.items():
            if modality == TABLE:
                continue
            if chosen.encoder == "lora":
                add_lora(encoder, rank=chosen.lora_rank)
            elif chosen.encoder == "frozen" and modality in network.spec.inputs:
                encoder.requires_grad_(False)
    return network


def _check_rejected(data: PreparedSet, total: int, config: TrainConfig, folder: Path) -> None:
    write_json(
        folder / "rejected.json",
        [{"study_id": r.study_id, "code": r.code, "message": r.message} for r in data.rejected],
    )
    if len(data.rejected) > config.data.max_rejected * total:
        first = data.rejected[0]
        raise InvalidInput(
            f"{len(data.rejected)} of {total} studies cannot be used; first {first.study_id!r}: {first.message}",
            code=first.code,
            hint="All are in rejected.json of the run folder; data.max_rejected raises the limit.",
        )
