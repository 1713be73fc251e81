"""What the stages of BLIP and BLIP-2 share: soft targets over a memory of pairs, and the hardest wrong partners of a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def soft_contrast(logits: Tensor, teacher: Tensor | None, *, alpha: float, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of rows whose partner stands at the same place.

    Args:
        logits: `(B, N)`, N at least B; the partner of row i is column i.
        teacher: Logits of a slower model, whose softmax shares a target; None: the partner alone counts.
        alpha: Share of the teacher.
        smoothing: Share of each target that is spread evenly.

    Example:
        >>> round(float(soft_contrast(torch.zeros(2, 2), None, alpha=0.0)), 4)
        0.6931
    """
    count, columns = logits.shape
    targets = torch.eye(count, columns, device=logits.device)
    targets = (1 - smoothing) * targets + smoothing / columns
    if teacher is not None:
        targets = alpha * teacher.softmax(1) + (1 - alpha) * targets
    return -(logits.log_softmax(1) * targets).sum(1).mean()


def wrong_partners(similarity: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Return for each row the place of a partner that is not its own, the likelier the more alike.

    Args:
        similarity: Logits `(B, B)`.
        generator: On the CPU; None takes that of the process.

    Example:
        >>> wrong_partners(torch.zeros(2, 2)).tolist()
        [1, 0]
    """
    weights = F.softmax(similarity.detach().float(), dim=1).cpu() + 1e-4
    weights.fill_diagonal_(0)
    return torch.multinomial(weights, 1, generator=generator)[:, 0].to(similarity.device)
