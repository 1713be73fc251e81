"""Segmenters trained on public masks by the loop of supervised training: patches of the field at one scale, unknown pixels left out."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tomllib
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn

from ..core.durable import write_json
from ..core.errors import InvalidInput
from ..core.interfaces import Loss
from ..core.registry import models, objectives
from ..layers.weights import digest, save_state
from .config import FitConfig, deciding
from .job import PlainJob, decayed_groups
from .loop import RunResult, fit
from .mask_data import MaskData, MaskSet, prepare_masks
from .mask_patches import cut_patches
from .run import Reporter
from .steps import generators_of
from .warm_start import left_out, refuse_trained_patients, seen_before, start_digest, start_from

_LAYOUT = torch.channels_last


class SegmentConfig(BaseModel):
    """Everything that decides the weights, besides the pictures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Name of a registered segmenter with `stages`, and its options.
    model: str = "unet.small"
    options: dict[str, Any] = {}
    #: Shipped segmenter or folder whose weights are begun from; random ones where empty.
    start: str = ""
    #: Structures, in the order of the outputs: vessel, artery, vein, disc, cup, MA, HE, EX, SE, brvo, non_perfusion.
    classes: tuple[str, ...]
    sets: tuple[MaskSet, ...]
    #: Sets that are looked at only after training (leave one set out).
    unseen: tuple[MaskSet, ...] = ()
    #: Side of the square that the field of view is scaled to, px.
    field_px: int = Field(default=768, ge=64, multiple_of=32)
    #: Side at which it is used afterwards, where that is not the one of training: small structures may be found better when enlarged
    #: (Touvron et al. 2019, arXiv:1906.06423).
    used_px: int | None = Field(default=None, ge=64, multiple_of=32)
    #: Side in a picture's own pixels below which it is not asked; half of the side in training where nothing is said.
    least_px: int | None = Field(default=None, ge=32)
    #: Side of a patch; as large as the field where the whole eye must be seen.
    patch_px: int = Field(default=256, ge=32, multiple_of=32)
    #: Patches per picture and epoch.
    patches: int = Field(default=16, ge=1)
    #: Share of patches around a pixel of a structure drawn at random.
    centred: float = Field(default=0.3, ge=0, le=1)
    #: Greatest factor of size, and greatest angle in degrees, of random geometry.
    zoom: float = Field(default=1.4, ge=1)
    turn: float = Field(default=180.0, ge=0, le=180)
    colour: float = Field(default=1.0, ge=0)
    #: Least share of the resolution that half of the patches keep; 1 keeps all.
    detail: float = Field(default=1.0, gt=0, le=1)
    objective: str = "segmentation.dice_ce"
    objective_options: dict[str, Any] = {}
    validation_fraction: float = Field(default=0.15, gt=0, lt=1)
    cache: str | None = None
    #: Compile the network: about 1.4 times as fast on one core, where a C++ compiler is installed. Changes rounding only.
    compile: bool = False
    #: Structures that are written, all when empty: the others taught the network and are better found by another one.
    kept: tuple[str, ...] = ()
    #: Written beside the weights, deciding nothing in training: thresholds (0.5 where none is given), which structure lies inside
    #: which, structures that are often wrong on other pictures and how that was seen, and the terms of the weights.
    thresholds: dict[str, float] = {}
    inside: dict[str, str] = {}
    unproven: dict[str, str] = {}
    #: Kind of pictures, such as "ffa"; `segment` refuses others. Not said where empty.
    modality: str = ""
    terms: str = ""
    train: FitConfig = FitConfig(epochs=40, batch_size=8, learning_rate=2e-3, warmup_steps=100, ema=0.99, clip=2.0)

    @property
    def scale_px(self) -> int:
        """Return the side at which the segmenter is used."""
        return self.used_px or self.field_px

    def digest(self) -> str:
        """Return a digest of everything that decides the weights."""
        value = self.model_dump(mode="json")
        value["train"] = deciding(value["train"])
        for key in (
            "cache",
            "compile",
            "unseen",
            "thresholds",
            "inside",
            "unproven",
            "terms",
            "kept",
            "modality",
            "used_px",
            "least_px",
        ):
            value.pop(key)
        if self.detail == 1:
            value.pop("detail")
        # What was begun from is known by its weights, wherever they lie.
        value.pop("start")
        if self.start:
            value["start"] = start_digest(self.start)
        # Where the folders lie decides nothing; options that came later are left out where they are not used.
        later = ("absent", "where", "most")
        value["sets"] = [
            {k: v for k, v in s.items() if k != "root" and not (k in later and not v)} for s in value["sets"]
        ]
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """A batch: images `(B, 3, P, P)` in [0, 1], target `(B, K, P, P)`, known bool `(B, K, P, P)`."""

    images: Tensor
    target: Tensor
    known: Tensor

    def to(self, device: Any) -> Patches:
        """Return the batch on a device."""
        return Patches(images=self.images.to(device), target=self.target.to(device), known=self.known.to(device))


