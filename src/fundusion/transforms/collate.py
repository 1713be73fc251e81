"""Prepared studies -> `Batch`: the door from numpy to torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ..core.interfaces import Batch
from ..core.registry import ImageInput
from ..core.tasks import Task
from ..core.vocabulary import TABLE, TEXT
from .prepared import PreparedStudy
from .targets import encode_labels

Tokenize = Callable[[list[str]], tuple[Tensor, Tensor]]


def normalise_images(pixels: Tensor, wanted: ImageInput) -> Tensor:
    """Return uint8 `(T, H, W, C)` or float `(T, C, H, W)` in [0, 1] as normalised float32 `(T, C, H, W)`."""
    if pixels.dtype == torch.uint8:
        pixels = pixels.permute(0, 3, 1, 2).float() / 255
    mean = torch.tensor(wanted.mean, device=pixels.device).view(1, -1, 1, 1)
    std = torch.tensor(wanted.std, device=pixels.device).view(1, -1, 1, 1)
    return ((pixels - mean) / std).contiguous(memory_format=torch.channels_last)


def collate(
    studies: Sequence[PreparedStudy],
    modalities: Sequence[str],
    *,
    inputs: Mapping[str, ImageInput],
    tokenize: Tokenize | None = None,
    tasks: Mapping[str, Task] | None = None,
) -> Batch:
    """Return the batch of several studies.

    Args:
        studies: Prepared with the same inputs.
        modalities: What the network reads, in its order; absent ones are marked so, never filled with zeros.
        inputs: Normalisation per image modality.
        tokenize: Of the text encoder; needed when "text" is among the modalities.
        tasks: Heads whose labels become targets; None makes none.
    """
    count = len(studies)
    present = torch.zeros(count, len(modalities), dtype=torch.bool)
    images: dict[str, Tensor] = {}
    owner: dict[str, Tensor] = {}
    text_ids = text_mask = table = table_mask = None
    for column, modality in enumerate(modalities):
        if modality == TEXT:
            texts = [s.text or "" for s in studies]
            present[:, column] = torch.tensor([bool(t.strip()) for t in texts])
            if tokenize is not None:
                text_ids, text_mask = tokenize(texts)
                present[:, column] &= text_mask.any(1)
        elif modality == TABLE:
            cells = [s for s in studies if s.table is not None]
            width = len(cells[0].table) if cells and cells[0].table is not None else 0
            zeros, unknown = np.zeros(width, np.float32), np.zeros(width, np.bool_)
            table = torch.from_numpy(np.stack([zeros if s.table is None else s.table for s in studies]))
            table_mask = torch.from_numpy(
                np.stack([unknown if s.table_mask is None else s.table_mask for s in studies])
            )
            present[:, column] = table_mask.any(1)
        else:
            frames = [(row, image) for row, s in enumerate(studies) for image in s.images.get(modality, ())]
            present[:, column] = torch.tensor([bool(s.images.get(modality)) for s in studies])
            if frames:
                pixels = torch.from_numpy(np.stack([image.pixels for _, image in frames]))
                images[modality] = normalise_images(pixels, inputs[modality])
                owner[modality] = torch.tensor([row for row, _ in frames], dtype=torch.int64)
    targets = {
        name: torch.from_numpy(encode_labels(task, [s.labels.get(name) for s in studies]))
        for name, task in (tasks or {}).items()
    }
    return Batch(
        study_ids=tuple(s.study_id for s in studies),
        modalities=tuple(modalities),
        present=present,
        images=images,
        owner=owner,
        text_ids=text_ids,
        text_mask=text_mask,
        table=table,
        table_mask=table_mask,
        targets=targets,
    )
