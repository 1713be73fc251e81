"""Heads and the rule from logits to probabilities, in torch; `decision.calibration` holds the same rule in numpy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.tasks import Task


class Head(nn.Module):
    """Linear answer of one task, `(B, E)` -> `(B, task.outputs)`.

    A CORAL head shares one weight vector over thresholds and has a bias per threshold.

    Source: Cao et al. 2020, doi:10.1016/j.patrec.2020.11.008 (CORAL); Shi et al. 2023, doi:10.1007/s10044-023-01181-9 (CORN).
    """

    def __init__(self, task: Task, embed_dim: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.is_coral = task.kind == "ordinal" and task.method == "coral"
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(embed_dim, 1 if self.is_coral else task.outputs, bias=not self.is_coral)
        if self.is_coral:
            # Falling biases start the thresholds in their order.
            self.thresholds = nn.Parameter(torch.linspace(1.0, -1.0, task.outputs))

    def forward(self, pooled: Tensor) -> Tensor:
        """Return logits."""
        logits = self.linear(self.dropout(pooled))
        return logits + self.thresholds if self.is_coral else logits


def probabilities(task: Task, logits: Tensor) -> Tensor:
    """Return `(B, number of labels)` probabilities; binary gives (negative, positive).

    Raises:
        InvalidInput: The task is a regression.

    Example:
        >>> from fundusion.core.tasks import Ordinal
        >>> probabilities(Ordinal(3), torch.zeros(1, 2)).tolist()
        [[0.5, 0.25, 0.25]]
    """
    if task.kind == "regression":
        raise InvalidInput("a regression has a value, not probabilities.")
    if task.kind == "binary":
        p = torch.sigmoid(logits[:, 0])
        return torch.stack([1 - p, p], 1)
    if task.kind == "multiclass":
        return torch.softmax(logits, 1)
    if task.kind == "multilabel":
        return torch.sigmoid(logits)
    above = torch.sigmoid(logits)
    above = torch.cumprod(above, 1) if task.method == "corn" else torch.cummin(above, 1).values
    one = torch.ones_like(above[:, :1])
    bounds = torch.cat([one, above, torch.zeros_like(one)], 1)
    return bounds[:, :-1] - bounds[:, 1:]
