"""Where a picture is like a phrase: the feature map of an image-text model in the common space, or what hiding a part changes.

Source: projected local features compared with a text, as in Zhou et al. 2022 (MaskCLIP), arXiv:2112.01071; occlusion, Zeiler and Fergus 2014,
arXiv:1311.2901. The mean of a map is the pooled vector of every encoder here, so places and whole are measured alike.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Features

#: Cells of a side that occlusion hides one after the other.
CELLS = 12
_BATCH = 16
METHODS = ("map", "occlusion")


@torch.no_grad()
def similarity_map(aligner: Any, images: Tensor, text: Tensor, *, method: str = "map") -> Tensor:
    """Return how much each place of each picture is like a text, `(B, h, w)`.

    Args:
        aligner: In evaluation mode; stays as it is.
        images: Normalised, `(B, 3, H, W)`.
        text: Unit vector `(D,)`, or the difference of two of them.
        method: "map": cosine of each place of the last feature map, projected as the pooled vector is. "occlusion": how far the similarity
            of the whole falls when the place is hidden; for any model, with one pass per place.

    Raises:
        InvalidInput: Unknown method, or a model whose places cannot be projected (`explain.no_map`).
    """
    if method not in METHODS:
        raise InvalidInput(f"method {method!r} is not one of {', '.join(METHODS)}.", code="config.method")
    if method == "occlusion":
        return _occlusion(aligner, images, text)
    features = aligner.encode(images)
    if not features.maps:
        raise _no_map(aligner)
    last = features.maps[-1].float()
    batch, _, height, width = last.shape
    # Twice the pictures: a model that does not ask `encode` gives them once.
    twice = _projected(aligner, features.pooled.float().repeat(2, 1), images)
    whole = aligner.align_images(images).float().repeat(2, 1)
    if twice is None or twice.shape != whole.shape or not torch.allclose(twice, whole, atol=1e-4):
        raise _no_map(aligner)
    places = _projected(aligner, last.flatten(2).transpose(1, 2).flatten(0, 1), images)
    if places is None:
        raise _no_map(aligner)
    return (places @ text.float()).view(batch, height, width)


def _projected(aligner: Any, pooled: Tensor, images: Tensor) -> Tensor | None:
    """Return vectors of the image tower in the common space.

    `align_images` projects what `encode` says; it is run on an aligner whose `encode` says these vectors. None when that
    is not how the model is made.
    """
    try:
        return type(aligner).align_images(_Saying(aligner, Features(pooled=pooled)), images).float()
    except (AttributeError, TypeError, RuntimeError):
        return None


class _Saying:
    """An aligner that takes some features for those of every picture; everything else is that of the aligner."""

    def __init__(self, aligner: Any, features: Features) -> None:
        self._aligner, self._features = aligner, features

    def encode(self, images: Tensor, **_: Any) -> Features:
        return self._features

    def __getattr__(self, name: str) -> Any:
        return getattr(self._aligner, name)


def _occlusion(aligner: Any, images: Tensor, text: Tensor) -> Tensor:
    """Hide square after square behind the mean of the picture; squares overlap by half."""
    whole = aligner.align_images(images).float() @ text.float()
    rows = []
    for picture, before in zip(images, whole, strict=True):
        hidden = _hidden(picture)
        after = torch.cat([aligner.align_images(part).float() @ text.float() for part in hidden.split(_BATCH)])
        rows.append((before - after).view(CELLS, CELLS))
    return torch.stack(rows)


def _hidden(picture: Tensor) -> Tensor:
    height, width = picture.shape[1:]
    grey = picture.mean((1, 2), keepdim=True)
    copies = picture.repeat(CELLS * CELLS, 1, 1, 1)
    for i in range(CELLS):
        for j in range(CELLS):
            # Twice the cell, centred on it.
            top, left = int((i - 0.5) * height / CELLS), int((j - 0.5) * width / CELLS)
            bottom, right = int((i + 1.5) * height / CELLS), int((j + 1.5) * width / CELLS)
            copies[i * CELLS + j, :, max(top, 0) : bottom, max(left, 0) : right] = grey
    return copies


def _no_map(aligner: Any) -> InvalidInput:
    return InvalidInput(
        f"places of {type(aligner).__name__} cannot be compared with a text.",
        code="explain.no_map",
        hint="Use --method occlusion, which works with any model.",
    )
