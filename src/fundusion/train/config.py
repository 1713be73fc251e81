"""Configuration of a training run: typed, read from TOML, unknown keys are errors with a suggestion."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tomllib
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..core.errors import InvalidInput, ReadError
from ..core.tasks import STANDARD_TASKS, Task

Model = TypeVar("Model", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SetConfig(_Section):
    """A public set as downloaded."""

    #: Name of a registered data set: odir, idrid, aptos.
    name: str
    #: Folder; a relative one is below FUNDUSION_DATA (else ../shared/data).
    root: str


class DataConfig(_Section):
    """Where studies come from and how patients are divided."""

    #: Table of studies; relative to the configuration file.
    manifest: str | None = None
    #: Public sets, in addition to or instead of the manifest.
    sets: tuple[SetConfig, ...] = ()
    #: TOML with [columns] for a table that looks different.
    columns: str | None = None
    #: Folder that image paths of the table are relative to.
    root: str | None = None
    #: Share of patients that is held out for early stopping, calibration and thresholds.
    validation_fraction: float = Field(default=0.2, gt=0, lt=1)
    #: Seed of the division.
    seed: int = 0
    #: Go on although a table puts patients on both sides; recorded in the card of the model.
    allow_patient_overlap: bool = False
    #: Side of the pictures kept for training, px; crops and turns are made from these.
    side: int = Field(default=256, ge=32)
    #: Folder where prepared pictures are kept between runs; none keeps them in memory.
    cache: str | None = None
    #: Cap of that folder in gigabytes; pictures that were not used for longest are given up.
    cache_gb: float | None = Field(default=None, gt=0)
    #: Largest share of studies that may be rejected in reading before training is refused.
    max_rejected: float = Field(default=0.05, ge=0, le=1)


class NetworkConfig(_Section):
    """What the network is made of."""

    #: Modality to a name, or to a table with `name` and the options of the model.
    encoders: dict[str, str | dict[str, Any]]
    #: Name, or a table with `name` and options.
    fusion: str | dict[str, Any] = "gated"
    embed_dim: int = Field(default=256, ge=4)
    #: Greatest probability that a present modality is hidden in a step; each study draws its own below it.
    modality_dropout: float = Field(default=0.75, ge=0, lt=1)
    head_dropout: float = Field(default=0.0, ge=0, lt=1)
    #: full trains everything, lora adapters of the image and text encoders, frozen neither.
    encoder: Literal["full", "lora", "frozen"] = "full"
    lora_rank: int = Field(default=8, ge=1)
    #: Folder of a trained network whose encoders are taken over.
    init: str | None = None


class TaskConfig(_Section):
    """One question. A standard name (dr_grade, disease, gradable) needs no more than its table."""

    kind: Literal["binary", "multiclass", "multilabel", "ordinal", "regression"] | None = None
    #: Labels; "auto" takes those of at least `min_count` training studies (multilabel).
    labels: tuple[str, ...] | Literal["auto"] | None = None
    min_count: int = 8
    method: Literal["corn", "coral"] = "corn"
    unit: str | None = None
    center: float = 0.0
    scale: float = Field(default=1.0, gt=0)
    #: Weight of the loss.
    weight: float = Field(default=1.0, ge=0)
    #: Class weights from the training part.
    weighting: Literal["none", "sqrt", "balanced"] = "none"
    #: "" is the usual loss; focal, logit_adjusted (multiclass), asymmetric (multilabel).
    loss: Literal["", "focal", "logit_adjusted", "asymmetric"] = ""
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    #: An auxiliary target teaches one image encoder and is not part of the model.
    auxiliary: bool = False
    #: Where an auxiliary target looks.
    modality: str = "cfp"
    #: Column of the table an auxiliary target is read from, instead of a label.
    column: str | None = None

    def task(self, name: str, labels: tuple[str, ...] = ()) -> Task:
        """Return the task; `labels` are those found for "auto"."""
        if self.kind is None:
            if name not in STANDARD_TASKS:
                raise InvalidInput(
                    f"task {name!r} needs a kind.",
                    code="config.task",
                    hint=f"Standard tasks are {sorted(STANDARD_TASKS)}.",
                )
            return STANDARD_TASKS[name]
        given = labels if self.labels == "auto" else (self.labels or ())
        if self.kind == "binary" and not given:
            given = ("no", "yes")
        return Task(
            kind=self.kind,
            labels=tuple(given),
            method=self.method,
            unit=self.unit,
            center=self.center,
            scale=self.scale,
        )


class TableConfig(_Section):
    """Columns of the patient table."""

    #: Names, or "auto" for all columns.
    columns: tuple[str, ...] | Literal["auto"] = "auto"
    #: Probability that a known cell is hidden in a step, so that a missing one is familiar.
    cell_dropout: float = Field(default=0.1, ge=0, lt=1)


class AugmentConfig(_Section):
    """Random changes of pictures in training."""

    #: 0 none, 1 for training from scratch.
    strength: float = Field(default=1.0, ge=0, le=3)
    #: Mirror half of the pictures.
    flip: bool = True
    #: Shape of the beta distribution of mixup; 0 is off. A mixed step shows images only.
    mixup: float = Field(default=0.0, ge=0)
    #: Share of steps that mix.
    mixup_rate: float = Field(default=0.8, ge=0, le=1)
    #: Share of pictures spoilt by a drawn degradation; they teach `gradable` and nothing else.
    degrade: float = Field(default=0.0, ge=0, lt=1)


class FitConfig(_Section):
    """The optimisation."""

    epochs: int = Field(default=20, ge=1)
    #: Pairs of side and epochs; replaces `epochs`. Small pictures first are quicker.
    sizes: tuple[tuple[int, int], ...] = ()
    batch_size: int = Field(default=32, ge=2)
    accumulate: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    #: Factor of the learning rate of encoders.
    encoder_rate: float = Field(default=1.0, gt=0)
    #: Factor of the learning rate per layer of an image encoder, from its end to its input; 0.65 in RETFound.
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    weight_decay: float = Field(default=0.05, ge=0)
    #: Weight decay of the last step, reached along a cosine; none keeps it constant. 0.4 in iBOT.
    weight_decay_end: float | None = Field(default=None, gt=0)
    warmup_steps: int = Field(default=300, ge=0)
    schedule: Literal["cosine", "constant", "plateau"] = "cosine"
    #: Of the schedule plateau: factor of the learning rate, and epochs without a better validation metric before it is applied.
    plateau: tuple[float, int] = (0.8, 3)
    #: First epochs in which the bodies of image encoders stay still and the rest learns (the first stage of CABNet).
    head_epochs: int = Field(default=0, ge=0)
    #: Learning rate of those epochs; none takes `learning_rate`.
    head_learning_rate: float | None = Field(default=None, gt=0)
    #: Largest norm of the gradient.
    clip: float = Field(default=5.0, gt=0)
    #: Decay of the moving average of the weights; 0 is off. The average is the model.
    ema: float = Field(default=0.997, ge=0, lt=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    #: Weight of the loss on the fused answer.
    fused: float = Field(default=1.0, ge=0)
    #: Weight of the loss on each modality's own answer (decision-level fusion).
    unimodal: float = Field(default=1.0, ge=0)
    seed: int = 0
    #: Epochs without a better validation metric after which training ends; 0 never.
    patience: int = Field(default=0, ge=0)
    evaluate_every: int = Field(default=1, ge=1)
    #: Steps between checkpoints; one is written at the end of each epoch too.
    checkpoint_every: int = Field(default=200, ge=1)
    #: Steps in a row with a loss that is not finite after which training ends.
    max_bad_steps: int = Field(default=5, ge=1)
    device: str = "cpu"
    #: Also log to these: mlflow, tensorboard.
    loggers: tuple[Literal["mlflow", "tensorboard"], ...] = ()

    @model_validator(mode="after")
    def _something_to_change(self) -> FitConfig:
        if self.weight_decay_end is not None and self.weight_decay == 0:
            raise ValueError("weight_decay_end needs a weight_decay above zero to start from")
        if not (0 < self.plateau[0] < 1 and self.plateau[1] >= 1):
            raise ValueError("plateau is a factor between 0 and 1, and epochs")
        return self

    @property
    def plan(self) -> list[int | None]:
        """Side of the pictures per epoch; None is the encoder's own."""
        if self.sizes:
            return [size for size, count in self.sizes for _ in range(count)]
        return [None] * self.epochs