@dataclass(slots=True)
class SegmentStep:
    """Makes patches and losses; everything random is decided by the number of the step."""

    config: SegmentConfig
    data: MaskData
    model: Any
    objective: Any
    #: The network's `stages`, compiled or as they are.
    stages: Any = None

    def batch(self, rows: npt.NDArray[np.int64], step: int, size: int | None) -> Patches:
        """Return one patch per row; a row is a picture times its number of patches."""
        generator, numbers = generators_of(self.config.train.seed, step)
        settings = self.config
        images, target, known = cut_patches(
            self.data, rows // settings.patches, size or settings.patch_px,
            generator=numbers, centred=settings.centred, zoom=settings.zoom, turn=settings.turn,
            detail=settings.detail,
        )  # fmt: skip
        return Patches(
            # Convolutions on a CPU are quicker when channels lie together.
            images=_recoloured(torch.from_numpy(images), settings.colour, generator).to(memory_format=_LAYOUT),
            target=torch.from_numpy(target),
            known=torch.from_numpy(known),
        )

    def loss(self, batch: Patches, step: int) -> Loss:
        """Return the loss of a batch."""
        return self.objective((self.stages or self.model.stages)(batch.images), batch.target, batch.known)


def _compiled(stages: Any) -> Any:
    """Return a function compiled at its first call.

    Raises:
        InvalidInput: No C++ compiler is installed.
    """
    if not any(shutil.which(name) for name in ("g++", "clang++", os.environ.get("CXX", "g++"))):
        raise InvalidInput(
            "compile = true needs a C++ compiler, and neither g++ nor clang++ is installed.",
            code="install.compiler",
            hint="Install one, or leave `compile` out of the recipe: the weights are the same up to rounding.",
        )
    return torch.compile(stages, dynamic=False)


