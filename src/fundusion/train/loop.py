"""The training loop: one function, every step decided by (seed, step), so that a run that was killed goes on exactly."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from .. import __version__
from ..core.durable import write_json, write_text
from ..core.errors import FundusionError, InvalidInput, require
from ..core.interfaces import Loss
from ..core.study import StudyRecord
from ..core.table import TableSchema
from ..core.tasks import Task
from ..core.vocabulary import TABLE
from ..layers.lora import add_lora, merge_lora
from ..network import MultimodalNetwork, build_network, load_network
from ..objectives.classification import head_loss
from ..objectives.multitask import Multitask
from .calibrate import calibrate
from .checkpoint import load_checkpoint, restore, save_checkpoint
from .config import TrainConfig, to_toml
from .data import PreparedSet, load_records, prepare_set, resolve_tasks, table_rows, training_counts
from .embeddings import with_vectors
from .evaluate import validation_score
from .loggers import History, open_loggers
from .schedule import MovingAverage, rate_at
from .steps import AuxiliaryHeads, Step

Reporter = Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """What a run came to.

    Args:
        folder: Run folder; the model is in `folder / "model"`.
        epochs: Epochs that were done.
        metric: Name of the validation metric.
        best: Its best value, or None.
        rejected: Studies left out in reading.
        exit_code: 0, or 143/130 when it was interrupted.
    """

    folder: Path
    epochs: int
    metric: str = "macro AUROC"
    best: float | None = None
    rejected: int = 0
    exit_code: int = 0


@dataclass(slots=True)
class _State:
    step: int = 0
    epoch: int = 0
    best: float | None = None
    since_best: int = 0
    bad_steps: int = 0
    skipped: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def train_from_config(
    config: TrainConfig, out: str | Path, *, allow_changes: bool = False, reporter: Reporter | None = None
) -> RunResult:
    """Read the studies of a configuration, build the network and train it; see `train`."""
    records = load_records(config.data)
    if records.rejected and len(records.rejected) > config.data.max_rejected * (len(records) + len(records.rejected)):
        first = records.rejected[0]
        raise InvalidInput(
            f"{len(records.rejected)} rows of the table are no studies; first {first.origin}: {first.message}",
            code=first.code,
            hint="Look at them with `fundusion check`.",
        )
    return train(list(records), out, config=config, allow_changes=allow_changes, reporter=reporter)


def train(
    records: Sequence[StudyRecord],
    out: str | Path,
    *,
    config: TrainConfig,
    allow_changes: bool = False,
    reporter: Reporter | None = None,
) -> RunResult:
    """Train a fused network and return where it is.

    Patients are divided by `config.data`; the held-out ones decide early stopping, calibration and thresholds and are
    never trained on. A run folder that holds a checkpoint of the same configuration and data goes on from it; on a CPU
    the weights are then bit for bit those of an uninterrupted run.

    Args:
        records: Studies with labels.
        out: Run folder.
        config: Everything else.
        allow_changes: Go on although configuration, data or version changed; recorded in the run.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).

    Raises:
        InvalidInput: Too many studies are rejected, a label is not in its set, or the folder holds another run.
        FundusionError: The loss was not finite several times in a row (`train.not_finite`).

    Example:
        >>> result = train(records, "run", config=config)                                  # doctest: +SKIP
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    reporter = reporter or (lambda title: nullcontext(lambda *a, **k: None))
    # The loop owns the generator of this process while it runs, and gives it back.
    with torch.random.fork_rng(devices=[]):
        run = _prepare(records, folder, config, reporter)
        return _fit(run, allow_changes, reporter)


@dataclass(slots=True)
class _Run:
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


def _prepare(records: Sequence[StudyRecord], folder: Path, config: TrainConfig, reporter: Reporter) -> _Run:
    fraction, seed = config.data.validation_fraction, config.data.seed
    probe = PreparedSet(study_ids=tuple(r.study_id for r in records), groups=tuple(r.group for r in records))
    stated = any(r.split for r in records)
    outside = (
        np.asarray([r.split in ("val", "test") for r in records])
        if stated and not config.data.sets
        else probe.held_out(fraction, seed)
    )
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
    main = {n: losses[n] for n in network.spec.tasks}
    side = {n: losses[n] for n in side_tasks}
    return _Run(
        folder=folder,
        config=config,
        network=network,
        auxiliary=auxiliary,
        data=data,
        training=training,
        held_out=held_out,
        main_loss=Multitask(main, weights, config.train.unimodal, config.train.fused),
        auxiliary_loss=Multitask(side, weights, 0.0),
        tasks=tasks,
    )


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
                encoder.load_state_dict(given.encoders[modality].state_dict())
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


