"""Images and texts that belong together are near, others far: hard pairs, pairs by category, and pairs one by one.

Source: Radford et al. 2021, arXiv:2103.00020 (CLIP); Silva-Rodriguez et al. 2025, doi:10.1016/j.media.2024.103357, released code
jusiro/FLAIR (targets by category); Zhai et al. 2023, arXiv:2303.15343 (SigLIP).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F

from ..core.errors import InvalidInput
from ..core.interfaces import Aligner, Batch, Loss
from ..core.registry import Card, objectives
from ..layers.alignment import Aligned, align, logits_of, nothing, same_category, symmetric_cross_entropy

#: Target that holds the category of each row as a number, NaN where it has none.
CATEGORY = "category"


class Contrastive:
    """Symmetric cross-entropy over the pairs of a batch; rows without a picture or without a text weigh nothing.

    Args:
        soft: Every pair of the same category is right, in equal shares; else only the pair itself.
    """

    def __init__(self, *, soft: bool) -> None:
        self.soft = soft

    def __call__(
        self, network: Aligner, batch: Batch, *, generator: torch.Generator | None = None, epoch: float = 0.0
    ) -> Loss:
        """Return the loss; `targets["category"]` is read when the targets are soft."""
        aligned = align(network, batch)
        rows = aligned.pairs()
        if not len(rows):
            return Loss(total=nothing(aligned, network))
        logits = logits_of(network, aligned.texts[rows], aligned.images[rows])
        total = symmetric_cross_entropy(logits, _shares(aligned, rows, soft=self.soft))
        return Loss(total=total, parts={"contrast": total})


class PairByPair:
    """SigLIP: each pair of the batch is judged by itself, right or wrong.

    Args:
        positives: "pair": only the pair itself is right; "category": all of the same category are.
    """

    def __init__(self, *, positives: Literal["pair", "category"] = "pair") -> None:
        if positives not in ("pair", "category"):
            raise InvalidInput(f"positives are by pair or by category, got {positives!r}.", code="config.invalid")
        self.positives = positives

    def __call__(
        self, network: Aligner, batch: Batch, *, generator: torch.Generator | None = None, epoch: float = 0.0
    ) -> Loss:
        """Return the sum of the losses of all pairs divided by the number of rows."""
        aligned = align(network, batch)
        rows = aligned.pairs()
        if not len(rows):
            return Loss(total=nothing(aligned, network))
        logits = logits_of(network, aligned.images[rows], aligned.texts[rows])
        right = _shares(aligned, rows, soft=self.positives == "category") > 0
        sign = torch.where(right, 1.0, -1.0)
        total = -F.logsigmoid(sign * logits).sum() / len(rows)
        return Loss(total=total, parts={"pairs": total})


def _shares(aligned: Aligned, rows: torch.Tensor, *, soft: bool) -> torch.Tensor:
    """Return targets `(N, N)`, each row of which sums to one."""
    categories = aligned.targets.get(CATEGORY) if soft else None
    same = same_category(None if categories is None else categories[rows], len(rows), rows.device).float()
    return same / same.sum(1, keepdim=True)


@objectives.register("contrastive.clip", Card(title="Contrast of pairs (CLIP)", paper="arXiv:2103.00020"))
def clip() -> Contrastive:
    """Return the objective whose only right text of a picture is its own."""
    return Contrastive(soft=False)


@objectives.register(
    "contrastive.flair", Card(title="Contrast by category (FLAIR)", paper="doi:10.1016/j.media.2024.103357")
)
def flair() -> Contrastive:
    """Return the objective whose right texts of a picture are all those of its category."""
    return Contrastive(soft=True)


@objectives.register("contrastive.siglip", Card(title="Pair by pair (SigLIP)", paper="arXiv:2303.15343"))
def siglip(*, positives: Literal["pair", "category"] = "pair") -> PairByPair:
    """Return the sigmoid objective; the model needs a shift that is trained (`-10` at the start, scale `10`)."""
    return PairByPair(positives=positives)
