"""Promptable segmenters tuned on few masks of one structure, by the loop of supervised training: low-rank adapters, boxes around the truth.

Source: Hu et al. 2022, arXiv:2106.09685 (adapters); Ma et al. 2024, doi:10.1038/s41467-024-44824-z (each side of the box moved outwards by 0 to 19 px).
"""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ..core.durable import write_json
from ..core.errors import InvalidInput
from ..core.interfaces import Loss, Prompts
from ..core.registry import models, objectives
from ..layers.lora import add_lora, merge_lora
from ..layers.prompting import boxes_from_truth
from ..layers.weights import digest, save_state
from .config import FitConfig
from .loop import RunResult, fit
from .run import Reporter
from .segmentation import Patches, SegmentConfig, SegmentRun, SegmentStep, read_masks
from .steps import generators_of

WEIGHTS, FACTS = "prompted.safetensors", "prompted.json"


class PromptedConfig(SegmentConfig):
    """As of a segmenter, with one structure; a patch as large as the field shows the whole eye."""

    #: Name of a registered segmenter with `answer`, and its options; `weights` among them starts from published ones.
    model: str = "sam.vit_b"
    patch_px: int = Field(default=768, ge=32, multiple_of=32)
    patches: int = Field(default=1, ge=1)
    objective: str = "promptable.sam"
    #: Rank of the adapters; 0 trains what the model itself leaves free (MedSegX: experts, context and decoder).
    rank: int = Field(default=8, ge=0)
    #: Each side of a box is moved outwards by a whole number of pixels below it.
    jitter_px: int = Field(default=20, ge=0)
    train: FitConfig = FitConfig(
        epochs=10, batch_size=2, learning_rate=1e-4, weight_decay=0.01, warmup_steps=10, ema=0.0
    )


def prompts_of_truth(
    target: Tensor, known: Tensor, *, jitter_px: int = 0, generator: torch.Generator | None = None
) -> tuple[Prompts, Tensor]:
    """Return boxes around known masks and whether each picture has one; without any the box is the whole picture.

    Args:
        target: `(B, 1, H, W)` in [0, 1].
        known: bool of the same shape; what is unknown is not inside.
        jitter_px: See `layers.prompting.boxes_from_truth`.
        generator: Draws the jitter.
    """
    inside = (target > 0.5) & known
    there = inside.flatten(1).any(1)
    whole = torch.where(there[:, None, None, None], inside, torch.ones_like(inside))
    return Prompts(boxes=boxes_from_truth(whole.float(), jitter_px=jitter_px, generator=generator)), there


@dataclass(slots=True)
class PromptedStep(SegmentStep):
    """Prompts every patch with a box around its structure; patches without it count nothing, for there is nothing to prompt."""

    jitter_px: int = 0

    def loss(self, batch: Patches, step: int) -> Loss:
        """Return the loss of a batch."""
        generator, _ = generators_of(self.config.train.seed, step)
        prompts, there = prompts_of_truth(batch.target, batch.known, jitter_px=self.jitter_px, generator=generator)
        found = self.model.answer(batch.images, prompts)
        known = batch.known & there[:, None, None, None]
        return self.objective([found.logits], batch.target, known, scores=found.scores)


@dataclass(slots=True)
class PromptedRun(SegmentRun):
    """What the loop trains."""

    metric: str = "dice_box_of_truth"

    def step(self) -> PromptedStep:
        """Return what makes batches and losses."""
        if self._step is None:
            settings: Any = self.config
            objective = objectives.create(settings.objective, **settings.objective_options)
            self._step = PromptedStep(settings, self.data, self.model, objective, jitter_px=settings.jitter_px)
        return self._step

    @torch.no_grad()
    def score(self, model: Any, epoch: int, device: Any) -> dict[str, float]:
        """Return Dice on the held-out pictures, of the mask the model itself expects most of, prompted with the tight box of the truth.

        The box gives much away: compare this only with scores of the same kind, and see `prompting.refine_masks` for boxes without it.
        """
        model.eval()
        both = sizes = 0
        for row in self.held_out:
            pixels, target, known = self.data[row]
            image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float().to(device) / 255
            truth, seen = torch.from_numpy(target)[None], torch.from_numpy(known)[None]
            prompts, there = prompts_of_truth(truth, seen)
            if not bool(there.all()):
                continue
            found = model.answer(image, prompts)
            inside = (found.logits[0, int(found.scores[0].argmax())] > 0).cpu().numpy() & known[0]
            own = (target[0] > 0.5) & known[0]
            both, sizes = both + 2 * int((inside & own).sum()), sizes + int(inside.sum()) + int(own.sum())
        return {self.metric: both / sizes} if sizes else {}

    def finish(self, model: Any, epochs: int) -> None:
        """Write weights that `models.create(model, weights=...)` reads, adapters added in, and what they were trained on."""
        settings: Any = self.config
        whole = copy.deepcopy(model)
        if settings.rank:
            whole = merge_lora(whole)
        inner = getattr(whole, "body", whole)
        path = self.folder / WEIGHTS
        # Segment Anything keeps one table under two names; a file holds each on its own.
        save_state(path, {k: v.clone() for k, v in inner.state_dict().items()}, metadata={"model": settings.model})
        write_json(
            self.folder / FACTS,
            {
                "model": settings.model,
                "options": {k: v for k, v in settings.options.items() if k not in ("weights", "base")},
                "structure": settings.classes[0],
                "rank": settings.rank,
                "training_data": sorted({s.name for s in settings.sets}),
                "epochs": epochs,
                "sha256": digest(path),
            },
        )


def prepare_prompted(out: str | Path, config: PromptedConfig, reporter: Reporter) -> PromptedRun:
    """Build the segmenter with its adapters and read every picture with its mask.

    Raises:
        InvalidInput: More than one structure, a model that takes no prompts, or too few pictures.
    """
    if len(config.classes) != 1:
        raise InvalidInput(f"one structure is prompted for at a time, got {config.classes}.", code="config.invalid")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.train.seed)
        model = models.create(config.model, **config.options)
        if not callable(getattr(model, "answer", None)):
            raise InvalidInput(f"{config.model} takes no prompts.", hint="Choose one of sam, medsam, medsegx.")
        if config.rank:
            add_lora(model, rank=config.rank)
    data, training, held_out = read_masks(folder, config, reporter)
    return PromptedRun(folder=folder, config=config, model=model, data=data, training=training, held_out=held_out)


def train_prompted(
    out: str | Path,
    *,
    config: PromptedConfig,
    allow_changes: bool = False,
    reporter: Reporter | None = None,
) -> RunResult:
    """Tune a promptable segmenter and return where it is; a run that was killed goes on exactly.

    Args:
        out: Run folder; `prompted.safetensors` in it is what `models.create(name, weights=...)` reads.
        config: Everything else.
        allow_changes: Go on although configuration or pictures changed; recorded.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).

    Raises:
        InvalidInput: No masks, too few pictures, or the folder holds another run.
    """
    reporter = reporter or (lambda title: nullcontext(lambda *a, **k: None))
    with torch.random.fork_rng(devices=[]):
        run = prepare_prompted(out, config, reporter)
        return fit(run, allow_changes=allow_changes, reporter=reporter)
