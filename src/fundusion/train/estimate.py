"""How long a run will take, measured before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import torch

from ..layers.precision import usable_precision
from .checkpoint import load_checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Time a run will take, measured on this machine before it starts.

    Args:
        steps: Steps that are left.
        seconds: Of one step: smallest, middle, largest of those measured.
    """

    steps: int
    seconds: tuple[float, float, float]

    def __str__(self) -> str:
        low, middle, high = (_clock(s * self.steps) for s in self.seconds)
        return (
            f"about {middle} for {self.steps} steps ({low} to {high}; measured: {self.seconds[1]:.2f} s a step). "
            "Validation and pictures come on top."
        )


def _clock(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def estimate(run: Any, *, trials: int = 3) -> Estimate:
    """Return the time that is left, from real steps on a copy of everything: nothing of the run changes.

    Args:
        run: A job of the loop with `probe()`, which gives the copy.
        trials: Steps that are measured; one more goes before them.
    """
    settings = run.settings
    probe = run.probe()
    probe.modules().to(settings.device)
    step, rows = probe.step(), run.training[: settings.batch_size]
    optimizer = torch.optim.AdamW(probe.groups(), lr=1e-6)
    times = []
    low = usable_precision(settings.precision, settings.device) == "bf16"
    for i in range(trials + 1):
        began = time.monotonic()
        for _ in range(settings.accumulate):
            with torch.autocast(settings.device.partition(":")[0], torch.bfloat16, enabled=low):
                loss = step.loss(step.batch(rows, i, None).to(settings.device), i)
            loss.total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.monotonic() - began)
    # The first one also loads kernels.
    measured = sorted(times[1:])
    per_epoch = len(run.training) // settings.batch_size // settings.accumulate
    known = load_checkpoint(run.folder)
    done = int(known[0]["step"]) if known else 0
    steps = max(0, per_epoch * len(settings.plan) - done)
    return Estimate(steps=steps, seconds=(measured[0], measured[len(measured) // 2], measured[-1]))
