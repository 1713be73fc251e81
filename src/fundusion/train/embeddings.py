"""Vectors of a frozen encoder, computed once and kept on disk by content, preprocessing and weights."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..layers.precision import fast_matmul, usable_precision
from ..network import MultimodalNetwork
from ..transforms.collate import normalise_images
from ..transforms.image import preprocessing_signature
from .data import PreparedSet
from .store import BlockStore

_BATCH = 64


def digest_of_module(module: nn.Module) -> str:
    """Return a digest of names and values of a module's state."""
    sums = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        sums.update(name.encode())
        sums.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return sums.hexdigest()


@torch.inference_mode()
def with_vectors(
    network: MultimodalNetwork,
    data: PreparedSet,
    *,
    cache: str | Path | None = None,
    device: str = "cpu",
    mirrored: bool = True,
    precision: str = "fp32",
    progress: Callable[..., None] | None = None,
) -> PreparedSet:
    """Return the set with vectors `(T, E)` in place of pictures: mean of each picture and its mirror image.

    Args:
        network: Its image encoders are used as they are.
        data: With pictures `(T, S, S, C)`.
        cache: Folder; vectors are found again by picture, preprocessing and weights, and recomputed when any changed.
        device: Where the encoders run.
        mirrored: Also look at the mirror image.
        precision: fp32 or bf16.
        progress: Called with (done, total).
    """
    precision = usable_precision(precision, device)
    vectors = {}
    total = sum(len(x) for x in data.images.values())
    done = 0
    for modality, pictures in data.images.items():
        encoder = network.encoders[modality].eval().to(device)
        wanted = network.spec.inputs[modality]
        store = None
        if cache:
            manner = ("mirrored" if mirrored else "plain") + ("" if precision == "fp32" else f"|{precision}")
            purpose = f"{preprocessing_signature(wanted)}|{manner}|{digest_of_module(encoder)}"
            store = BlockStore(cache, purpose=purpose, shape=(encoder.embed_dim,), dtype=np.float32)
        keys = (
            [hashlib.sha256(np.ascontiguousarray(p).tobytes()).hexdigest() for p in pictures]
            if store is not None
            else []
        )
        rows = np.zeros((len(pictures), encoder.embed_dim), np.float32)
        missing = [i for i in range(len(pictures)) if store is None or keys[i] not in store]
        known = sorted(set(range(len(pictures))) - set(missing))
        if store is not None and known:
            rows[known] = store.get([keys[i] for i in known])
        done += len(known)
        for start in range(0, len(missing), _BATCH):
            index = missing[start : start + _BATCH]
            images = resized(torch.from_numpy(np.ascontiguousarray(pictures[index])), wanted.size)
            images = normalise_images(images, wanted).to(device)
            views = [images, images.flip(3)] if mirrored else [images]
            low = torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=precision == "bf16")
            with fast_matmul(), low:
                mean = sum(encoder.encode(v).pooled.float() for v in views) / len(views)
            rows[index] = mean.cpu().numpy()
            if store is not None:
                store.put({keys[i]: rows[i] for i in index})
            done += len(index)
            if progress:
                progress(done, total)
        vectors[modality] = rows
    return replace(data, images=vectors)


def resized(pictures: torch.Tensor, size: int) -> torch.Tensor:
    """Return uint8 `(T, H, W, C)` as float `(T, C, size, size)` in [0, 1], antialiased."""
    images = pictures.permute(0, 3, 1, 2).float() / 255
    if images.shape[-1] == size:
        return images
    return torch.nn.functional.interpolate(
        images, size=(size, size), mode="bilinear", antialias=True, align_corners=False
    )
