"""Segment Anything of transformers as a segmenter of whole pictures: preparation, prompts, masks in the picture's own pixels.

Source: Kirillov et al. 2023, arXiv:2304.02643 (long side scaled, colours standardised, padded at right and bottom); Ma et al. 2024,
doi:10.1038/s41467-024-44824-z (MedSAM: both sides scaled whatever the aspect, every picture stretched to [0, 1] by its own darkest and
brightest value, probabilities scaled back instead of logits).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.errors import InvalidInput, require
from ..core.interfaces import Prompts
from ..core.registry import Card
from .checkpoints import Rules, load_weights
from .prompting import checked_images, checked_prompts, scaled_mask, scaled_prompts
from .sam_names import to_transformers
from .weights import load_state

Preparation = Literal["sam", "medsam"]
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_FILE = "model.safetensors"


def _read(path: Path) -> dict[str, Tensor]:
    return to_transformers(load_state(path))


_RULES = Rules(hub_file=_FILE, read=_read)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Pictures as the network reads them.

    Args:
        pixels: `(B, 3, S, S)`.
        factors: What places in the picture are multiplied by, x and y.
        covered: Rows and columns of the square that hold the picture.
    """

    pixels: Tensor
    factors: tuple[float, float]
    covered: tuple[int, int]


def prepare_sam(images: Tensor, side: int) -> Prepared:
    """Return pictures with the long side scaled, colours standardised and zeros at right and bottom."""
    height, width = images.shape[2:]
    factor = side / max(height, width)
    rows, columns = int(height * factor + 0.5), int(width * factor + 0.5)
    x = _scaled(images, (rows, columns), "bilinear")
    x = (x - x.new_tensor(_MEAN).reshape(3, 1, 1)) / x.new_tensor(_STD).reshape(3, 1, 1)
    pixels = F.pad(x, (0, side - columns, 0, side - rows))
    return Prepared(pixels=pixels, factors=(columns / width, rows / height), covered=(rows, columns))


def prepare_medsam(images: Tensor, side: int) -> Prepared:
    """Return pictures scaled to a square whatever their aspect, each stretched to [0, 1]; a picture of one value becomes 0."""
    height, width = images.shape[2:]
    x = _scaled(images, (side, side), "bicubic")
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
    # Scaling leaves differences of some 1e-8 in a picture of one value; they are no contrast.
    pixels = torch.where(high - low > 1e-6, (x - low) / (high - low).clamp_min(1e-8), torch.zeros_like(x))
    return Prepared(pixels=pixels, factors=(side / width, side / height), covered=(side, side))


