"""What the training jobs have in common: facts about a run, and weights that decay."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from torch import nn

from .config import FitConfig


class PlainJob:
    """A job whose configuration is one model and whose data says what it is; see `loop.Job`."""

    __slots__ = ()

    config: Any
    data: Any

    @property
    def settings(self) -> FitConfig:
        """The optimisation."""
        found: FitConfig = self.config.train
        return found

    @property
    def digests(self) -> dict[str, str]:
        """Of configuration and data."""
        return {"config": self.config.digest(), "data": self.data.digest}

    @property
    def rejected(self) -> int:
        """Items left out in reading."""
        return len(self.data.rejected)

    def toml(self) -> str:
        """Return the configuration as JSON behind a comment sign, which is TOML too."""
        return "# " + json.dumps(self.config.model_dump(mode="json"), sort_keys=True) + "\n"

    def training_mode(self, trained: nn.ModuleDict, epoch: int) -> None:
        """Switch dropout and the statistics of batches on."""
        trained.train()

    def after_step(self, step: int, total: int) -> None:
        """Nothing follows an optimiser step."""


def decayed_groups(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Return parameter groups of what learns: weight decay on matrices and kernels only.

    Example:
        >>> layer = nn.Linear(2, 3)
        >>> [(len(g["params"]), g["weight_decay"]) for g in decayed_groups(layer.parameters(), 0.1)]
        [(1, 0.1), (1, 0.0)]
    """
    free = [p for p in parameters if p.requires_grad]
    parts = (([p for p in free if p.ndim > 1], weight_decay), ([p for p in free if p.ndim <= 1], 0.0))
    return [{"params": p, "weight_decay": decay, "factor": 1.0} for p, decay in parts if p]
