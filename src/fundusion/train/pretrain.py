"""Encoders trained without labels by the loop of supervised training; the result goes into `build_network` as weights."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import nn

from ..core.durable import write_bytes, write_json
from ..core.errors import InvalidInput
from ..core.registry import ImageInput, models, objectives
from ..core.study import StudyRecord
from ..datasets._splits import position_of
from ..layers.precision import plain_attention
from ..layers.weights import digest, save_state
from .config import FitConfig, deciding
from .data import PreparedSet, prepare_set
from .estimate import estimate
from .job import PlainJob, decayed_groups
from .loop import RunResult, fit
from .pretrain_steps import IBOTStep, MAEStep, MultiMAEStep, PretrainStep, picture_grid
from .run import Reporter
from .steps import generators_of

_SHOWN = 4
_STEPS: dict[str, type[PretrainStep]] = {"mae": MAEStep, "ibot": IBOTStep, "multimae": MultiMAEStep}
#: Smallest and largest share of the area of random cuts, as published.
_SCALES = {"mae": (0.2, 1.0), "ibot": (0.32, 1.0), "multimae": (0.2, 1.0)}
_RATIOS = {"mae": 0.75, "ibot": 0.3, "multimae": 0.77}


_FIT: dict[str, Any] = {
    "epochs": 100, "batch_size": 64, "learning_rate": 1.5e-4, "warmup_steps": 200, "ema": 0.0, "clip": 3.0, "evaluate_every": 1,
}  # fmt: skip


class TeacherConfig(BaseModel):
    """Schedules of iBOT; the defaults are those VisionFM was trained with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: First epochs in which the prototypes do not move.
    freeze_epochs: int = Field(default=3, ge=0)
    #: Epochs in which the teacher's temperatures go from their first to their last values.
    warmup_epochs: int = Field(default=30, ge=0)
    #: First inertia of the teacher; it rises to one along a cosine.
    momentum: float = Field(default=0.996, gt=0, lt=1)


