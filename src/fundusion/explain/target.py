"""Which number of a network's answer is explained."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import NetworkOutput
from ..core.tasks import Task
from ..layers.heads import probabilities


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One label of one task; for an ordinal task "the grade is at least this label"."""

    task_name: str
    task: Task
    label: str

    def __post_init__(self) -> None:
        if self.task.kind == "regression":
            return
        if self.label not in self.task.labels:
            raise InvalidInput(f"label {self.label!r} is not in task {self.task_name!r}: {list(self.task.labels)}.")

    @property
    def column(self) -> int:
        """Index of the label."""
        return self.task.labels.index(self.label)

    def probability(self, output: NetworkOutput) -> Tensor:
        """Return `(B,)` uncalibrated probability of the label; of "at least the label" for an ordinal task."""
        logits = output.logits[self.task_name]
        if self.task.kind == "regression":
            return logits[:, 0]
        values = probabilities(self.task, logits)
        if self.task.kind == "ordinal":
            return values[:, self.column :].sum(1)
        return values[:, self.column]

    def score(self, output: NetworkOutput) -> Tensor:
        """Return `(B,)` log-odds of `probability`, which do not saturate; the value itself for regression."""
        if self.task.kind == "regression":
            return self.probability(output)
        p = self.probability(output).double().clamp(1e-9, 1 - 1e-9)
        return torch.log(p) - torch.log1p(-p)
