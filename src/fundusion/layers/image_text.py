"""Two towers and two projections in one space: what CLIP of the retina (FLAIR, KeepFIT, RetiZero) and MedCLIP share.

Names of tensors are those of the published files (`vision_model.model.*`, `vision_model.projection_head_vision.projection.weight`,
`text_model.model.*`, `text_model.projection_head_text.projection.weight`, `logit_scale`), so that they load with no renaming.

Source: Radford et al. 2021, arXiv:2103.00020 (contrastive pairs, learned temperature); Silva-Rodriguez et al. 2025,
doi:10.1016/j.media.2024.103357 (projections that normalise before and after).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.interfaces import Features
from ..core.registry import Card
from .checkpoints import Rules, canonical_names, find_weights, load_weights
from .text_tower import CLINICAL, TextTower, bert_body, bert_sizes, has_tokenizer, read_tokenizer, sizes_beside
from .weights import load_state

#: Bounds of the logarithm of the temperature, as published; e to the second is 100.
SCALE_BOUNDS = (0.0, 4.6052)
#: ln(1 / 0.07).
FIRST_SCALE = math.log(1 / 0.07)


class Projection(nn.Module):
    """Unit vectors of one space from the vectors of a tower: a linear map without bias.

    Args:
        normalise: Vectors are brought to unit length before the map too (FLAIR and its kin, not MedCLIP).
    """

    def __init__(self, in_dim: int, align_dim: int, *, normalise: bool = True) -> None:
        super().__init__()
        self.normalise = normalise
        self.projection = nn.Linear(in_dim, align_dim, bias=False)

    def forward(self, pooled: Tensor) -> Tensor:
        """Return `(B, D)` of unit length."""
        if self.normalise:
            pooled = F.normalize(pooled, dim=-1)
        return F.normalize(self.projection(pooled), dim=-1)


class _Vision(nn.Module):
    def __init__(self, model: nn.Module, head: Projection) -> None:
        super().__init__()
        self.model = model
        self.projection_head_vision = head


class _Text(nn.Module):
    def __init__(self, model: nn.Module, head: Projection) -> None:
        super().__init__()
        self.model = model
        self.projection_head_text = head


class ImageTextModel(nn.Module):
    """An image tower and a text tower whose unit vectors can be compared.

    Fusion takes one tower alone: `image_tower()` is an encoder, `text_tower()` a text encoder, each with its own width.

    Args:
        image: Network of images, as the file names it.
        image_tower: Makes an encoder of that network; called whenever images are read, so that no tensor gets a second name.
        text: Text tower; its body is what the file names.
        align_dim: Width of the common space.
        normalise: See `Projection`.
        attention: Looks expert knowledge up for a picture (KeepFIT); None for models without.
    """

    def __init__(
        self,
        image: nn.Module,
        image_tower: Callable[[nn.Module], nn.Module],
        text: TextTower,
        *,
        align_dim: int = 512,
        normalise: bool = True,
        attention: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.align_dim, self.attention = align_dim, attention
        self._as_tower = image_tower
        self._text_rule = {
            "tokenizer": text._tokenizer, "pooling": text.pooling, "layers": text.layers, "max_tokens": text.max_tokens,
        }  # fmt: skip
        self.embed_dim = int(image_tower(image).embed_dim)
        self.text_embed_dim = text.embed_dim
        self.vision_model = _Vision(image, Projection(self.embed_dim, align_dim, normalise=normalise))
        self.text_model = _Text(text.body, Projection(self.text_embed_dim, align_dim, normalise=normalise))
        self.logit_scale = nn.Parameter(torch.tensor(FIRST_SCALE))

    def image_tower(self) -> nn.Module:
        """Return the encoder of images alone; it shares its weights with this model."""
        return _with_record(self._as_tower(self.vision_model.model), self)

    def text_tower(self) -> TextTower:
        """Return the encoder of texts alone; it shares its weights with this model."""
        return _with_record(TextTower(self.text_model.model, **self._text_rule), self)

    def encode(self, images: Tensor, **options: Any) -> Features:
        """Return what the image tower says, before the projection; options are those of the tower (`maps`)."""
        return self._as_tower(self.vision_model.model).encode(images, **options)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return ids `(B, T)` and mask `(B, T)`; an empty text has an empty mask."""
        return self.text_tower().tokenize(texts)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Features:
        """Return what the text tower says, before the projection; `text_embed_dim` wide."""
        return self.text_tower().encode_text(ids, mask)

    def align_images(self, images: Tensor) -> Tensor:
        """Return unit vectors `(B, D)` of normalised images `(B, 3, H, W)`, or of pooled features `(B, E)` kept from before."""
        pooled = images if images.ndim == 2 else self.encode(images).pooled
        return self.vision_model.projection_head_vision(pooled)

    def align_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors `(B, D)` of token ids."""
        return self.text_model.projection_head_text(self.encode_text(ids, mask).pooled)

    def scale(self) -> Tensor:
        """Return what similarities are multiplied by, from 1 to 100."""
        return bounded_scale(self.logit_scale, training=self.training)

    def shift(self) -> Tensor:
        """Return zero: nothing is added to logits."""
        return torch.zeros((), device=self.logit_scale.device)


def bounded_scale(logit_scale: nn.Parameter, *, training: bool) -> Tensor:
    """Return e to the power of a learned number that is kept in `SCALE_BOUNDS`.

    In training the number itself is brought back, as the published code does, else it would leave the bounds and lose its gradient.
    """
    if training:
        with torch.no_grad():
            logit_scale.clamp_(*SCALE_BOUNDS)
        return logit_scale.exp()
    return logit_scale.clamp(*SCALE_BOUNDS).exp()


def _with_record(tower: Any, model: nn.Module) -> Any:
    record = getattr(model, "weights_record", None)
    if record is not None:
        tower.weights_record = record
    return tower


class Checkpoint:
    """Tensors of a file, read once: they tell the sizes of the text tower, then fill the model.

    Args:
        weights: None, "published", a hub id, a file, or a folder with `model.safetensors` and perhaps a tokenizer.
        card: Of the model.
        rules: Of the family.
    """

    def __init__(self, weights: str | Path | None, *, card: Card, rules: Rules) -> None:
        self.folder = Path(weights) if weights is not None and Path(weights).is_dir() else None
        self.weights = self.folder / rules.hub_file if self.folder is not None else weights
        self.card, self.rules = card, rules
        self.state: dict[str, Tensor] = {}
        if self.weights is not None:
            path, _ = find_weights(self.weights, card=card, rules=rules)
            self.state = canonical_names(load_state(path, wrappers=rules.wrappers), rules)

    def text(
        self,
        *,
        sizes: Mapping[str, int] | None,
        tokenizer: str | None,
        pooling: str,
        layers: tuple[int, ...],
        max_tokens: int,
    ) -> TextTower:
        """Return a text tower of the sizes asked for, else of the file, else beside the tokenizer, else of Bio_ClinicalBERT."""
        if tokenizer is None and self.folder is not None and has_tokenizer(self.folder):
            tokenizer = str(self.folder)
        words = read_tokenizer(tokenizer) if tokenizer else None
        found = {**CLINICAL, **sizes_beside(tokenizer), **bert_sizes(self.state, "text_model.model."), **(sizes or {})}
        body = bert_body(found, pooler=True)
        return TextTower(body, words, pooling=pooling, layers=layers, max_tokens=max_tokens)

    def fill(self, model: nn.Module, *, into: nn.Module | None = None, optional: tuple[str, ...] = ()) -> None:
        """Load the tensors into a model, or a part of it, and leave the record of their origin in it.

        Args:
            model: Gets the record.
            into: Receives the tensors; the model itself when None.
            optional: Beginnings of names that the file may lack, besides those of the family.
        """
        rules = replace(self.rules, optional=(*self.rules.optional, *optional), read=lambda _: self.state)
        load_weights(model, self.weights, card=self.card, rules=rules, into=into)
