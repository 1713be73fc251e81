"""What the losses of image-text models share: vectors per study, rows of all processes, targets of similar pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Aligner, Batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Aligned:
    """Unit vectors of the studies of a batch, of all processes when there are several.

    Args:
        images: `(B, D)`; rows without a picture are zero.
        texts: `(B, D)`; rows without a text are zero.
        has_image: bool `(B,)`.
        has_text: bool `(B,)`.
        targets: Those of the batch, in the same order.
    """

    images: Tensor
    texts: Tensor
    has_image: Tensor
    has_text: Tensor
    targets: Mapping[str, Tensor] = field(default_factory=dict)

    def pairs(self) -> Tensor:
        """Return the rows that have both."""
        return torch.nonzero(self.has_image & self.has_text)[:, 0]


def align(network: Aligner, batch: Batch) -> Aligned:
    """Return the vectors of a batch, gathered from all processes.

    A row may be a pair, a picture or a text alone; what is absent is not encoded. Several pictures of one study become
    their mean, scaled to unit length.

    Raises:
        InvalidInput: The batch holds two kinds of pictures, or neither pictures nor texts.
    """
    if len(batch.images) > 1 or (not batch.images and batch.text_ids is None):
        raise InvalidInput(f"an image-text loss reads one kind of pictures and texts, got {sorted(batch.images)}.")
    images = texts = None
    has_image = has_text = batch.present.new_zeros(len(batch))
    for modality, pixels in batch.images.items():
        has_image = batch.presence()[modality]
        images = _mean_by_owner(network.align_images(pixels), batch.owner[modality], len(batch))
    if batch.text_ids is not None and batch.text_mask is not None:
        has_text = batch.text_mask.any(1)
        rows = torch.nonzero(has_text)[:, 0]
        if len(rows):
            vectors = network.align_texts(batch.text_ids[rows], batch.text_mask[rows]).float()
            texts = vectors.new_zeros(len(batch), vectors.shape[1]).index_copy(0, rows, vectors)
    known = images if images is not None else texts
    if known is None:
        raise InvalidInput("the batch holds neither a picture nor a text.", code="batch.empty")
    images = torch.zeros_like(known) if images is None else images
    texts = torch.zeros_like(known) if texts is None else texts
    return Aligned(
        images=gather_rows(images),
        texts=gather_rows(texts),
        has_image=gather_rows(has_image),
        has_text=gather_rows(has_text),
        targets={name: gather_rows(y) for name, y in batch.targets.items()},
    )


def _mean_by_owner(vectors: Tensor, owner: Tensor, rows: int) -> Tensor:
    vectors = vectors.float()
    total = vectors.new_zeros(rows, vectors.shape[1]).index_add(0, owner, vectors)
    return F.normalize(total, dim=1)


def logits_of(network: Aligner, images: Tensor, texts: Tensor) -> Tensor:
    """Return scaled similarities `(N, M)` of images and texts, in float32."""
    return network.scale().float() * images @ texts.T + network.shift().float()


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all processes, in the order of the processes; gradients flow back to each.

    Processes may hold different numbers of rows. With the averaging of gradients of data-parallel training the result is the
    gradient of the loss over the whole batch.
    """
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()) or distributed.get_world_size() == 1:
        return rows
    from torch.distributed.nn.functional import all_gather

    world = distributed.get_world_size()
    count = torch.tensor([len(rows)], device=rows.device)
    counts = [torch.zeros_like(count) for _ in range(world)]
    distributed.all_gather(counts, count)
    sizes = [int(c) for c in counts]
    # Booleans do not travel on every backend.
    kind = rows.dtype
    sent = rows.to(torch.uint8) if kind == torch.bool else rows
    padding = sent.new_zeros(max(sizes) - len(rows), *rows.shape[1:])
    parts: Any = all_gather(torch.cat([sent, padding]))
    return torch.cat([part[:n] for part, n in zip(parts, sizes, strict=True)]).to(kind)


def same_category(categories: Tensor | None, count: int, device: Any) -> Tensor:
    """Return bool `(N, N)`: rows of one category; a row whose category is not known (NaN) is alone.

    Example:
        >>> same_category(torch.tensor([1.0, float("nan"), 1.0, float("nan")]), 4, "cpu").int().tolist()
        [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    """
    own = torch.eye(count, dtype=torch.bool, device=device)
    if categories is None:
        return own
    # NaN equals nothing, itself included.
    return (categories[:, None] == categories[None, :]) | own


def symmetric_cross_entropy(logits: Tensor, by_row: Tensor, by_column: Tensor | None = None) -> Tensor:
    """Return half the sum of the cross-entropies over rows and over columns, with targets that are distributions.

    Args:
        logits: `(N, M)`.
        by_row: `(N, M)`, each row sums to one.
        by_column: `(M, N)`, each row sums to one; the transpose of `by_row` when None.

    Example:
        >>> same = torch.eye(2)
        >>> round(float(symmetric_cross_entropy(torch.zeros(2, 2), same)), 4)
        0.6931
    """
    other = by_row.T if by_column is None else by_column
    return (F.cross_entropy(logits, by_row) + F.cross_entropy(logits.T, other)) / 2


def nothing(aligned: Aligned, network: Aligner) -> Tensor:
    """Return a zero that keeps the graph, for a batch that says nothing to a loss."""
    return (aligned.images.sum() + aligned.texts.sum() + network.scale() + network.shift()) * 0.0
