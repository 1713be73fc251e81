"""The training loop: one function, every step decided by (seed, step), so that a run that was killed goes on exactly."""

from __future__ import annotations

import copy
import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from .. import __version__
from ..core.durable import write_text
from ..core.errors import FundusionError, InvalidInput, require
from ..core.interfaces import Loss
from ..core.study import StudyRecord
from ..layers.memory_format import prefer_channels_last
from ..layers.precision import usable_precision
from .checkpoint import load_checkpoint, restore, save_checkpoint
from .config import FitConfig, TrainConfig
from .data import load_records
from .loggers import History, open_loggers
from .run import Reporter, prepare_run
from .schedule import MovingAverage, decay_at, plateau_factor, rate_at


class StepOf(Protocol):
    """Makes batches and losses; everything random in it is decided by the number of the step."""

    def batch(self, rows: npt.NDArray[np.int64], step: int, size: int | None) -> Any: ...

    def loss(self, batch: Any, step: int) -> Loss: ...


class Job(Protocol):
    """What the loop trains: supervised networks (`run.Run`) and encoders without labels (`pretrain.PretrainRun`).

    Args:
        folder: Run folder.
        settings: The optimisation.
        training: Rows that are trained on.
        digests: Of everything that decides the weights; a run folder with others is refused.
        metric: Name of the validation score that early stopping follows.
    """

    folder: Path
    training: npt.NDArray[np.int64]
    metric: str

    @property
    def settings(self) -> FitConfig: ...

    @property
    def digests(self) -> dict[str, str]: ...

    @property
    def rejected(self) -> int: ...

    def toml(self) -> str: ...

    def modules(self) -> nn.ModuleDict: ...

    def groups(self) -> list[dict[str, Any]]: ...

    def step(self) -> StepOf: ...

    def model_of(self, trained: nn.ModuleDict) -> nn.Module: ...

    def training_mode(self, trained: nn.ModuleDict, epoch: int) -> None: ...

    def after_step(self, step: int, total: int) -> None: ...

    def names(self, rows: npt.NDArray[np.int64]) -> str: ...

    def score(self, model: Any, epoch: int, device: Any) -> dict[str, float]: ...

    def finish(self, model: Any, epochs: int) -> None: ...


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
    losses: list[float] = field(default_factory=list)
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
        run = prepare_run(records, folder, config, reporter)
        return fit(run, allow_changes=allow_changes, reporter=reporter)


@dataclass(slots=True)
class _Loop:
    """Everything that changes while training, and what writes it down."""

    fabric: Any
    optimizer: torch.optim.Optimizer
    trained: nn.ModuleDict
    average: MovingAverage | None
    best: nn.Module | None
    state: _State
    step: StepOf
    history: History
    loggers: list[Any]
    facts: dict[str, Any]
    per_epoch: int

    @property
    def modules(self) -> dict[str, nn.Module]:
        found: dict[str, nn.Module | None] = {
            "trained": self.trained,
            "average": self.average.module if self.average else None,
            "best": self.best,
        }
        return {name: module for name, module in found.items() if module is not None}

    def save(self, folder: Path) -> None:
        state = self.state
        save_checkpoint(
            folder,
            modules=self.modules,
            optimizer=self.optimizer,
            facts={
                **self.facts, "step": state.step, "epoch": state.epoch, "best": state.best,
                "since_best": state.since_best, "skipped": state.skipped, "losses": state.losses,
                "history": self.history.rows,
            },
        )  # fmt: skip


def _open(run: Job, allow_changes: bool) -> _Loop:
    fabric_module = require("lightning_fabric", extra="train")
    settings, folder = run.settings, run.folder
    accelerator, _, index = settings.device.partition(":")
    fabric = fabric_module.Fabric(
        accelerator=accelerator,
        devices=[int(index)] if index else 1,
        precision="bf16-mixed" if usable_precision(settings.precision, settings.device) == "bf16" else "32-true",
    )
    trained = run.modules().to(fabric.device)
    prefer_channels_last(trained)
    per_epoch = len(run.training) // settings.batch_size // settings.accumulate
    if per_epoch == 0:
        raise InvalidInput("one batch with its accumulation is more than the training part.", code="train.too_few")
    loop = _Loop(
        fabric=fabric,
        optimizer=torch.optim.AdamW(run.groups(), lr=settings.learning_rate, foreach=True),
        trained=trained,
        average=MovingAverage(copy.deepcopy(trained), decay=settings.ema) if settings.ema > 0 else None,
        best=copy.deepcopy(run.model_of(trained)) if settings.patience else None,
        state=_State(),
        step=run.step(),
        history=History(folder, []),
        loggers=[],
        facts={**run.digests, "version": __version__},
        per_epoch=per_epoch,
    )
    loop.state = _resume(folder, loop.facts, loop.modules, loop.optimizer, allow_changes)
    loop.history = History(folder, loop.state.history)
    loop.loggers = open_loggers(settings.loggers, folder, {"config": loop.facts["config"]})
    write_text(folder / "config.toml", run.toml())
    write_text(folder / "environment.txt", _environment())
    return loop


