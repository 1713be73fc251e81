"""Batches of conversations with their pictures, and the losses of generators; every choice in a step is decided by (seed, step)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.interfaces import Loss
from ..core.registry import ImageInput
from ..layers.language_loss import answer_loss
from ..layers.lora import adapters_off
from ..layers.packing import pack
from ..readers.conversations import Conversation
from ..transforms.augment import augment
from ..transforms.collate import normalise_images
from .data import PreparedSet
from .steps import generators_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatBatch:
    """Conversations and their pictures.

    Args:
        items: One per row.
        images: Modality to `(B, 3, H, W)`; rows without a picture hold zeros.
        present: Modality to bool `(B,)`.
    """

    items: tuple[Conversation, ...]
    images: Mapping[str, Tensor]
    present: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.items)

    def to(self, device: Any) -> ChatBatch:
        """Return the batch on a device."""
        return replace(
            self,
            images={m: x.to(device) for m, x in self.images.items()},
            present={m: x.to(device) for m, x in self.present.items()},
        )


class BeforeAdapters:
    """The model as it was before its low-rank adapters: the reference of a preference, without a second copy of the weights."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def token_logits(self, images: Any, words: Any, *, present: Any = None) -> Tensor:
        """Return the logits of the base."""
        with adapters_off(self.network):
            return self.network.token_logits(images, words, present=present)


class ChatStep:
    """Makes batches and losses of a run.

    Args:
        network: The generator.
        objective: Called with network, images and what the batch says.
        kind: "caption", "blip2", "instruct" or "dpo".
        items: All conversations.
        data: Pictures; a study each.
        picture: Number of the study in `data` of each item, -1 without a picture.
        wanted: Pixels the generator wants; None where it reads none.
        seed: Of everything random.
        strength: Of random changes of pictures.
        is_packed: Several conversations share a row.
    """

    def __init__(
        self,
        network: Any,
        objective: Any,
        kind: str,
        *,
        items: Sequence[Conversation],
        data: PreparedSet,
        picture: npt.NDArray[np.int64],
        wanted: ImageInput | None,
        seed: int,
        strength: float,
        is_packed: bool,
    ) -> None:
        self.network, self.objective, self.kind = network, objective, kind
        self.items, self.data, self.picture, self.wanted = items, data, picture, wanted
        self.seed, self.strength, self.is_packed = seed, strength, is_packed

    def batch(self, rows: npt.NDArray[np.int64], step: int, size: int | None) -> ChatBatch:
        """Return conversations with their pictures, changed at random when asked for."""
        return self._batch(rows, generators_of(self.seed, step)[0])

    def still(self, rows: npt.NDArray[np.int64]) -> ChatBatch:
        """Return conversations with their pictures as they are."""
        return self._batch(rows, None)

    def _batch(self, rows: npt.NDArray[np.int64], generator: torch.Generator | None) -> ChatBatch:
        images, present = {}, {}
        for modality, starts in self.data.starts.items():
            if self.wanted is None or modality not in self.data.images:
                continue
            studies = self.picture[rows]
            known = (studies >= 0) & (np.diff(starts)[np.maximum(studies, 0)] > 0)
            if not known.any():
                continue
            first = starts[studies[known]]
            stored = torch.from_numpy(np.ascontiguousarray(self.data.images[modality][first]))
            if generator is not None and self.strength > 0:
                shown = augment(stored, self.wanted.size, generator=generator, strength=self.strength, flip=False)
            else:
                shown = stored
            ready = normalise_images(shown, self.wanted)
            block = torch.zeros(len(rows), *ready.shape[1:])
            block[torch.from_numpy(known)] = ready
            images[modality], present[modality] = block, torch.from_numpy(known)
        return ChatBatch(items=tuple(self.items[i] for i in rows), images=images, present=present)

    def loss(self, batch: ChatBatch, step: int, objective: Any = None) -> Loss:
        """Return the loss of a batch."""
        chosen = self.objective if objective is None else objective
        generator = generators_of(self.seed + 1, step)[0]
        shown: Any = dict(batch.images) or None
        if self.kind in ("caption", "blip2"):
            said = [i.turns[-1].text for i in batch.items]
            pictures = next(iter(batch.images.values()))
            if hasattr(chosen, "after_step") or hasattr(chosen, "qformer"):
                return chosen(self.network, pictures, said, step=step, generator=generator)
            return chosen(self.network, pictures, said, generator=generator)
        if self.kind == "dpo":
            pairs = [(i.turns, i.chosen or "", i.refused or "") for i in batch.items]
            return chosen(self.network, shown, pairs, present=batch.present or None)
        if self.is_packed:
            return self._packed(batch, shown)
        return chosen(self.network, shown, [i.turns for i in batch.items], present=batch.present or None)

    def _packed(self, batch: ChatBatch, shown: Any) -> Loss:
        present = batch.present or None
        words = self.network.read(shown, [i.turns for i in batch.items], present=present)
        packed = pack(words, self.network.limit)
        logits = self.network.packed_logits(shown, packed, len(batch), present=present)
        total = answer_loss(logits, packed.words)
        return Loss(total=total, parts={"answers": total})