def _recoloured(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Return pictures under other light: gain per channel, gamma, contrast, blur or sharpening, noise."""
    if strength <= 0:
        return images
    count = images.shape[0]

    def spread(shape: tuple[int, ...], width: float) -> Tensor:
        return torch.exp((torch.rand(shape, generator=generator) * 2 - 1) * width * strength)

    mean = images.mean((2, 3), keepdim=True)
    images = (images - mean) * spread((count, 1, 1, 1), 0.35) + mean
    images = images.clamp(1e-4, 1.0) ** spread((count, 1, 1, 1), 0.35) * spread((count, 3, 1, 1), 0.2)
    edge = (torch.rand((count, 1, 1, 1), generator=generator) * 1.6 - 0.9) * strength
    images = images + edge * (images - F.avg_pool2d(images, 3, 1, 1))
    noise = torch.rand((count, 1, 1, 1), generator=generator) * 0.03 * strength
    return (images + noise * torch.randn(images.shape, generator=generator)).clamp(0.0, 1.2)


@dataclass(slots=True)
class SegmentRun(PlainJob):
    """What the loop trains; only the modules change."""

    folder: Path
    config: SegmentConfig
    model: Any
    data: MaskData
    training: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]
    metric: str = "dice"
    _step: Any = field(default=None)

    def modules(self) -> nn.ModuleDict:
        """Return everything with weights."""
        return nn.ModuleDict({"model": self.model.to(memory_format=_LAYOUT)})

    def model_of(self, trained: nn.ModuleDict) -> nn.Module:
        """Return the segmenter."""
        return trained["model"]

    def step(self) -> SegmentStep:
        """Return what makes batches and losses."""
        if self._step is None:
            objective = objectives.create(self.config.objective, **self.config.objective_options)
            stages = _compiled(self.model.stages) if self.config.compile else None
            self._step = SegmentStep(self.config, self.data, self.model, objective, stages)
        return self._step

    def names(self, rows: npt.NDArray[np.int64]) -> str:
        """Return the pictures of rows."""
        return ", ".join(self.data.names[i] for i in rows // self.config.patches)

    @torch.no_grad()
    def score(self, model: Any, epoch: int, device: Any) -> dict[str, float]:
        """Return Dice per structure on the held-out pictures at the scale of training, threshold 0.5, pooled over pixels."""
        model.eval()
        sums = np.zeros((len(self.config.classes), 2))
        for row in self.held_out:
            pixels, target, known = self.data[row]
            image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float().to(device) / 255
            found = (model.segment(image)[0] > 0).cpu().numpy() & known
            truth = (target >= 0.5) & known
            sums += np.stack([2 * (found & truth).sum((1, 2)), found.sum((1, 2)) + truth.sum((1, 2))], 1)
        each = {f"dice_{c}": float(a / b) for c, (a, b) in zip(self.config.classes, sums, strict=True) if b > 0}
        return {"dice": float(np.mean(list(each.values()))), **each} if each else {}

    def groups(self) -> list[dict[str, Any]]:
        """Return parameter groups: weight decay on kernels only."""
        return decayed_groups(self.model.parameters(), self.settings.weight_decay)

    def finish(self, model: Any, epochs: int) -> None:
        """Write weights, and what is needed to use them."""
        path = self.folder / "segmenter.safetensors"
        classes = self.config.kept or self.config.classes
        model = model.only(classes) if self.config.kept else model
        save_state(path, model.state_dict(), metadata={"model": self.config.model})
        write_json(
            self.folder / "segmenter.json",
            {
                "model": self.config.model,
                "options": {**self.config.options, "classes": list(classes)},
                "classes": list(classes),
                "field_px": self.config.scale_px,
                **({"trained_px": self.config.field_px} if self.config.used_px else {}),
                **({"least_px": self.config.least_px} if self.config.least_px else {}),
                "thresholds": {c: self.config.thresholds.get(c, 0.5) for c in classes},
                "inside": self.config.inside,
                **({"unproven": self.config.unproven} if self.config.unproven else {}),
                **({"modality": self.config.modality} if self.config.modality else {}),
                "terms": self.config.terms,
                "training_data": sorted({s.name for s in self.config.sets} | seen_before(self.config.start)),
                "held_out": left_out(self.config.start, self.data.marks(self.held_out)),
                **({"start": start_digest(self.config.start)} if self.config.start else {}),
                "epochs": epochs,
                "sha256": digest(path),
            },
        )


def prepare_segmentation(out: str | Path, config: SegmentConfig, reporter: Reporter) -> SegmentRun:
    """Build the segmenter and read every picture with its masks.

    Raises:
        InvalidInput: No picture has a mask of the structures, too few remain to train on, or what is begun from does not fit or saw patients that are held out.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        model = models.create(config.model, **config.options, classes=config.classes)
    if config.start:
        start_from(config.start, model, model_name=config.model, options=config.options, classes=config.classes)
    if not hasattr(model, "stages"):
        raise InvalidInput(f"{config.model} is not trained on masks alone.", hint="Choose one of the family unet.")
    if config.kept:
        # A name with a slip is told before hours of training, not after.
        model.only(config.kept)
    data, training, held_out = read_masks(folder, config, reporter)
    refuse_trained_patients(config.start, data.marks(held_out))
    return SegmentRun(folder=folder, config=config, model=model, data=data, training=training, held_out=held_out)


def read_masks(
    folder: Path, config: SegmentConfig, reporter: Reporter
) -> tuple[MaskData, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return pictures with masks, rows of patches to train on and pictures that are held out; what is rejected is written down.

    Raises:
        InvalidInput: Nothing has a mask of the structures, or too few pictures remain.
    """
    data = prepare_masks(config.sets, config.classes, field_px=config.field_px, cache=config.cache, reporter=reporter)
    write_json(folder / "rejected.json", [{"study_id": n, "code": c, "message": m} for n, c, m in data.rejected])
    outside = data.held_out(config.validation_fraction, seed=config.train.seed)
    pictures = np.flatnonzero(~outside)
    if not len(pictures) or not outside.any():
        raise InvalidInput(f"{len(pictures)} pictures to train on are too few.", code="train.too_few")
    training = (pictures[:, None] * config.patches + np.arange(config.patches)).ravel()
    return data, training, np.flatnonzero(outside)


def train_segmenter(
    out: str | Path,
    *,
    config: SegmentConfig,
    allow_changes: bool = False,
    reporter: Reporter | None = None,
) -> RunResult:
    """Train a segmenter and return where it is; a run that was killed goes on exactly.

    Args:
        out: Run folder; `segmenter.safetensors` and `segmenter.json` in it are what `segment` reads.
        config: Everything else.
        allow_changes: Go on although configuration or pictures changed; recorded.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).

    Raises:
        InvalidInput: No masks, too few pictures, or the folder holds another run.
    """
    reporter = reporter or (lambda title: nullcontext(lambda *a, **k: None))
    with torch.random.fork_rng(devices=[]):
        run = prepare_segmentation(out, config, reporter)
        return fit(run, allow_changes=allow_changes, reporter=reporter)


def read_recipe(
    path: str | Path, data: str | Path | None = None, *, kind: type[SegmentConfig] | None = None
) -> SegmentConfig:
    """Return the configuration in a TOML file.

    Args:
        path: Of the file.
        data: Folder that the roots of the sets are relative to; the folder of the file when None.
        kind: Class of the configuration.

    Raises:
        InvalidInput: `config.not_found`, `config.invalid` with the key and what is wrong.
    """
    file = Path(path)
    if not file.is_file():
        raise InvalidInput(f"no recipe {file.name!r}.", code="config.not_found", hint="Give a TOML file.")
    base = Path(data) if data is not None else file.parent
    try:
        value = tomllib.loads(file.read_text("utf-8"))
        for key in ("sets", "unseen"):
            for entry in value.get(key, []):
                entry["root"] = str(base / entry.get("root", entry.get("name", "")))
        if "cache" in value:
            value["cache"] = str(file.parent / value["cache"])
        if value.get("start") and (file.parent / value["start"] / "segmenter.json").is_file():
            value["start"] = str(file.parent / value["start"])
        return (kind or SegmentConfig).model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise InvalidInput(f"{file.name}: {where}: {first['msg']}.", code="config.invalid") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise InvalidInput(f"{file.name} is no recipe: {error}.", code="config.invalid") from error