def _scaled(x: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    if tuple(x.shape[2:]) == size:
        return x
    return F.interpolate(x, size=size, mode=mode, align_corners=False, antialias=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamAnswer:
    """What the network says.

    Args:
        logits: `(B, K, H, W)`, of the picture's size, scaled as logits; for training.
        scores: `(B, K)`, the overlap with the truth that the network expects.
        low: `(B, K, S / 4, S / 4)`, as decoded, over the square.
    """

    logits: Tensor
    scores: Tensor
    low: Tensor


class PromptedSam(nn.Module):
    """A segmenter of pictures of any size.

    Args:
        body: `SamModel` of transformers.
        preparation: "sam" or "medsam".
        multimask: Three masks for an ambiguous prompt instead of one.
    """

    def __init__(self, body: nn.Module, *, preparation: Preparation, multimask: bool = False) -> None:
        super().__init__()
        if preparation not in ("sam", "medsam"):
            raise InvalidInput(f'preparation {preparation!r} is not "sam" or "medsam".', code="config.invalid")
        self.body, self.preparation, self.multimask = body, preparation, multimask
        self.size = int(body.config.vision_config.image_size)

    def answer(self, images: Tensor, prompts: Prompts | None = None) -> SamAnswer:
        """Return masks and expected overlaps; gradients reach every part of the network.

        Args:
            images: `(B, 3, H, W)` in [0, 1].
            prompts: Without any, the box is the whole image.
        """
        checked_images(images)
        prompts = checked_prompts(prompts, images)
        ready = (prepare_sam if self.preparation == "sam" else prepare_medsam)(images, self.size)
        placed = scaled_prompts(prompts, *ready.factors)
        grid = self.body.prompt_encoder.image_embedding_size[0]
        share = 4 * grid / self.size
        cut = (max(1, round(ready.covered[0] * share)), max(1, round(ready.covered[1] * share)))
        maps = self.body.vision_encoder(ready.pixels).last_hidden_state
        # Prompts and masks stay at full precision under automatic casting: places would be blurred, and they cost next to nothing.
        with torch.autocast(images.device.type, enabled=False):
            out = self.body(
                image_embeddings=maps.to(self.body.dtype),
                input_points=None if placed.points is None else placed.points[:, None],
                input_labels=None if placed.point_labels is None else placed.point_labels[:, None],
                input_boxes=None if placed.boxes is None else placed.boxes[:, None],
                input_masks=scaled_mask(placed.masks, 4 * grid, cut=cut),
                multimask_output=self.multimask,
            )
        low = out.pred_masks[:, 0].float()
        return SamAnswer(logits=self._full(low, ready, images), scores=out.iou_scores[:, 0], low=low)

    def _full(self, low: Tensor, ready: Prepared, images: Tensor) -> Tensor:
        size = (images.shape[2], images.shape[3])
        if self.preparation == "medsam":
            return F.interpolate(low, size=size, mode="bilinear", align_corners=False)
        square = F.interpolate(low, size=(self.size, self.size), mode="bilinear", align_corners=False)
        rows, columns = ready.covered
        return F.interpolate(square[:, :, :rows, :columns], size=size, mode="bilinear", align_corners=False)

    def segment(self, images: Tensor, prompts: Prompts | None = None) -> Tensor:
        """Return logits `(B, K, H, W)` as published: SAM scales logits, MedSAM scales probabilities."""
        found = self.answer(images, prompts)
        if self.preparation == "sam":
            return found.logits
        size = (images.shape[2], images.shape[3])
        probability = F.interpolate(torch.sigmoid(found.low), size=size, mode="bilinear", align_corners=False)
        return torch.logit(probability, eps=1e-6)


def build_sam(
    card: Card,
    settings: Any,
    weights: str | Path | None,
    *,
    preparation: Preparation,
    multimask: bool,
) -> PromptedSam:
    """Return a network with fresh weights, or with those of a file, a folder of transformers or a hub id.

    Args:
        card: Of the model.
        settings: `SamConfig` of transformers.
        weights: None, "published", "hub:owner/name", a folder with `model.safetensors`, or a file under released names or those of
            transformers.
        preparation: See `PromptedSam`.
        multimask: See `PromptedSam`.
    """
    transformers = require("transformers", extra="text")
    model = PromptedSam(transformers.SamModel(settings), preparation=preparation, multimask=multimask)
    if weights is not None and not str(weights).startswith("hub:") and Path(weights).is_dir():
        weights = Path(weights) / _FILE
    load_weights(model, weights, card=card, rules=_RULES, into=model.body)
    return model


def sam_settings(
    width: int = 768,
    depth: int = 12,
    num_heads: int = 12,
    wide: tuple[int, ...] = (2, 5, 8, 11),
    *,
    size: int = 1024,
    window: int = 14,
    channels: int = 256,
    decoder_heads: int = 8,
    decoder_mlp: int = 2048,
) -> Any:
    """Return `SamConfig` of one of the published sizes or of a smaller one; fresh weights are drawn with a deviation of 0.02."""
    transformers = require("transformers", extra="text")
    return transformers.SamConfig(
        vision_config={
            "hidden_size": width,
            "num_hidden_layers": depth,
            "num_attention_heads": num_heads,
            "global_attn_indexes": list(wide),
            "image_size": size,
            "window_size": window,
            "output_channels": channels,
            "num_pos_feats": channels // 2,
            # The library's own 1e-10 makes the image invisible to fresh weights.
            "initializer_range": 0.02,
        },
        prompt_encoder_config={"hidden_size": channels, "image_size": size, "image_embedding_size": size // 16},
        mask_decoder_config={
            "hidden_size": channels,
            "num_attention_heads": decoder_heads,
            "mlp_dim": decoder_mlp,
            "iou_head_hidden_dim": channels,
        },
        initializer_range=0.02,
    )


def settings_of(source: str) -> Any:
    """Return the settings in a folder of transformers, or of a hub id written as `hub:owner/name`.

    Raises:
        InvalidInput: There is no such folder, or it holds another kind of network.
    """
    transformers = require("transformers", extra="text")
    local = not source.startswith("hub:")
    if local and not (Path(source) / "config.json").is_file():
        raise InvalidInput(
            f"no folder {Path(source).name!r} with config.json.",
            hint="Give a folder saved by transformers, or hub:owner/name.",
        )
    settings = transformers.AutoConfig.from_pretrained(source if local else source[4:], local_files_only=local)
    if settings.model_type != "sam":
        raise InvalidInput(f"{Path(source).name!r} holds {settings.model_type!r}, not Segment Anything (sam).")
    for part in (settings, settings.vision_config):
        part.initializer_range = max(float(part.initializer_range), 0.02)
    return settings