def _fit(run: _Run, allow_changes: bool, reporter: Reporter) -> RunResult:
    fabric_module = require("lightning_fabric", extra="train")
    config, folder = run.config, run.folder
    accelerator, _, index = config.train.device.partition(":")
    fabric = fabric_module.Fabric(
        accelerator=accelerator,
        devices=[int(index)] if index else 1,
        precision="bf16-mixed" if config.train.precision == "bf16" else "32-true",
    )
    trained = nn.ModuleDict({"network": run.network, "auxiliary": run.auxiliary}).to(fabric.device)
    optimizer = torch.optim.AdamW(_groups(run), lr=config.train.learning_rate, foreach=True)
    average = MovingAverage(_copy_of(run), decay=config.train.ema) if config.train.ema > 0 else None
    modules = {"trained": trained, **({"average": average.module} if average else {})}
    per_epoch = len(run.training) // config.train.batch_size // config.train.accumulate
    if per_epoch == 0:
        raise InvalidInput("one batch with its accumulation is more than the training part.", code="train.too_few")
    facts = {"config": config.digest(), "data": run.data.digest, "version": __version__}
    state = _resume(folder, facts, modules, optimizer, allow_changes)
    write_text(folder / "config.toml", to_toml(config))
    write_text(folder / "environment.txt", _environment())
    history = History(folder, state.history)
    loggers = [history, *open_loggers(config.train.loggers, folder, {"config": config.digest()})]
    step = Step(config, run.network, run.auxiliary, run.main_loss, run.auxiliary_loss, data=run.data)
    plan = config.train.plan
    total = per_epoch * len(plan)

    def save() -> None:
        save_checkpoint(
            folder,
            modules=modules,
            optimizer=optimizer,
            facts={
                **facts, "step": state.step, "epoch": state.epoch, "best": state.best, "since_best": state.since_best,
                "skipped": state.skipped, "history": history.rows,
            },
        )  # fmt: skip

    code = 0
    with _signals() as received, reporter("training steps") as show:
        while state.epoch < len(plan):
            began, losses = time.monotonic(), []
            order = _order(run.training, config.train.seed, state.epoch)
            first = state.step - state.epoch * per_epoch
            for i in range(first, per_epoch):
                rows = order[i * config.train.accumulate * config.train.batch_size :][
                    : config.train.accumulate * config.train.batch_size
                ]
                losses.append(_one(run, step, fabric, optimizer, trained, rows, state, total, plan[state.epoch]))
                if average:
                    average.update(trained, state.step)
                state.step += 1
                show(state.step, total, {"loss": f"{losses[-1]:.3f}"})
                if received or state.step % config.train.checkpoint_every == 0:
                    save()
                if received:
                    return RunResult(folder=folder, epochs=state.epoch, best=state.best, exit_code=128 + received[0])
            state.epoch += 1
            model = average.module["network"] if average else run.network
            row: dict[str, Any] = {
                "epoch": state.epoch,
                "step": state.step,
                "seconds": round(time.monotonic() - began, 1),
            }
            finite = [x for x in losses if math.isfinite(x)]
            row |= {"loss": round(float(np.mean(finite)), 6) if finite else None, "skipped": state.skipped}
            if state.epoch % config.train.evaluate_every == 0 or state.epoch == len(plan):
                score = validation_score(
                    model, run.data, run.held_out, size=plan[state.epoch - 1], device=fabric.device
                )
                row |= {k: round(v, 6) for k, v in score.items()}
                _note_best(state, score.get("macro_auroc"), model, folder)
            for logger in loggers:
                logger.row(row)
            save()
            if config.train.patience and state.since_best >= config.train.patience:
                break
        for logger in loggers[1:]:
            logger.close()
        _finish(run, average, state)
    return RunResult(
        folder=folder, epochs=state.epoch, best=state.best, rejected=len(run.data.rejected), exit_code=code
    )


