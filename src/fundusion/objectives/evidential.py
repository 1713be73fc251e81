"""RetiZero: contrast of pairs, and evidence for each pair that must not be claimed for the others.

Source: Wang et al. 2024, arXiv:2406.09317; evidential terms Sensoy et al. 2018, arXiv:1806.01768 (equations 4 and 5), as in the released
code (LooKing9218/RetiZero).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.interfaces import Aligner, Batch, Loss
from ..core.registry import Card, objectives
from ..layers.alignment import align, logits_of, nothing, symmetric_cross_entropy


def evidential_terms(logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return, per row, how badly the evidence supports the target, and how much of it supports anything else.

    The second is the divergence from "no evidence" once that of the target is taken away.

    Args:
        logits: `(N, K)`; evidence is their softplus.
        target: `(N, K)`, one-hot.

    Example:
        >>> risk, excess = evidential_terms(torch.tensor([[40.0, -40.0]]), torch.tensor([[1.0, 0.0]]))
        >>> bool(risk < 0.03), bool(excess < 1e-5)
        (True, True)
    """
    alpha = F.softplus(logits.float()) + 1
    strength = alpha.sum(1, keepdim=True)
    risk = (target * (strength.digamma() - alpha.digamma())).sum(1)
    rest = (alpha - 1) * (1 - target) + 1
    total = rest.sum(1, keepdim=True)
    uniform = torch.lgamma(torch.tensor(float(logits.shape[1]), device=logits.device))
    excess = torch.lgamma(total[:, 0]) - uniform - torch.lgamma(rest).sum(1)
    return risk, excess + ((rest - 1) * (rest.digamma() - total.digamma())).sum(1)


class EvidentialContrast:
    """Contrast of pairs with evidential terms in both directions.

    Args:
        ramp: Epochs until the divergence counts in full.
    """

    def __init__(self, *, ramp: float = 15.0) -> None:
        self.ramp = ramp

    def __call__(
        self, network: Aligner, batch: Batch, *, generator: torch.Generator | None = None, epoch: float = 0.0
    ) -> Loss:
        """Return the loss; rows without a picture or without a text weigh nothing.

        Args:
            network: The aligner.
            batch: Rows of pairs.
            generator: Not needed; nothing is drawn.
            epoch: Epochs done so far; the divergence weighs `min(1, epoch / ramp)`.
        """
        aligned = align(network, batch)
        rows = aligned.pairs()
        if not len(rows):
            return Loss(total=nothing(aligned, network))
        logits = logits_of(network, aligned.texts[rows], aligned.images[rows])
        own = torch.eye(len(rows), device=logits.device)
        parts = {"contrast": symmetric_cross_entropy(logits, own)}
        share = min(1.0, epoch / self.ramp)
        for name, one in (("text evidence", logits), ("image evidence", logits.T)):
            risk, excess = evidential_terms(one, own)
            parts[name] = (risk + share * excess).mean()
        return Loss(total=torch.stack(list(parts.values())).sum(), parts=parts)


@objectives.register("evidential.retizero", Card(title="Evidential contrast (RetiZero)", paper="arXiv:2406.09317"))
def retizero(*, ramp: float = 15.0) -> EvidentialContrast:
    """Return the objective of RetiZero."""
    return EvidentialContrast(ramp=ramp)
