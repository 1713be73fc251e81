"""Class activation maps from the forward pass that gave the answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Features, NetworkOutput
from .target import Target

Pool = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor, Tensor]]
Fuse = Callable[[Mapping[str, Features], Mapping[str, Tensor]], NetworkOutput]


def class_activation_maps(
    features: Mapping[str, Features],
    presence: Mapping[str, Tensor],
    target: Target,
    *,
    fuse: Fuse,
    pools: Mapping[str, Pool],
) -> dict[str, npt.NDArray[np.float32]]:
    """Return where each image raises the target, without a second pass through the encoders.

    The pooled vector of an image is the mean of its last feature map, so the gradient of the answer with respect to
    that vector, which runs through fusion and head only, weighs the channels exactly as Grad-CAM does.

    Args:
        features: Result of `network.encode`, with `maps` and the extras "frame_vectors" and "owner".
        presence: Modality to bool `(B,)`.
        target: What is explained.
        fuse: `network.fuse`.
        pools: `network.pools`.

    Returns:
        Image modality to float32 `(T, h, w)`, not negative, in units of the target's log-odds; one map per image in
        the order of the batch. Divide by the greatest of a study to draw it.

    Raises:
        InvalidInput: The features came from cached vectors, which have no maps.

    Source:
        Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74, equations 1 and 2, with the global average pool differentiated
        by hand.
    """
    image_names = [m for m, f in features.items() if "frame_vectors" in f.extras]
    vectors: dict[str, Tensor] = {}
    with torch.enable_grad():
        tracked = {m: _detached(f) for m, f in features.items()}
        for name in image_names:
            source = features[name]
            if not source.maps:
                raise InvalidInput(
                    f"no feature maps of {name!r}: they came from cached vectors.", hint="Encode the images again."
                )
            vectors[name] = source.extras["frame_vectors"].detach().float().requires_grad_(True)
            rows = presence[name].shape[0]
            pooled, _, tokens, mask = pools[name](vectors[name], source.extras["owner"], rows)
            tracked[name] = replace(tracked[name], pooled=pooled, tokens=tokens, token_mask=mask)
        if not image_names:
            return {}
        total = target.score(fuse(tracked, presence)).sum()
        gradients = torch.autograd.grad(total, [vectors[m] for m in image_names], allow_unused=True)
    maps: dict[str, npt.NDArray[np.float32]] = {}
    for name, gradient in zip(image_names, gradients, strict=True):
        last = features[name].maps[-1].detach().float()
        weights = torch.zeros_like(vectors[name]) if gradient is None else gradient
        cam = torch.relu((last * weights[:, :, None, None]).sum(1))
        maps[name] = cam.numpy(force=True).astype(np.float32)
    return maps


def _detached(features: Features) -> Features:
    return replace(
        features,
        pooled=features.pooled.detach(),
        tokens=None if features.tokens is None else features.tokens.detach(),
        maps=(),
        extras={},
    )
