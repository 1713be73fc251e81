"""Late fusion: logits per modality, added with learned reliability.

Source: product of experts, Hinton 2002, doi:10.1162/089976602760128018: with independent modalities the log-odds add. The reliability per
modality and output is learned (stacking, Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1); it may be fitted on held-out patients, because
on the training patients a large encoder looks better than it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.registry import Card, fusions
from ..core.tasks import Task

#: softplus(x) = 1
_ONE = 0.541324854612918


class Late(nn.Module):
    """Weighted sum of logits over the modalities present; all weights start at one, all biases at zero."""

    def __init__(self, modalities: tuple[str, ...], tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.modalities = tuple(sorted(modalities))
        self.reliability = nn.ParameterDict(
            {t: nn.Parameter(torch.full((len(self.modalities), task.outputs), _ONE)) for t, task in tasks.items()}
        )
        # One offset per set of modalities present: experts share the prior, which must not be counted twice.
        self.offset = nn.ParameterDict(
            {t: nn.Parameter(torch.zeros(len(self.modalities), task.outputs)) for t, task in tasks.items()}
        )

    def combine(self, task: str, logits: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Return fused logits `(B, K)` of the same kind as the heads.

        A study with one modality gets that modality's logits unchanged.

        Raises:
            InvalidInput: A study has none (`study.empty`).
        """
        names = [m for m in self.modalities if m in logits]
        mask = torch.stack([present[m] for m in names], 1)
        if not bool(mask.any(1).all()):
            raise InvalidInput("a study has no modality to fuse.", code="study.empty")
        zero = torch.zeros((), device=mask.device)
        stacked = torch.stack([torch.where(present[m][:, None], logits[m].float(), zero) for m in names], 1)
        index = [self.modalities.index(m) for m in names]
        weight, offset = F.softplus(self.reliability[task][index]), self.offset[task][index]
        several = (mask.sum(1) > 1)[:, None, None]
        scaled = torch.where(several, stacked * weight + offset, stacked)
        return torch.where(mask[..., None], scaled, zero).sum(1)


@fusions.register("late", Card(title="Late fusion with learned reliability", facts={"level": "decision"}))
def late(*, dims: Mapping[str, int], tasks: Mapping[str, Task], embed_dim: int) -> Late:
    """Return a late fusion."""
    return Late(tuple(dims), tasks)