def deciding(train: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an optimisation that decide the weights.

    A setting that came later and is not used is left out, so that older run folders go on.

    Example:
        >>> deciding({"seed": 1, "device": "cpu", "weight_decay_end": None})
        {'seed': 1}
    """
    unused = ["device", "loggers", "checkpoint_every"]
    unused += [k for k in ("weight_decay_end", "head_learning_rate", "head_epochs") if not train.get(k)]
    unused += ["plateau"] if train.get("schedule") != "plateau" else []
    return {k: v for k, v in train.items() if k not in unused}


class ModelConfig(_Section):
    """What is written beside the weights."""

    title: str = "Trained network"
    version: str = "1"
    #: Image modalities without which no answer is given.
    required: tuple[str, ...] = ()
    #: Sets the weights saw, with their terms.
    training_data: tuple[str, ...] = ()
    terms: str = "research and education; not a medical device"
    #: Rule of the thresholds.
    threshold_rule: Literal["youden", "f1", "sensitivity", "specificity"] = "youden"
    threshold_value: float = 0.9
    #: Type the weights are stored in.
    store: Literal["float32", "float16"] = "float32"


class TrainConfig(_Section):
    """A whole run."""

    data: DataConfig = DataConfig()
    network: NetworkConfig
    tasks: dict[str, TaskConfig]
    table: TableConfig = TableConfig()
    augment: AugmentConfig = AugmentConfig()
    train: FitConfig = FitConfig()
    model: ModelConfig = ModelConfig()

    @model_validator(mode="after")
    def _some_head(self) -> TrainConfig:
        if not any(not t.auxiliary for t in self.tasks.values()):
            raise ValueError("a run needs at least one task that is not auxiliary")
        return self

    def digest(self) -> str:
        """Return a digest of everything that decides the weights."""
        value = self.model_dump(mode="json")
        value["train"] = deciding(value["train"])
        for key in ("cache", "cache_gb"):
            value["data"].pop(key)
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def data_folder() -> Path:
    """Return FUNDUSION_DATA, else ../shared/data."""
    return Path(os.environ.get("FUNDUSION_DATA") or "../shared/data")


def load_config(path: str | Path, *, encoder: str | None = None, device: str | None = None) -> TrainConfig:
    """Return the configuration in a TOML file.

    Args:
        path: The file; relative paths in it are relative to it.
        encoder: Overrides `network.encoder`.
        device: Overrides `train.device`.

    Raises:
        ReadError: No such file.
        InvalidInput: Not TOML, or a key or value that is not known, with the closest known one.
    """
    value = load_toml(path)
    if encoder is not None:
        value.setdefault("network", {})["encoder"] = encoder
    if device is not None:
        value.setdefault("train", {})["device"] = device
    return parse_config(value, name=Path(path).name)


def load_toml(path: str | Path) -> dict[str, Any]:
    """Return the content of a TOML file; the paths of its data section are made relative to the file.

    Raises:
        ReadError: No such file.
        InvalidInput: Not TOML.
    """
    source = Path(path)
    try:
        value = tomllib.loads(source.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ReadError(
            f"no configuration {source.name!r}.", code="config.missing", hint="Recipes are in recipes/."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{source.name!r} is no TOML: {error}.", code="config.syntax") from error
    for key in ("manifest", "columns", "root", "cache"):
        given = value.get("data", {}).get(key)
        if given:
            value["data"][key] = str((source.parent / given).absolute() if not Path(given).is_absolute() else given)
    return value


def parse_config(value: dict[str, Any], *, name: str = "configuration") -> TrainConfig:
    """Return the configuration of a mapping; errors name file, key and the closest known key."""
    return parse_as(TrainConfig, value, name=name)


def parse_as(kind: type[Model], value: dict[str, Any], *, name: str = "configuration") -> Model:
    """Return a mapping as a configuration of some kind; errors name file, key and the closest known key."""
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        hint = ""
        if first["type"] == "extra_forbidden":
            known = _known_keys(kind, first["loc"])
            close = difflib.get_close_matches(str(first["loc"][-1]), known, n=1, cutoff=0.5)
            hint = (f"Did you mean {close[0]!r}? " if close else "") + f"Known here: {', '.join(known)}."
            words = "is not known"
        else:
            words = first["msg"]
        raise InvalidInput(f"{name}: {where}: {words}.", code="config.invalid", hint=hint) from error


def _known_keys(kind: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    section: Any = kind
    for part in location[:-1]:
        fields = getattr(section, "model_fields", {})
        if part in fields:
            annotation = fields[part].annotation
            section = TaskConfig if part == "tasks" else annotation
    return sorted(getattr(section, "model_fields", {}))


def to_toml(config: TrainConfig) -> str:
    """Return the complete configuration with its defaults as TOML."""
    lines: list[str] = []

    def write(table: dict[str, Any], path: str) -> None:
        plain = {k: v for k, v in table.items() if not isinstance(v, dict) and v is not None}
        if path and (plain or not table):
            lines.append(f"\n[{path}]")
        lines.extend(f"{_key(k)} = {_value(v)}" for k, v in plain.items())
        for key, inner in table.items():
            if isinstance(inner, dict):
                write(inner, f"{path}.{_key(key)}" if path else _key(key))

    write(config.model_dump(mode="json"), "")
    return "\n".join(lines).strip() + "\n"


def _key(text: str) -> str:
    return text if text.replace("_", "").replace("-", "").isalnum() and text.isascii() else json.dumps(text)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(v) for v in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, float):
        # TOML wants digits on both sides of the point.
        return repr(value) if "." in repr(value) or "e" in repr(value) else f"{value}.0"
    return json.dumps(value, ensure_ascii=False)
