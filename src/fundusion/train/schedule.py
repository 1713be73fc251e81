"""Learning rate and moving average as functions of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn


def rate_at(step: int, total: int, *, warmup: int, schedule: str) -> float:
    """Return the factor of the learning rate at a step.

    Example:
        >>> rate_at(0, 100, warmup=10, schedule="cosine"), rate_at(100, 100, warmup=10, schedule="cosine")
        (0.1, 0.001)
    """
    ramp = min(1.0, (step + 1) / max(1, warmup))
    if schedule != "cosine":
        return ramp
    return ramp * max(0.001, 0.5 * (1 + math.cos(math.pi * min(step, total) / max(1, total))))


def plateau_factor(scores: Sequence[float], *, factor: float, patience: int) -> float:
    """Return the factor of the learning rate after epochs with these validation metrics: smaller each time no better one came for a while.

    Source: the published training of CABNet (0.8, 3 epochs); counting as in Keras, which starts anew after each reduction.

    Example:
        >>> plateau_factor([0.5, 0.6, 0.6, 0.5, 0.4], factor=0.8, patience=3)
        0.8
    """
    best, waited, rate = -math.inf, 0, 1.0
    for score in scores:
        if score > best:
            best, waited = score, 0
            continue
        waited += 1
        if waited >= patience:
            rate, waited = rate * factor, 0
    return rate


def decay_at(step: int, total: int, *, start: float, end: float | None) -> float:
    """Return the weight decay at a step: constant, or from `start` to `end` along a cosine.

    Source: Caron et al. 2021, arXiv:2104.14294, section 3.2: 0.04 to 0.4; also in iBOT and VisionFM.

    Example:
        >>> [round(decay_at(s, 100, start=0.04, end=0.4), 4) for s in (0, 50, 100)], decay_at(50, 100, start=0.05, end=None)
        ([0.04, 0.22, 0.4], 0.05)
    """
    if end is None:
        return start
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * min(step, total) / max(1, total)))


class MovingAverage:
    """Exponential moving average of parameters and buffers; quick at first, so that the start is forgotten.

    Source: Polyak and Juditsky 1992, doi:10.1137/0330046; the warm-up of the decay as in timm and TensorFlow.
    """

    def __init__(self, average: nn.Module, *, decay: float) -> None:
        self.module = average.eval()
        self.decay = decay
        for parameter in average.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards a module."""
        decay = min(self.decay, (1 + step) / (10 + step))
        mine = self.module.state_dict()
        floats, targets = [], []
        for name, value in module.state_dict().items():
            if value.dtype.is_floating_point:
                floats.append(mine[name])
                targets.append(value)
            else:
                mine[name].copy_(value)
        torch._foreach_lerp_(floats, targets, 1 - decay)
