"""Evidential fusion: each modality gives evidence, Dempster's rule combines it, conflict and ignorance are kept.

Source: Han et al. 2021, arXiv:2102.02051 (trusted multi-view classification), equations 1 to 4; subjective logic, Josang 2016. Binary,
multi-label and ordinal outputs are frames of two, one per logit; multi-class is one frame of K.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import InvalidInput
from ..core.registry import Card, fusions
from ..core.tasks import Task


class Evidential(nn.Module):
    """Combination of Dirichlet opinions. A learned scale per modality and task says how much evidence a logit is."""

    def __init__(self, modalities: tuple[str, ...], tasks: Mapping[str, Task]) -> None:
        super().__init__()
        self.modalities = tuple(sorted(modalities))
        self.multiclass = {t: task.kind == "multiclass" for t, task in tasks.items()}
        self.kinds = {t: task.kind for t, task in tasks.items()}
        self.scale = nn.ParameterDict({t: nn.Parameter(torch.zeros(len(self.modalities))) for t in tasks})

    def opinion(self, task: str, modality: str, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return belief `(B, F, K)` and ignorance `(B, F, 1)`, which sum to one over K and ignorance.

        F frames: one for multi-class, one per logit else.
        """
        strength = torch.exp(self.scale[task][self.modalities.index(modality)])
        if self.multiclass[task]:
            evidence = F.softplus(logits)[:, None, :] * strength
        else:
            evidence = torch.stack([F.softplus(-logits), F.softplus(logits)], 2) * strength
        total = evidence.sum(2, keepdim=True) + evidence.shape[2]
        return evidence / total, evidence.shape[2] / total

    def combine(self, task: str, logits: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> Tensor:
        """Return fused logits `(B, K)` of the same kind as the heads; regression is the mean of what is present."""
        names = [m for m in self.modalities if m in logits]
        if not bool(torch.stack([present[m] for m in names], 1).any(1).all()):
            raise InvalidInput("a study has no modality to fuse.", code="study.empty")
        zero = torch.zeros((), device=next(iter(logits.values())).device)
        clean = {m: torch.where(present[m][:, None], logits[m].float(), zero) for m in names}
        if self.kinds[task] == "regression":
            count = torch.stack([present[m] for m in names], 1).sum(1, keepdim=True)
            return torch.stack([clean[m] for m in names], 1).sum(1) / count
        belief = ignorance = None
        for m in names:
            here = present[m][:, None, None]
            b, u = self.opinion(task, m, clean[m])
            # An absent modality is complete ignorance, the neutral element of the rule.
            b, u = torch.where(here, b, zero), torch.where(here, u, torch.ones_like(u))
            belief, ignorance = (b, u) if belief is None else dempster(belief, ignorance, b, u)
        size = belief.shape[2]
        expected = belief + ignorance / size
        if self.multiclass[task]:
            return torch.log(expected[:, 0].clamp_min(1e-9))
        return torch.log(expected[..., 1].clamp_min(1e-9)) - torch.log(expected[..., 0].clamp_min(1e-9))


def dempster(b1: Tensor, u1: Tensor, b2: Tensor, u2: Tensor) -> tuple[Tensor, Tensor]:
    """Return the reduced Dempster combination of two opinions.

    Example:
        >>> b, u = dempster(torch.tensor([0.6, 0.2]), torch.tensor([0.2]), torch.tensor([0.0, 0.0]), torch.tensor([1.0]))
        >>> [round(v, 3) for v in (*b.tolist(), *u.tolist())]
        [0.6, 0.2, 0.2]
    """
    conflict = b1.sum(-1, keepdim=True) * b2.sum(-1, keepdim=True) - (b1 * b2).sum(-1, keepdim=True)
    left = 1 - conflict
    return (b1 * b2 + b1 * u2 + b2 * u1) / left, (u1 * u2) / left


@fusions.register(
    "evidential", Card(title="Evidential (Dempster-Shafer)", paper="arXiv:2102.02051", facts={"level": "decision"})
)
def evidential(*, dims: Mapping[str, int], tasks: Mapping[str, Task], embed_dim: int) -> Evidential:
    """Return an evidential fusion."""
    return Evidential(tuple(dims), tasks)
