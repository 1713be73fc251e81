"""A network of layers and fluid trained on drawn B-scans, whose truth is known exactly; it has seen no patient."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator

from ..biomarkers.oct_layers import SURFACES
from ..core.durable import write_json
from ..core.errors import InvalidInput
from ..core.registry import models
from ..core.vocabulary import Laterality
from ..datasets._drawn.bscan import BscanTruth, draw_bscan_with_truth
from ..layering import find_layers
from ..layers.weights import digest
from ..segmenting import Segmenter, load_segmenter
from .config import FitConfig
from .loop import RunResult, fit
from .mask_data import MaskData, MaskSet
from .run import Reporter
from .segmentation import Patches, SegmentConfig, SegmentRun, SegmentStep, _recoloured
from .steps import generators_of

CLASSES = (*SURFACES, "fluid")


class LayersConfig(SegmentConfig):
    """As of a segmenter; the pictures are drawn, and a patch is the whole scan."""

    #: Number of drawn eyes that are trained on, one B-scan each, and where their random numbers begin.
    drawn_scans: int = Field(default=300, ge=4)
    drawn_seed: int = 0
    classes: tuple[str, ...] = CLASSES
    sets: tuple[MaskSet, ...] = ()
    options: dict[str, Any] = {"width": 8, "levels": 5}
    field_px: int = Field(default=192, ge=64, multiple_of=32)
    patches: Literal[1] = 1
    objective: str = "segmentation.dice_ce"
    train: FitConfig = FitConfig(epochs=20, batch_size=8, learning_rate=3e-3, warmup_steps=50, ema=0.98, clip=2.0)

    @model_validator(mode="after")
    def _only_drawn(self) -> LayersConfig:
        if self.sets or self.unseen or self.classes != CLASSES:
            raise ValueError(f"drawn scans have no sets, and their classes are {', '.join(CLASSES)}")
        return self


def draw_training_scan(
    number: int, *, size: int, seed: int = 0, offset: float | None = None
) -> tuple[npt.NDArray[np.uint8], BscanTruth]:
    """Return the B-scan `(S, S, 1)` of a drawn eye and its truth; diseases and the place of the scan are drawn with it.

    Args:
        number: Of the eye.
        size: Side, px.
        seed: Another one gives other eyes.
        offset: Distance from the fovea in [-1, 1]; None draws it.
    """
    generator = np.random.default_rng(np.random.SeedSequence([seed, number]))
    fluid, oedema, drusen = generator.random(3) < (0.4, 0.4, 0.3)
    laterality = Laterality.RIGHT if generator.random() < 0.5 else Laterality.LEFT
    drawn = float(generator.uniform(-1, 1))
    return draw_bscan_with_truth(
        generator, size=size, laterality=laterality, fluid=bool(fluid), oedema=bool(oedema), drusen=bool(drusen),
        offset=drawn if offset is None else offset,
    )  # fmt: skip


def masks_of(truth: BscanTruth, height: int) -> npt.NDArray[np.uint8]:
    """Return `(K, H, W)` in 0 to 254: the share of every pixel that lies below each surface, and fluid.

    The sum of the shares over a column gives the row of the surface exactly.

    Example:
        >>> _, truth = draw_training_scan(0, size=64)
        >>> row = 64 - masks_of(truth, 64)[0, :, 5].sum() / 254 - 0.5
        >>> bool(abs(row - truth.surfaces["ilm"][5]) < 0.01)
        True
    """
    place = np.arange(height)[:, None] + 0.5
    below = [np.clip(place - truth.surfaces[n][None], 0, 1) for n in SURFACES]
    return np.rint(np.stack([*below, (truth.subretinal | truth.cysts).astype(np.float64)]) * 254).astype(np.uint8)


def drawn_scans(config: LayersConfig, reporter: Reporter) -> MaskData:
    """Return drawn B-scans with their masks."""
    side = config.field_px
    pixels = np.empty((config.drawn_scans, side, side, 3), np.uint8)
    masks = np.empty((config.drawn_scans, len(CLASSES), side, side), np.uint8)
    with reporter("drawing B-scans") as show:
        for number in range(config.drawn_scans):
            picture, truth = draw_training_scan(number, size=side, seed=config.drawn_seed)
            pixels[number], masks[number] = np.repeat(picture, 3, 2), masks_of(truth, side)
            show(number + 1, config.drawn_scans, {})
    names = tuple(f"drawn/{n}" for n in range(config.drawn_scans))
    return MaskData(
        pixels=pixels,
        masks=masks,
        names=names,
        groups=names,
        rejected=(),
        digest=hashlib.sha256(pixels.tobytes() + masks.tobytes()).hexdigest(),
    )


@dataclass(slots=True)
class LayersStep(SegmentStep):
    """Whole scans, mirrored left to right by chance, in other brightness; turned over they would be no retina."""

    def batch(self, rows: npt.NDArray[np.int64], step: int, size: int | None) -> Patches:
        """Return the scans of rows."""
        generator, numbers = generators_of(self.config.train.seed, step)
        mirrored = numbers.random(len(rows)) < 0.5
        scans = [self.data[row] for row in rows]
        images, target, known = (
            torch.from_numpy(np.stack([v[..., ::-1] if m else v for v, m in zip(values, mirrored, strict=True)]).copy())
            for values in (
                [s[0].transpose(2, 0, 1).astype(np.float32) / 255 for s in scans],
                [s[1] for s in scans],
                [s[2] for s in scans],
            )
        )
        coloured = _recoloured(images, self.config.colour, generator).mean(1, keepdim=True).repeat(1, 3, 1, 1)
        return Patches(images=coloured.to(memory_format=torch.channels_last), target=target, known=known)


@dataclass(slots=True)
class LayersRun(SegmentRun):
    """What the loop trains."""

    def step(self) -> LayersStep:
        """Return what makes batches and losses."""
        if self._step is None:
            plain = SegmentRun.step(self)
            self._step = LayersStep(plain.config, plain.data, plain.model, plain.objective)
        return self._step

    def finish(self, model: Any, epochs: int) -> None:
        """Write weights, and what is needed to use them."""
        SegmentRun.finish(self, model, epochs)
        path = self.folder / "segmenter.json"
        facts = json.loads(path.read_text("utf-8"))
        facts |= {
            "surfaces": list(SURFACES),
            "training_data": ["drawn B-scans"],
            "sha256": digest(self.folder / "segmenter.safetensors"),
        }
        write_json(path, facts)
        found = surface_offsets(load_segmenter(self.folder), self.data, self.training[:64])
        write_json(path, {**facts, "offsets": found})


def surface_offsets(segmenter: Segmenter, data: MaskData, rows: npt.NDArray[np.int64]) -> dict[str, float]:
    """Return by how much each surface lies too low on scans that were trained on, in share of the height; it is taken away in use.

    Which pixel of a blurred edge is the first one below depends on the brightness to both sides, the same in every scan.

    Args:
        segmenter: Without offsets yet, or with: they are added to.
        data: Drawn scans.
        rows: Those that are looked at.
    """
    errors: dict[str, list[float]] = {n: [] for n in SURFACES}
    for row in rows:
        pixels, target, _ = data[row]
        found = find_layers(segmenter, np.ascontiguousarray(pixels[..., :1]))
        for k, name in enumerate(SURFACES):
            wrong = found.surfaces[name][0] - (target.shape[1] - target[k].sum(0) - 0.5)
            if np.isfinite(wrong).any():
                errors[name].append(float(np.nanmedian(wrong)) / target.shape[1])
    known = segmenter.facts.get("offsets", {})
    return {n: round(known.get(n, 0.0) + (float(np.median(v)) if v else 0.0), 6) for n, v in errors.items()}


def train_layers(
    out: str | Path, *, config: LayersConfig, allow_changes: bool = False, reporter: Reporter
) -> RunResult:
    """Train a network of layers on drawn B-scans and return where it is; a run that was killed goes on exactly.

    Args:
        out: Run folder; `segmenter.safetensors` and `segmenter.json` in it are what `find_layers` needs.
        config: Everything else.
        allow_changes: Go on although the configuration changed; recorded.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).

    Raises:
        InvalidInput: The folder holds another run, or the model is not trained on masks.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        model = models.create(config.model, **config.options, classes=config.classes)
        if not hasattr(model, "stages"):
            raise InvalidInput(f"{config.model} is not trained on masks alone.", hint="Choose one of the family unet.")
        data = drawn_scans(config, reporter)
        outside = data.held_out(config.validation_fraction, seed=config.train.seed)
        run = LayersRun(
            folder=folder, config=config, model=model, data=data,
            training=np.flatnonzero(~outside), held_out=np.flatnonzero(outside),
        )  # fmt: skip
        return fit(run, allow_changes=allow_changes, reporter=reporter)
