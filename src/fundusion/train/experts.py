"""Heads of an encoder that has nothing to train are fitted exactly: ridge logistic regression, strength by cross-validation.

Gradient steps tuned for an image encoder leave a table's head noisy, and noise of a weak modality costs the fused answer
more than the modality adds. The problem is convex, so it is solved.

Source: ridge logistic regression, le Cessie and van Houwelingen 1992, doi:10.2307/2347628.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from ..core.vocabulary import TABLE
from ..decision.calibration import sigmoid
from ..network import MultimodalNetwork
from .data import PreparedSet
from .evaluation import events_of

Array = npt.NDArray[np.float64]

#: Strengths that are tried, in units of one study per standardised feature.
RIDGES = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0)
FOLDS = 5


@torch.no_grad()
def fit_linear_experts(network: MultimodalNetwork, data: PreparedSet, training: npt.NDArray[np.int64]) -> None:
    """Fit the table's heads of a decision-level network in place, when its table encoder has nothing to train.

    Args:
        network: Changed: scale of the encoder, weights and biases of its heads.
        data: Prepared studies.
        training: Rows that may be learned from.
    """
    if TABLE not in network.encoders or not network.decision_level:
        return
    encoder = network.encoders[TABLE]
    if list(encoder.parameters()) or data.table is None or data.table_mask is None:
        return
    rows = training[data.table_mask[training].any(1)]
    table, mask = torch.from_numpy(data.table[rows]), torch.from_numpy(data.table_mask[rows])
    encoder.fit_scale(table, mask)
    x = encoder.encode_table(table, mask).pooled.double().numpy()
    groups = np.unique([data.groups[i] for i in rows], return_inverse=True)[1]
    for name, task in network.spec.tasks.items():
        head = network.heads[name][TABLE]
        if task.kind == "regression" or head.is_coral:
            continue
        events = events_of(task, np.asarray(data.targets[name][rows], np.float64))
        ridge = best_ridge(x, events, groups)
        for k in range(events.shape[1]):
            weights, bias = ridge_logistic(x, events[:, k], ridge=ridge)
            head.linear.weight[k] = torch.from_numpy(weights).float()
            head.linear.bias[k] = float(bias)


def best_ridge(x: Array, events: Array, groups: npt.NDArray[np.int64]) -> float:
    """Return the strength with the least log loss on left-out patients, summed over events."""
    fold = np.random.default_rng(0).permutation(int(groups.max()) + 1)[groups] % FOLDS
    losses = []
    for ridge in RIDGES:
        total = 0.0
        for k in range(events.shape[1]):
            for f in range(FOLDS):
                inside, outside = fold != f, (fold == f) & ~np.isnan(events[:, k])
                weights, bias = ridge_logistic(x[inside], events[inside, k], ridge=ridge)
                z, y = x[outside] @ weights + bias, events[outside, k]
                total += float((np.logaddexp(0, z) - y * z).sum())
        losses.append(total)
    return RIDGES[int(np.argmin(losses))]


def ridge_logistic(x: Array, y: Array, *, ridge: float) -> tuple[Array, float]:
    """Return weights and bias of a logistic model on known rows; weights are pulled to zero, the bias is free.

    With one class only the weights are zero and the bias is the smoothed log odds.
    """
    known = ~np.isnan(y)
    x, y = x[known], y[known]
    rate = (y.sum() + 0.5) / (len(y) + 1)
    theta = np.zeros(x.shape[1] + 1)
    theta[-1] = np.log(rate / (1 - rate))
    if len(y) == 0 or y.min() == y.max():
        return theta[:-1], float(theta[-1])
    design = np.concatenate([x, np.ones((len(x), 1))], 1)
    penalty = np.concatenate([np.full(x.shape[1], ridge), [0.0]])
    for _ in range(50):
        p = sigmoid(design @ theta)
        gradient = design.T @ (p - y) + penalty * theta
        hessian = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        # The bias starts at the log odds and the pull keeps weights small; longer steps are cut all the same.
        theta -= step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return theta[:-1], float(theta[-1])
