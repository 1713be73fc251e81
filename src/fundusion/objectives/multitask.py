"""Weighted sum over heads; for decision-level fusion each modality's own answer is trained too.

Source: per-modality terms after Wang et al. 2020, doi:10.1109/CVPR42600.2020.01271 (gradient blending motivates them: without, the quickest
modality stops the others from learning).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..core.interfaces import Batch, Loss, NetworkOutput
from ..core.registry import Card, objectives
from ..core.tasks import Task


class Multitask:
    """Callable objective; `of(output, targets)` reuses an output that is already there."""

    def __init__(
        self,
        losses: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
        weights: Mapping[str, float],
        unimodal: float,
        fused: float = 1.0,
    ) -> None:
        self.losses = dict(losses)
        self.weights = {name: float(weights.get(name, 1.0)) for name in losses}
        self.unimodal = unimodal
        self.fused = fused

    def of(self, output: NetworkOutput, targets: Mapping[str, Tensor]) -> Loss:
        """Return the loss of an output; parts sum to the total."""
        parts: dict[str, Tensor] = {}
        for name, loss in self.losses.items():
            if name not in targets:
                continue
            single = output.by_modality.get(name, {})
            if self.fused > 0 or not single:
                share = self.fused if single else 1.0
                parts[name] = self.weights[name] * share * loss(output.logits[name].float(), targets[name])
            if not single or self.unimodal <= 0:
                continue
            for modality, logits in single.items():
                # Rows without the modality are not its business.
                rows = output.presence[modality]
                if bool(rows.any()):
                    term = loss(logits[rows].float(), targets[name][rows])
                    parts[f"{name}.{modality}"] = self.weights[name] * self.unimodal * term
        total = torch.stack(list(parts.values())).sum() if parts else next(iter(output.logits.values())).sum() * 0.0
        return Loss(total=total, parts=parts)

    def __call__(
        self, network: Callable[..., NetworkOutput], batch: Batch, *, generator: torch.Generator | None = None
    ) -> Loss:
        """Return the loss of a network on a batch."""
        return self.of(network(batch, generator=generator), batch.targets)


@objectives.register(
    "multitask.default", Card(title="Weighted sum over tasks", paper="doi:10.1109/CVPR42600.2020.01271")
)
def default(
    *,
    tasks: Mapping[str, Task],
    losses: Mapping[str, Callable[[Tensor, Tensor], Tensor]],
    weights: Mapping[str, float] | None = None,
    unimodal: float = 1.0,
    fused: float = 1.0,
) -> Multitask:
    """Return the objective of several heads; `losses` come from `classification.head_loss`.

    Args:
        tasks: Heads of the network.
        losses: Loss per head.
        weights: Weight per head; one when left out.
        unimodal: Weight of each modality's own answer; decision-level fusion only.
        fused: Weight of the fused answer; decision-level fusion only. Zero trains independent experts.
    """
    return Multitask({name: losses[name] for name in tasks}, weights or {}, unimodal, fused)