class PretrainConfig(BaseModel):
    """Everything that decides the weights, besides the pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    objective: Literal["mae", "ibot", "multimae"]
    #: Name of a registered image encoder: a plain vision transformer, or for multimae one of `eyefm`.
    model: str
    #: Options of the model.
    options: dict[str, Any] = {}
    #: Kinds of pictures; objectives on single pictures take one.
    modalities: tuple[str, ...] = ("cfp",)
    #: Share of hidden patches; None is the published one.
    mask_ratio: float | None = Field(default=None, gt=0, lt=1)
    #: Width, depth and heads of the decoder (mae).
    decoder: tuple[int, int, int] = (256, 4, 8)
    #: Prototypes, width of the head and of its end (ibot).
    head: tuple[int, int, int] = (8192, 2048, 256)
    #: How the teacher and the head are led (ibot).
    teacher: TeacherConfig = TeacherConfig()
    #: Epochs between pictures.
    pictures_every: int = Field(default=10, ge=1)
    #: Share of patients whose pictures are never trained on; their loss is the validation loss.
    validation_fraction: float = Field(default=0.1, gt=0, lt=1)
    #: Side of the stored pictures that are cut from, px; None is an eighth more than the encoder sees. Small cuts of larger ones keep detail.
    side: int | None = Field(default=None, ge=32)
    #: Folder where prepared pictures are kept.
    cache: str | None = None
    train: FitConfig = FitConfig(**_FIT)

    @model_validator(mode="before")
    @classmethod
    def _as_published(cls, value: Any) -> Any:
        """The weight decay of iBOT rises from 0.04 to 0.4, unless one is given."""
        if not isinstance(value, dict) or value.get("objective") != "ibot":
            return value
        train = value.get("train", _FIT)
        given = train.model_dump(exclude_unset=True) if isinstance(train, FitConfig) else train
        if not isinstance(given, dict) or "weight_decay" in given:
            return value
        return {**value, "train": {"weight_decay_end": 0.4, **given, "weight_decay": 0.04}}

    def digest(self) -> str:
        """Return a digest of everything that decides the weights."""
        value = self.model_dump(mode="json")
        value["train"] = deciding(value["train"])
        for key in ("cache", "pictures_every", *(() if self.objective == "ibot" else ("teacher",))):
            value.pop(key)
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass(slots=True)
class PretrainRun(PlainJob):
    """What the loop trains; only the modules change."""

    folder: Path
    config: PretrainConfig
    system: Any
    inputs: Mapping[str, ImageInput]
    data: PreparedSet
    training: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    #: Study of each row: rows of single-picture objectives are pictures.
    studies: npt.NDArray[np.int64]
    #: Studies of patients in the part "test", which were not looked at.
    untouched: int = 0
    metric: str = "none"
    _step: Any = field(default=None)

    def modules(self) -> nn.ModuleDict:
        """Return everything with weights."""
        return nn.ModuleDict({"system": self.system})

    def model_of(self, trained: nn.ModuleDict) -> nn.Module:
        """Return the objective with its networks."""
        return trained["system"]

    def training_mode(self, trained: nn.ModuleDict, epoch: int) -> None:
        """Switch drop path on, in the student only."""
        trained.train()
        if self.config.objective == "ibot":
            self.system.teacher.eval()

    def step(self) -> PretrainStep:
        """Return what makes batches and losses."""
        if self._step is None:
            settings = self.settings
            # Every batch of an accumulated step counts, as in the numbers the steps are called with.
            per_epoch = max(1, len(self.training) // settings.batch_size // settings.accumulate * settings.accumulate)
            self._step = _STEPS[self.config.objective](
                self.system,
                self.data,
                self.inputs,
                seed=settings.seed,
                scale=_SCALES[self.config.objective],
                mask_ratio=self.config.mask_ratio or _RATIOS[self.config.objective],
                steps_per_epoch=per_epoch,
            )
        return self._step

    def after_step(self, step: int, total: int) -> None:
        """Move the teacher."""
        if self.config.objective == "ibot":
            self.system.move_teacher(step / total)

    def names(self, rows: npt.NDArray[np.int64]) -> str:
        """Return the studies of rows."""
        return ", ".join(self.data.study_ids[self.studies[i]] for i in rows)

    @torch.no_grad()
    def score(self, model: Any, epoch: int, device: Any) -> dict[str, float]:
        """Return the loss on the held-out patients, always with the same hidden patches; write pictures now and then."""
        self.system.eval()
        result = {}
        if self.config.objective != "ibot":
            size, step, values = self.settings.batch_size, self.step(), []
            for start in range(0, len(self.held_out), size):
                rows = self.held_out[start : start + size]
                values += [float(step.loss(step.still(rows).to(device), start).total)] * len(rows)
            result["val_loss"] = float(np.mean(values))
        if epoch % self.config.pictures_every == 0 or epoch == len(self.settings.plan):
            self.show(epoch, device)
        return result

    def show(self, epoch: int, device: Any) -> None:
        """Write pictures of held-out eyes as they are, as the encoder saw them and as it rebuilt them."""
        import io

        from PIL import Image

        step = self.step()
        columns = step.shown(step.still(self.held_out[:_SHOWN]).to(device))
        stream = io.BytesIO()
        Image.fromarray(picture_grid(columns, self.inputs)).save(stream, "PNG")
        (self.folder / "pictures").mkdir(exist_ok=True)
        write_bytes(self.folder / "pictures" / f"epoch-{epoch:04d}.png", stream.getvalue())

    def probe(self) -> PretrainRun:
        """Return the run with a copy of everything that changes, to measure on."""
        return replace(self, system=copy.deepcopy(self.system), _step=None)

    def groups(self) -> list[dict[str, Any]]:
        """Return parameter groups: weight decay on matrices only."""
        return decayed_groups(self.system.parameters(), self.settings.weight_decay)

    def finish(self, model: Any, epochs: int) -> None:
        """Write the encoder: of iBOT the teacher's."""
        body = encoder_of(model, self.config.objective)
        path = self.folder / "encoder.safetensors"
        save_state(path, body, metadata={"model": self.config.model, "objective": self.config.objective})
        write_json(
            self.folder / "encoder.json",
            {
                "model": self.config.model,
                "options": self.config.options,
                "objective": self.config.objective,
                "modalities": list(self.config.modalities),
                "epochs": epochs,
                "pictures": len(self.training),
                "untouched_test_studies": self.untouched,
                "sha256": digest(path),
            },
        )


