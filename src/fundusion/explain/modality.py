"""Share of each modality: ablation and Shapley value, by fusing again what is already encoded."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.interfaces import Features, NetworkOutput
from .target import Target

Fuse = Callable[[Mapping[str, Features], Mapping[str, Tensor]], NetworkOutput]

#: Most modalities for which every subset is asked; above it permutations are sampled.
EXACT_LIMIT = 5


@torch.no_grad()
def modality_shapley(
    features: Mapping[str, Features],
    presence: Mapping[str, Tensor],
    target: Target,
    *,
    fuse: Fuse,
    baseline: float,
    samples: int = 64,
    seed: int = 0,
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the signed Shapley value of each modality in probability of the target.

    The players of a study are its present modalities; the worth of a coalition is the probability the network gives
    when only that coalition is present, and of the empty one `baseline`. The values of a study sum to its probability
    minus the baseline. Exact for up to five present modalities; else permutations are sampled.

    Args:
        features: Result of `network.encode`.
        presence: Modality to bool `(B,)`.
        target: What is explained.
        fuse: `network.fuse`.
        baseline: Probability of the target when nothing is known: its prevalence in training.
        samples: Permutations per study above the exact limit.
        seed: Of the permutations.

    Returns:
        Modality to float64 `(B,)`; NaN where the modality is absent.

    Source:
        Shapley 1953; sampling after Castro et al. 2009, doi:10.1016/j.cor.2008.04.004.
    """
    names = [m for m in presence if m in features]
    there = torch.stack([presence[m] for m in names], 1)
    rows = there.shape[0]
    worth_of: dict[frozenset[int], npt.NDArray[np.float64]] = {}

    def worth(coalition: frozenset[int]) -> npt.NDArray[np.float64]:
        """Probability per row with only the coalition's modalities that the row has; baseline where none is left."""
        if coalition not in worth_of:
            keep = there & torch.tensor([i in coalition for i in range(len(names))], device=there.device)
            some = keep.any(1)
            answer = np.full(rows, baseline)
            if bool(some.any()):
                picked = {m: keep[:, i] for i, m in enumerate(names)}
                # Rows without the coalition lend another row's presence so that one call serves all; unused after.
                fallback = {m: torch.where(some, p, there[:, i]) for i, (m, p) in enumerate(picked.items())}
                values = target.probability(fuse(features, fallback)).double().numpy(force=True)
                answer[some.numpy(force=True)] = values[some.numpy(force=True)]
            worth_of[coalition] = answer
        return worth_of[coalition]

    values = np.zeros((rows, len(names)))
    if len(names) <= EXACT_LIMIT:
        n = len(names)
        for i in range(n):
            rest = [j for j in range(n) if j != i]
            for size in range(n):
                weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
                for chosen in itertools.combinations(rest, size):
                    without = frozenset(chosen)
                    values[:, i] += weight * (worth(without | {i}) - worth(without))
    else:
        generator = np.random.default_rng(seed)
        for _ in range(samples):
            order = generator.permutation(len(names)).tolist()
            for position, i in enumerate(order):
                before = frozenset(order[:position])
                values[:, i] += (worth(before | {i}) - worth(before)) / samples
    absent = ~there.numpy(force=True)
    values[absent] = np.nan
    return {m: values[:, i] for i, m in enumerate(names)}


def shares_of(shapley: Mapping[str, float]) -> dict[str, float]:
    """Return absolute Shapley values scaled to sum to one; equal shares when all are zero.

    Example:
        >>> shares_of({"cfp": 0.375, "table": -0.125})
        {'cfp': 0.75, 'table': 0.25}
    """
    known = {m: abs(v) for m, v in shapley.items() if not math.isnan(v)}
    total = sum(known.values())
    if total <= 1e-12:
        return {m: 1.0 / len(known) for m in known}
    return {m: v / total for m, v in known.items()}


@torch.no_grad()
def modality_ablation(
    features: Mapping[str, Features], presence: Mapping[str, Tensor], target: Target, *, fuse: Fuse
) -> dict[str, npt.NDArray[np.float64]]:
    """Return by how much the probability falls when one modality is taken away.

    Returns:
        Modality to float64 `(B,)`; NaN where it is absent or the only one.
    """
    names = [m for m in presence if m in features]
    full = target.probability(fuse(features, {m: presence[m] for m in names})).double().numpy(force=True)
    result = {}
    for name in names:
        others = {m: presence[m] for m in names if m != name}
        left = torch.stack(list(others.values())).any(0) if others else torch.zeros_like(presence[name])
        change = np.full(full.shape, np.nan)
        usable = (left & presence[name]).numpy(force=True)
        if usable.any():
            reduced = {m: torch.where(left, p, presence[m]) for m, p in others.items()}
            reduced[name] = presence[name] & ~left
            without = target.probability(fuse(features, reduced)).double().numpy(force=True)
            change[usable] = (full - without)[usable]
        result[name] = change
    return result