def _one(
    run: _Run, step: Step, fabric: Any, optimizer: torch.optim.Optimizer, trained: nn.ModuleDict,
    rows: npt.NDArray[np.int64], state: _State, total: int, size: int | None,
) -> float:  # fmt: skip
    """Do one optimiser step over the accumulated batches; a loss that is not finite changes nothing and is counted."""
    settings = run.config.train
    rate = rate_at(state.step, total, warmup=settings.warmup_steps, schedule=settings.schedule)
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * rate * group["factor"]
    _training_mode(run, trained)
    optimizer.zero_grad(set_to_none=True)
    value = 0.0
    parts = np.array_split(rows, settings.accumulate)
    for k, part in enumerate(parts):
        number = state.step * settings.accumulate + k
        # Dropout draws from the generator of the process; seeding it per step makes it a function of the step.
        torch.manual_seed(settings.seed * 1_000_003 + number)
        batch = step.batch(part, number, size).to(fabric.device)
        with fabric.autocast():
            loss: Loss = step.loss(batch, number)
        (loss.total / len(parts)).backward()
        value += float(loss.total.detach()) / len(parts)
    norm = nn.utils.clip_grad_norm_(trained.parameters(), settings.clip)
    if not (math.isfinite(value) and bool(torch.isfinite(norm))):
        state.skipped += 1
        state.bad_steps += 1
        if state.bad_steps >= settings.max_bad_steps:
            names = ", ".join(run.data.study_ids[i] for i in rows[:8])
            raise FundusionError(
                f"the loss was not finite in {state.bad_steps} steps in a row (step {state.step}; studies {names}, ...).",
                code="train.not_finite",
                hint="Lower the learning rate or use precision fp32; the last checkpoint is whole.",
            )
        return value
    state.bad_steps = 0
    optimizer.step()
    return value


def _training_mode(run: _Run, trained: nn.ModuleDict) -> None:
    trained.train()
    if run.config.network.encoder == "frozen":
        for modality in run.network.spec.inputs:
            run.network.encoders[modality].eval()


def _groups(run: _Run) -> list[dict[str, Any]]:
    """Weight decay on matrices only; encoders have their own rate."""
    settings = run.config.train
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    named = [*run.network.named_parameters(prefix="network"), *run.auxiliary.named_parameters(prefix="auxiliary")]
    for name, parameter in named:
        if parameter.requires_grad:
            is_encoder = name.startswith("network.encoders.") and not name.startswith(f"network.encoders.{TABLE}.")
            groups.setdefault((is_encoder, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "weight_decay": settings.weight_decay if matrix else 0.0,
            "factor": settings.encoder_rate if is_encoder else 1.0,
        }
        for (is_encoder, matrix), parameters in sorted(groups.items(), key=lambda g: g[0])
    ]


def _copy_of(run: _Run) -> nn.ModuleDict:
    import copy

    return copy.deepcopy(nn.ModuleDict({"network": run.network, "auxiliary": run.auxiliary}))


def _order(training: npt.NDArray[np.int64], seed: int, epoch: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng([seed, 77, epoch]).permutation(training)


def _resume(
    folder: Path,
    facts: dict[str, Any],
    modules: dict[str, nn.Module],
    optimizer: torch.optim.Optimizer,
    allow_changes: bool,
) -> _State:
    found = load_checkpoint(folder)
    if found is None:
        return _State()
    known, tensors = found
    changed = [k for k, v in facts.items() if known.get(k) != v]
    if changed and not allow_changes:
        raise InvalidInput(
            f"the run folder holds a run with another {' and '.join(changed)}.",
            code="run.other_config",
            hint="Train into another folder, or give --allow-changes to go on and record the change.",
        )
    restore(tensors, modules, optimizer)
    history = list(known["history"])
    if changed:
        history.append({"epoch": known["epoch"], "step": known["step"], "changed": " ".join(changed)})
    return _State(
        step=known["step"], epoch=known["epoch"], best=known["best"], since_best=known["since_best"],
        skipped=known["skipped"], history=history,
    )  # fmt: skip


def _note_best(state: _State, score: float | None, model: MultimodalNetwork, folder: Path) -> None:
    if score is None:
        return
    if state.best is None or score > state.best:
        state.best, state.since_best = score, 0
        return
    state.since_best += 1


def _finish(run: _Run, average: MovingAverage | None, state: _State) -> None:
    """Calibrate on the held-out patients and write the model."""
    network = average.module["network"] if average else run.network
    if run.config.network.encoder == "lora":
        for modality, encoder in network.encoders.items():
            if modality != TABLE:
                merge_lora(encoder)
    network = network.cpu().eval()
    facts = calibrate(network, run.data, run.held_out, run.training, config=run.config)
    dtype = torch.float16 if run.config.model.store == "float16" else None
    network.save(run.folder / "model", extra={**facts, "epochs": state.epoch}, dtype=dtype)


def _environment() -> str:
    import platform
    from importlib.metadata import distributions

    names = sorted(f"{d.metadata['Name']}=={d.version}" for d in distributions() if d.metadata["Name"])
    return "\n".join([f"python {platform.python_version()}", *dict.fromkeys(names)]) + "\n"


@contextmanager
def _signals() -> Iterator[list[int]]:
    received: list[int] = []
    previous: dict[int, Any] = {}
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            previous[number] = signal.signal(number, lambda n, _: received.append(n))
        except ValueError:
            continue
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
