"""KeepFIT: the text of a labelled picture is pulled towards what experts wrote about pictures like it.

Source: Wu et al. 2024, MM-Retinal and KeepFIT, arXiv:2405.11793; weight and direction of the terms as in the released code
(lxirich/MM-Retinal): the attended text is a target whose gradient is kept.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.interfaces import Aligner, Batch, Loss
from ..core.registry import Card, objectives
from ..layers.alignment import align, logits_of, nothing, same_category, symmetric_cross_entropy
from ..layers.reference_attention import ReferenceAttention

#: Target `(B,)`: 1 where the row is a pair written by experts, 0 where its text comes from a label.
KNOWLEDGE = "knowledge"


class ExpertKnowledge(nn.Module):
    """Contrast of labelled pictures, contrast of expert pairs, and the way image -> image -> text between them.

    Args:
        width: Of the aligned vectors, for an attention of its own; None when the model has one (`attention`).
        weight: Of the reference term; 100 in the released code.
        softmax_over: Of its own attention.
        dropout: Of its own attention.
    """

    def __init__(
        self,
        *,
        width: int | None = None,
        weight: float = 100.0,
        softmax_over: Literal["keys", "heads"] = "keys",
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.weight = weight
        self.attention = ReferenceAttention(width, softmax_over=softmax_over, dropout=dropout) if width else None

    def forward(
        self, network: Aligner, batch: Batch, *, generator: torch.Generator | None = None, epoch: float = 0.0
    ) -> Loss:
        """Return the loss; `targets["knowledge"]` tells the two kinds of rows, `targets["category"]` may name categories."""
        aligned = align(network, batch)
        rows = aligned.pairs()
        expert = aligned.targets.get(KNOWLEDGE, torch.zeros_like(aligned.has_text, dtype=torch.float32))[rows] > 0
        labelled, experts = rows[~expert], rows[expert]
        parts: dict[str, Tensor] = {}
        if len(labelled):
            categories = aligned.targets.get("category")
            same = same_category(None if categories is None else categories[labelled], len(labelled), rows.device)
            parts["labelled"] = self._contrast(network, aligned.images[labelled], aligned.texts[labelled], same.float())
        if len(experts):
            own = torch.eye(len(experts), device=rows.device)
            parts["experts"] = self._contrast(network, aligned.images[experts], aligned.texts[experts], own)
        if len(labelled) and len(experts):
            attention = self.attention if self.attention is not None else getattr(network, "attention", None)
            if attention is None:
                raise InvalidInput("neither the model nor the objective has an attention.", hint="Give width.")
            attended = attention(aligned.images[labelled], aligned.images[experts], aligned.texts[experts])
            parts["reference"] = self.weight * F.mse_loss(aligned.texts[labelled], attended)
        if not parts:
            return Loss(total=nothing(aligned, network))
        return Loss(total=torch.stack(list(parts.values())).sum(), parts=parts)

    @staticmethod
    def _contrast(network: Aligner, images: Tensor, texts: Tensor, same: Tensor) -> Tensor:
        return symmetric_cross_entropy(logits_of(network, texts, images), same / same.sum(1, keepdim=True))


@objectives.register(
    "knowledge.keepfit", Card(title="Expert knowledge by image, image, text (KeepFIT)", paper="arXiv:2405.11793")
)
def keepfit(
    *,
    width: int | None = None,
    weight: float = 100.0,
    softmax_over: Literal["keys", "heads"] = "keys",
    dropout: float = 0.5,
) -> ExpertKnowledge:
    """Return the objective; give `width` unless the model brings its own attention."""
    return ExpertKnowledge(width=width, weight=weight, softmax_over=softmax_over, dropout=dropout)