def fit(run: Job, *, allow_changes: bool = False, reporter: Reporter) -> RunResult:
    """Do every step of a job that is not done yet; a signal ends in a checkpoint. The caller guards the generator."""
    loop = _open(run, allow_changes)
    state, settings = loop.state, run.settings
    total = loop.per_epoch * len(settings.plan)
    title = "training steps"
    if usable_precision(settings.precision, settings.device) != settings.precision:
        title += " (float32: this processor has no bfloat16, which would be several times slower)"
    with _signals() as received, reporter(title) as show:
        while state.epoch < len(settings.plan) and not _is_stale(state, settings.patience):
            began = time.monotonic()
            for rows in _batches(run, loop):
                loss = _one(run, loop, rows, total)
                show(state.step, total, {"loss": f"{loss:.3f}"})
                if received or state.step % settings.checkpoint_every == 0:
                    loop.save(run.folder)
                if received:
                    return RunResult(
                        folder=run.folder, epochs=state.epoch, best=state.best, exit_code=128 + received[0]
                    )
            state.epoch += 1
            _end_epoch(run, loop, time.monotonic() - began)
        for logger in loop.loggers:
            logger.close()
        run.finish(loop.best if loop.best is not None else _model(run, loop), state.epoch)
    return RunResult(folder=run.folder, epochs=state.epoch, best=state.best, rejected=run.rejected)


def _model(run: Job, loop: _Loop) -> nn.Module:
    """Return the network that validation sees."""
    return run.model_of(loop.average.module if loop.average else loop.trained)


def _is_stale(state: _State, patience: int) -> bool:
    return patience > 0 and state.since_best >= patience


def _batches(run: Job, loop: _Loop) -> Iterator[npt.NDArray[np.int64]]:
    """Yield the rows of the steps of this epoch that are not done yet."""
    size = run.settings.accumulate * run.settings.batch_size
    order = _order(run.training, run.settings.seed, loop.state.epoch)
    first = loop.state.step - loop.state.epoch * loop.per_epoch
    for i in range(first, loop.per_epoch):
        yield order[i * size : (i + 1) * size]


def _end_epoch(run: Job, loop: _Loop, seconds: float) -> None:
    """Validate, write the row of the epoch, keep the best weights, write a checkpoint."""
    state, settings = loop.state, run.settings
    row: dict[str, Any] = {
        "epoch": state.epoch,
        "step": state.step,
        "seconds": round(seconds, 1),
        "loss": round(float(np.mean(state.losses)), 6) if state.losses else None,
        "skipped": state.skipped,
    }
    if state.epoch % settings.evaluate_every == 0 or state.epoch == len(settings.plan):
        score = run.score(_model(run, loop), state.epoch, loop.fabric.device)
        row |= {k: round(v, 6) for k, v in score.items()}
        _note_best(run, loop, score.get(run.metric))
    for logger in (loop.history, *loop.loggers):
        logger.row(row)
    state.losses = []
    loop.save(run.folder)


def _one(run: Job, loop: _Loop, rows: npt.NDArray[np.int64], total: int) -> float:
    """Do one optimiser step over the accumulated batches; a loss that is not finite changes nothing and is counted."""
    settings, state, optimizer, trained = run.settings, loop.state, loop.optimizer, loop.trained
    rate = _rate(run, loop, total)
    decay = decay_at(state.step, total, start=settings.weight_decay, end=settings.weight_decay_end)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]
        # Vectors have none at any time.
        group["weight_decay"] = decay if group["weight_decay"] > 0 else 0.0
    run.training_mode(trained, state.epoch)
    optimizer.zero_grad(set_to_none=True)
    value = 0.0
    parts = np.array_split(rows, settings.accumulate)
    for k, part in enumerate(parts):
        number = state.step * settings.accumulate + k
        # Dropout draws from the generator of the process; seeding it per step makes it a function of the step.
        torch.manual_seed(settings.seed * 1_000_003 + number)
        batch = loop.step.batch(part, number, settings.plan[state.epoch]).to(loop.fabric.device)
        with loop.fabric.autocast():
            loss: Loss = loop.step.loss(batch, number)
        (loss.total / len(parts)).backward()
        value += float(loss.total.detach()) / len(parts)
    norm = nn.utils.clip_grad_norm_(trained.parameters(), settings.clip)
    if not (math.isfinite(value) and bool(torch.isfinite(norm))):
        state.skipped += 1
        state.bad_steps += 1
        if state.bad_steps >= settings.max_bad_steps:
            raise FundusionError(
                f"the loss was not finite in {state.bad_steps} steps in a row (step {state.step}; studies {run.names(rows[:8])}, ...).",
                code="train.not_finite",
                hint="Lower the learning rate or use precision fp32; the last checkpoint is whole.",
            )
    else:
        state.bad_steps = 0
        state.losses.append(value)
        optimizer.step()
        run.after_step(state.step, total)
    if loop.average:
        loop.average.update(trained, state.step)
    state.step += 1
    return value


def _rate(run: Job, loop: _Loop, total: int) -> float:
    """Return the learning rate of the step; everything it follows is in the checkpoint."""
    settings, state = run.settings, loop.state
    rate = rate_at(state.step, total, warmup=settings.warmup_steps, schedule=settings.schedule)
    if settings.schedule == "plateau":
        scores = [row[run.metric] for row in loop.history.rows if row.get(run.metric) is not None]
        rate *= plateau_factor(scores, factor=settings.plateau[0], patience=settings.plateau[1])
    if state.epoch < settings.head_epochs and settings.head_learning_rate is not None:
        return rate * settings.head_learning_rate
    return rate * settings.learning_rate


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
        skipped=known["skipped"], losses=list(known["losses"]), history=history,
    )  # fmt: skip


def _note_best(run: Job, loop: _Loop, score: float | None) -> None:
    state = loop.state
    if score is None:
        return
    if state.best is None or score > state.best:
        state.best, state.since_best = score, 0
        if loop.best is not None:
            loop.best.load_state_dict(_model(run, loop).state_dict())
    else:
        state.since_best += 1


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