def encoder_of(system: Any, objective: str) -> dict[str, torch.Tensor]:
    """Return the tensors of the trained encoder under the names its family loads."""
    if objective == "ibot":
        return dict(system.teacher["backbone"].state_dict())
    if objective == "multimae":
        return {k: v for k, v in system.model.state_dict().items() if not k.startswith("output_adapters.")}
    if hasattr(system, "body"):
        return dict(system.body.state_dict())
    # A model with a decoder of its own.
    return {k: v for k, v in system.state_dict().items() if not k.startswith(("decoder", "mask_token"))}


def full_name(name: str) -> str:
    """Return the registered model a short name means: `vit.small` is `vit.small_16`, whatever other patch sizes there are.

    Raises:
        UnknownName: No model of that name, with the closest names.
    """
    if name not in models.names() and f"{name}_16" in models.names():
        return f"{name}_16"
    models.card(name)
    return name


def _system(config: PretrainConfig, name: str, size: int) -> Any:
    """Return the objective around a fresh model."""
    options = dict(config.options)
    if config.objective == "multimae":
        model = models.create(name, **options, modalities=config.modalities, decoder=True)
        tokens = len(config.modalities) * (size // model.patch_size) ** 2
        shown = max(1, round(tokens * (1 - (config.mask_ratio or _RATIOS["multimae"]))))
        return objectives.create("masked_image.multimae", model=model, visible=shown)
    encoder = models.create(name, **options)
    if config.objective == "mae" and hasattr(encoder, "forward_loss"):
        return encoder
    body = getattr(encoder, "body", encoder)
    if config.objective == "mae":
        width, depth, heads = config.decoder
        return objectives.create("masked_image.mae", body=body, width=width, depth=depth, num_heads=heads)
    outputs, hidden, bottleneck = config.head
    return objectives.create(
        "ibot.default", body=body, embed_dim=int(body.embed_dim), outputs=outputs, hidden=hidden, bottleneck=bottleneck,
        **config.teacher.model_dump(),
    )  # fmt: skip


def prepare_pretraining(
    records: Sequence[StudyRecord], folder: Path, config: PretrainConfig, reporter: Reporter
) -> PretrainRun:
    """Build the objective and read every picture.

    Raises:
        InvalidInput: No picture of the modality, or too few.
    """
    if config.objective != "multimae" and len(config.modalities) != 1:
        raise InvalidInput(f"{config.objective} trains on one kind of pictures, got {', '.join(config.modalities)}.")
    asked = config.train
    if asked.ema > 0 or asked.sizes or asked.head_epochs or asked.schedule == "plateau":
        raise InvalidInput(
            "training without labels has no moving average, no changing sizes, no epochs of heads alone and no plateau.",
            code="config.train",
        )
    name = full_name(config.model)
    wanted = models.card(name).input or ImageInput()
    size = int(config.options.get("image_size", wanted.size))
    inputs = {m: replace(wanted, size=size) for m in config.modalities}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        system = _system(config, name, size)
    if config.train.device == "cpu" and config.train.precision == "bf16":
        plain_attention(system)
    # Other modalities of a table are no mistake.
    kept, untouched = without_tests(records)
    exist = any(r.images.get(m) for r in records for m in inputs)
    records = [r for r in kept if any(r.images.get(m) for m in inputs)]
    with reporter("reading") as show:
        data = prepare_set(records, inputs, side=config.side or size + size // 8, cache=config.cache, progress=show)
    write_json(
        folder / "rejected.json",
        [{"study_id": r.study_id, "code": r.code, "message": r.message} for r in data.rejected],
    )
    if not data.images and untouched and exist:
        raise InvalidInput(
            f"all {untouched} studies belong to patients of the part test, who are measured later.",
            code="input.empty",
            hint="Give the column split the value train where patients may be trained on.",
        )
    if not data.images:
        raise InvalidInput(f"no pictures of {', '.join(config.modalities)} were found.", code="input.empty")
    inputs = {m: i for m, i in inputs.items() if m in data.images}
    first = next(iter(inputs))
    studies = np.arange(len(data))
    if config.objective != "multimae":
        studies = np.repeat(studies, np.diff(data.starts[first]))
    named = {r.study_id for r in records if r.split == "val"}
    outside = _held_out(data, config.validation_fraction, config.train.seed, named)[studies]
    training, held_out = np.flatnonzero(~outside), np.flatnonzero(outside)
    if len(training) < config.train.batch_size or len(held_out) == 0:
        raise InvalidInput(
            f"{len(training)} pictures to train on and {len(held_out)} held out are too few for batches of {config.train.batch_size}.",
            code="train.too_few",
            hint="Give more pictures or a smaller --batch-size.",
        )
    return PretrainRun(
        folder=folder, config=config, system=system, inputs=inputs, data=data, training=training, held_out=held_out,
        studies=studies, untouched=untouched,
    )  # fmt: skip


def without_tests(records: Sequence[StudyRecord]) -> tuple[list[StudyRecord], int]:
    """Return the records of patients of whom no study is in the part "test", and the number of the others.

    Pictures without labels teach an encoder all the same: who is measured later must not be among them.

    Example:
        >>> kept, left = without_tests([StudyRecord(study_id="a", split="train"), StudyRecord(study_id="b", split="test")])
        >>> [r.study_id for r in kept], left
        (['a'], 1)
    """
    tested = {r.group for r in records if r.split == "test"}
    kept = [r for r in records if r.group not in tested]
    return kept, len(records) - len(kept)


def _held_out(data: PreparedSet, fraction: float, seed: int, named: set[str]) -> npt.NDArray[np.bool_]:
    """Return which studies are never trained on: of the patients the table calls "val", else of a share of the patients; among few
    patients, where the share takes nobody, those of one."""
    if named:
        groups = {g for s, g in zip(data.study_ids, data.groups, strict=True) if s in named}
        return np.asarray([g in groups for g in data.groups], np.bool_)
    places = np.asarray([position_of(g, seed=seed) for g in data.groups])
    return places < fraction if (places < fraction).any() else places == places.min()


def pretrain(
    records: Sequence[StudyRecord],
    out: str | Path,
    *,
    config: PretrainConfig,
    allow_changes: bool = False,
    announce: Callable[[str], Any] | None = None,
    reporter: Reporter | None = None,
) -> RunResult:
    """Train an encoder without labels and return where it is: `weights=` of a model takes the folder.

    A run folder that holds a checkpoint of the same configuration and pictures goes on from it; on a CPU the weights are then
    bit for bit those of an uninterrupted run.

    Args:
        records: Studies; labels are not looked at.
        out: Run folder.
        config: Everything else.
        allow_changes: Go on although configuration or pictures changed; recorded.
        announce: Called with the estimated time before the first step.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).

    Raises:
        InvalidInput: Too few pictures, a model that does not fit the objective, or the folder holds another run.

    Example:
        >>> pretrain(records, "run", config=PretrainConfig(objective="mae", model="vit.small"))        # doctest: +SKIP
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    reporter = reporter or (lambda title: nullcontext(lambda *a, **k: None))
    with torch.random.fork_rng(devices=[]):
        run = prepare_pretraining(records, folder, config, reporter)
        if announce is not None:
            torch.manual_seed(generators_of(config.train.seed, 0)[0].initial_seed())
            announce(str(estimate(run)))
        return fit(run, allow_changes=allow_changes, reporter=reporter)
