"""Small image-text model without downloads: a residual network with local contrast and a hashing text encoder in one space.

Source: two towers with linear projections and a learned temperature after Radford et al. 2021, arXiv:2103.00020; shift of the sigmoid
variant after Zhai et al. 2023, arXiv:2303.15343. Towers are `contrast_resnet` and `hashing`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.interfaces import Features
from ..core.registry import Card, ImageInput, models
from ..layers.checkpoints import Rules, load_weights
from ..layers.image_text import FIRST_SCALE, bounded_scale
from ..layers.weights import fit_state, load_state
from ..shipped import resolve_model, shipped_weights


class ImageText(nn.Module):
    """Image tower and text tower, each with a projection without bias into one space.

    Args:
        image: Image encoder.
        text: Text encoder.
        align_dim: Width of the common space.
        sigmoid: Scale and shift start as pair-by-pair training needs them.
    """

    def __init__(self, image: nn.Module, text: nn.Module, align_dim: int, *, sigmoid: bool = False) -> None:
        super().__init__()
        self.image, self.text = image, text
        self.align_dim = align_dim
        self.embed_dim, self.text_embed_dim = int(image.embed_dim), int(text.embed_dim)
        self.image_projection = nn.Linear(self.embed_dim, align_dim, bias=False)
        self.text_projection = nn.Linear(self.text_embed_dim, align_dim, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(10.0) if sigmoid else FIRST_SCALE))
        self.offset = nn.Parameter(torch.tensor(-10.0 if sigmoid else 0.0), requires_grad=sigmoid)

    def image_tower(self) -> nn.Module:
        """Return the encoder of images alone; it shares its weights with this model."""
        return self._with_record(self.image)

    def text_tower(self) -> nn.Module:
        """Return the encoder of texts alone; it shares its weights with this model."""
        return self._with_record(self.text)

    def _with_record(self, tower: Any) -> Any:
        if hasattr(self, "weights_record"):
            tower.weights_record = self.weights_record
        return tower

    def encode(self, images: Tensor) -> Features:
        """Return what the image tower says, before the projection."""
        return self.image.encode(images)

    def tokenize(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Return ids `(B, T)` and mask `(B, T)`."""
        return self.text.tokenize(texts)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Features:
        """Return what the text tower says, before the projection; a row without tokens gives zeros."""
        return self.text.encode_text(ids, mask)

    def align_images(self, images: Tensor) -> Tensor:
        """Return unit vectors `(T, D)` of normalised images `(T, 3, H, W)`, or of vectors `(T, E)` the image tower gave before."""
        pooled = images if images.ndim == 2 else self.encode(images).pooled
        return F.normalize(self.image_projection(pooled).float(), dim=1)

    def align_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return unit vectors `(B, D)`; a row without tokens gives zeros, which is like nothing."""
        return F.normalize(self.text_projection(self.encode_text(ids, mask).pooled).float(), dim=1)

    def scale(self) -> Tensor:
        """Return the factor of similarities, from 1 to 100."""
        return bounded_scale(self.logit_scale, training=self.training)

    def shift(self) -> Tensor:
        """Return what is added to scaled similarities: zero, except in the sigmoid variant."""
        return self.offset


_INPUT = ImageInput(size=176, mean=(0.42, 0.28, 0.20), std=(0.25, 0.20, 0.17))
#: Where a network keeps its photograph encoder.
_TOWER = "encoders.cfp."
_CARD = Card(
    title="Image-text model, small",
    roles=frozenset({"encode", "encode_text", "align"}),
    modalities=frozenset({"cfp", "text"}),
    input=_INPUT,
    paper="arXiv:2103.00020",
    weight_license="research only, after the terms of ODIR-5K",
    training_data=("ODIR-5K", "IDRiD", "STARE", "definitions of FLAIR"),
    obtain='They are in the package: weights="shipped".',
    notes="Knows English names of findings. The image tower of the shipped weights is that of the screening model.",
)


def _loaded(model: ImageText, weights: str | Path | None, card: Card) -> ImageText:
    """Load a file, the folder of `fundusion pretrain`, or the weights in the package."""
    found = shipped_weights("image_text") if weights == "shipped" else weights
    if found is not None and (Path(found) / "encoder.safetensors").is_file():
        found = Path(found) / "encoder.safetensors"
    load_weights(model, found, card=card, rules=Rules())
    return model


@models.register("image_text.small", _CARD)
def small(
    *,
    weights: str | Path | None = None,
    image_weights: str | Path | None = None,
    align_dim: int = 128,
    sigmoid: bool = False,
    drop_path: float = 0.0,
    image_size: int = _INPUT.size,
) -> ImageText:
    """Return the small model: 4.2 M parameters see, 0.5 M read.

    Args:
        weights: "shipped", or the file or folder that `fundusion pretrain` wrote.
        image_weights: Shipped or trained network whose photograph encoder is the start of the image tower.
        align_dim: Width of the common space.
        sigmoid: Start as SigLIP wants it.
        drop_path: Stochastic depth of the image tower.
        image_size: Side of the pictures; the network takes any, what it learned at is best.
    """
    image = models.create("contrast_resnet.small", drop_path=drop_path)
    if image_weights is not None and weights is None:
        folder, _ = resolve_model(image_weights)
        network = load_state(folder / "weights.safetensors")
        fit_state(image, {k.removeprefix(_TOWER): v for k, v in network.items() if k.startswith(_TOWER)})
    text = models.create("hashing.small", embed_dim=96, buckets=2048, max_tokens=128)
    return _loaded(ImageText(image, text, align_dim, sigmoid=sigmoid), weights, _CARD)


@models.register(
    "image_text.test",
    replace(_CARD, title="Image-text model, smallest", weight_license=None, training_data=(), obtain="", notes=""),
)
def test(*, weights: str | Path | None = None, sigmoid: bool = False, image_size: int = 64) -> ImageText:
    """Return the smallest legal configuration."""
    model = ImageText(models.create("contrast_resnet.test"), models.create("hashing.test"), 8, sigmoid=sigmoid)
    return _loaded(model, weights, models.card("image_text.test"))
