"""Logits -> calibrated probabilities; the scale is fitted on held-out patients.

Source: temperature scaling Guo et al. 2017, arXiv:1706.04599; per-label scale and bias Platt 1999; CORN Shi et al. 2023,
doi:10.1007/s10044-023-01181-9; CORAL Cao et al. 2020, doi:10.1016/j.patrec.2020.11.008.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from ..core.tasks import Task

Array = npt.NDArray[np.float64]


def sigmoid(x: npt.ArrayLike) -> Array:
    """Return the logistic function without overflow.

    Example:
        >>> sigmoid([-1000.0, 0.0, 1000.0]).tolist()
        [0.0, 0.5, 1.0]
    """
    z = np.asarray(x, np.float64)
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def softmax(x: npt.ArrayLike) -> Array:
    """Return the softmax over the last axis without overflow."""
    z = np.asarray(x, np.float64)
    e = np.exp(z - z.max(-1, keepdims=True))
    return np.asarray(e / e.sum(-1, keepdims=True), np.float64)


def probabilities_from_logits(task: Task, logits: npt.ArrayLike) -> Array:
    """Return `(B, number of labels)` probabilities; binary gives (negative, positive).

    Raises:
        InvalidInput: Not finite (`model.not_finite`; a NaN never becomes a class), of another shape, or a regression.

    Example:
        >>> from fundusion.core.tasks import Ordinal
        >>> probabilities_from_logits(Ordinal(3), [[0.0, 0.0]]).tolist()
        [[0.5, 0.25, 0.25]]
    """
    z = np.atleast_2d(np.asarray(logits, np.float64))
    if task.kind == "regression":
        raise InvalidInput("a regression has a value, not probabilities.")
    if z.shape[1] != task.outputs:
        raise InvalidInput(
            f"a {task.kind} task with {len(task.labels)} labels has {task.outputs} logits, got {z.shape[1]}."
        )
    if not np.isfinite(z).all():
        raise InvalidInput("logits are not finite.", code="model.not_finite")
    if task.kind == "binary":
        p = sigmoid(z[:, 0])
        return np.stack([1 - p, p], 1)
    if task.kind == "multiclass":
        return softmax(z)
    if task.kind == "multilabel":
        return sigmoid(z)
    each = sigmoid(z)
    above = np.asarray(np.cumprod(each, 1) if task.method == "corn" else np.minimum.accumulate(each, 1), np.float64)
    bounds: Array = np.concatenate([np.ones((len(z), 1)), above, np.zeros((len(z), 1))], 1)
    return bounds[:, :-1] - bounds[:, 1:]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """Scale and bias per logit, applied before the rule from logits to probabilities."""

    scale: tuple[float, ...]
    bias: tuple[float, ...]
    n: int = 0

    def apply(self, task: Task, logits: npt.ArrayLike) -> Array:
        """Return calibrated probabilities; shapes and errors as in `probabilities_from_logits`."""
        z = np.atleast_2d(np.asarray(logits, np.float64))
        return probabilities_from_logits(task, z * np.asarray(self.scale) + np.asarray(self.bias))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {"scale": list(self.scale), "bias": list(self.bias), "n": self.n}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Calibration:
        """Return the calibration of a `to_dict` form."""
        return Calibration(scale=tuple(value["scale"]), bias=tuple(value["bias"]), n=int(value.get("n", 0)))


def fit_platt(
    logits: npt.ArrayLike, target: npt.ArrayLike, *, ridge: float = 1.0, weights: npt.ArrayLike | None = None
) -> tuple[Array, float]:
    """Return non-negative scales `(P,)` and a bias of a logistic model on known entries, by Newton steps.

    Args:
        logits: `(n,)` or `(n, P)`: one or several scores of the same event.
        target: 0, 1 or NaN (not annotated).
        ridge: Pull of the scales towards one; the answer for no data is scale one, bias zero.
        weights: Weight per row.
    """
    z = np.asarray(logits, np.float64)
    z = z[:, None] if z.ndim == 1 else z
    y = np.asarray(target, np.float64)
    known = ~np.isnan(y)
    z, y = z[known], y[known]
    w = np.ones(len(y)) if weights is None else np.asarray(weights, np.float64)[known]
    count = z.shape[1]
    x = np.concatenate([z, np.ones((len(z), 1))], 1)
    penalty = np.concatenate([np.full(count, ridge), [1e-3]])
    theta = _newton(x, y, w, np.concatenate([np.ones(count), [0.0]]), penalty, count)
    return theta[:count], float(theta[count])


def fit_platt_shared(logits: npt.ArrayLike, target: npt.ArrayLike, *, ridge: float = 3.0) -> tuple[Array, Array]:
    """Return scales `(P,)` shared by all events and a bias per event `(K,)`.

    A weight per event and score is noise where an event is rare; one weight per score is fitted on all events together.

    Args:
        logits: `(n, K, P)`: P scores of each of K events.
        target: `(n, K)`: 0, 1 or NaN.
        ridge: Pull of the scales towards one.
    """
    z, y = np.asarray(logits, np.float64), np.asarray(target, np.float64)
    count, scores = z.shape[1:]
    rows, events = np.nonzero(~np.isnan(y))
    x = np.concatenate([z[rows, events], np.eye(count)[events]], 1)
    start = np.concatenate([np.ones(scores), np.zeros(count)])
    penalty = np.concatenate([np.full(scores, ridge), np.full(count, 1e-3)])
    theta = _newton(x, y[rows, events], np.ones(len(rows)), start, penalty, scores)
    return theta[:scores], theta[scores:]


def _newton(x: Array, y: Array, w: Array, start: Array, penalty: Array, scales: int) -> Array:
    """Return the penalised logistic fit; all entries are pulled to `start`, the first `scales` are never negative."""
    theta = start.copy()
    for _ in range(100):
        p = sigmoid(x @ theta)
        gradient = x.T @ (w * (p - y)) + penalty * (theta - start)
        hessian = (x * (w * p * (1 - p))[:, None]).T @ x + np.diag(penalty + 1e-9)
        step = np.linalg.solve(hessian, gradient)
        # Far from the optimum a full Newton step overshoots; it is halved until the objective falls.
        before = _objective(x, y, w, theta, start, penalty)
        while _objective(x, y, w, theta - step, start, penalty) > before + 1e-12 and np.abs(step).max() > 1e-10:
            step = step / 2
        theta = theta - step
        theta[:scales] = np.maximum(theta[:scales], 0.0)
        if np.abs(step).max() < 1e-8:
            break
    return theta


def _objective(x: Array, y: Array, w: Array, theta: Array, start: Array, penalty: Array) -> float:
    z = x @ theta
    loss = np.logaddexp(0.0, z) - y * z
    return float((w * loss).sum() + 0.5 * (penalty * (theta - start) ** 2).sum())


def fit_calibration(task: Task, logits: npt.ArrayLike, targets: npt.ArrayLike) -> Calibration:
    """Return the calibration of a task from held-out patients.

    Binary, multi-label and ordinal: scale and bias per logit (an ordinal threshold is fitted on the studies it is
    asked for). Multi-class: one temperature.

    Args:
        task: What the head answers; not a regression.
        logits: `(n, K)`.
        targets: `(n,)` or, multi-label, `(n, K)`; NaN means not annotated.
    """
    z = np.asarray(logits, np.float64)
    y = np.asarray(targets, np.float64)
    if task.kind == "multiclass":
        return _fit_temperature(z, y)
    columns = y[:, None] if task.kind == "binary" else y
    if task.kind == "ordinal":
        steps = np.arange(z.shape[1])
        columns = (y[:, None] > steps).astype(np.float64)
        asked = y[:, None] >= steps if task.method == "corn" else np.ones_like(columns, bool)
        columns[~asked | np.isnan(y)[:, None]] = np.nan
    fits = [fit_platt(z[:, k], columns[:, k]) for k in range(z.shape[1])]
    return Calibration(
        scale=tuple(float(s[0]) for s, _ in fits),
        bias=tuple(b for _, b in fits),
        n=int((~np.isnan(columns)).any(1).sum()),
    )


def _fit_temperature(z: Array, y: Array) -> Calibration:
    known = ~np.isnan(y)
    z, y = z[known], y[known].astype(int)
    count = z.shape[1]
    if len(y) == 0:
        return Calibration(scale=(1.0,) * count, bias=(0.0,) * count)

    def loss(log_scale: float) -> float:
        p = softmax(z * np.exp(log_scale))
        return float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-12)).mean() + 1e-3 * log_scale**2)

    grid = np.linspace(-3, 3, 61)
    best = grid[int(np.argmin([loss(g) for g in grid]))]
    fine = np.linspace(best - 0.1, best + 0.1, 41)
    scale = float(np.exp(fine[int(np.argmin([loss(g) for g in fine]))]))
    return Calibration(scale=(scale,) * count, bias=(0.0,) * count, n=len(y))


def fit_vector_scaling(logits: npt.ArrayLike, targets: npt.ArrayLike, *, ridge: float = 1.0) -> Calibration:
    """Return one scale and a bias per class of a softmax, from few eyes.

    Classes count as if one more eye of each had been seen, so that three eyes of one class are not certainty; the scale is pulled to one.
    No eyes change nothing.

    Args:
        logits: `(n, K)`.
        targets: `(n,)` class index; NaN means not annotated.
        ridge: Pull of the scale, in eyes.

    Source:
        Vector scaling, Guo et al. 2017, arXiv:1706.04599, with one scale for all classes; targets of few eyes after Platt 1999, section 2.2.

    Example:
        >>> fit_vector_scaling(np.zeros((0, 3)), []).bias
        (0.0, 0.0, 0.0)
    """
    z, y = np.atleast_2d(np.asarray(logits, np.float64)), np.asarray(targets, np.float64)
    known = ~np.isnan(y)
    z, y = z[known], y[known].astype(int)
    count = z.shape[1]
    wanted = (np.eye(count)[y] * len(y) + 1) / (len(y) + count)
    start = np.concatenate([[1.0], np.zeros(count)])
    # Biases are free but for a common part, which changes nothing.
    penalty = np.concatenate([[ridge], np.full(count, 1e-3)])

    def loss(t: Array) -> float:
        scores = z * t[0] + t[1:]
        top = scores.max(1, keepdims=True) if len(scores) else scores
        logs = scores - top - np.log(np.exp(scores - top).sum(1, keepdims=True))
        return float(-(wanted * logs).sum() + 0.5 * (penalty * (t - start) ** 2).sum())

    theta = start.copy()
    for _ in range(100):
        p = softmax(z * theta[0] + theta[1:]) if len(z) else z
        gradient = np.concatenate([[((p - wanted) * z).sum()], (p - wanted).sum(0)]) + penalty * (theta - start)
        # The Hessian is the covariance of the design (z of the class, the class) under p, summed over eyes.
        mean = np.concatenate([(p * z).sum(1, keepdims=True), p], 1)
        hessian = np.diag(np.concatenate([[(p * z * z).sum()], p.sum(0)]))
        hessian[0, 1:] = hessian[1:, 0] = (p * z).sum(0)
        step = np.linalg.solve(hessian - mean.T @ mean + np.diag(penalty), gradient)
        while loss(theta - step) > loss(theta) + 1e-12 and np.abs(step).max() > 1e-10:
            step = step / 2
        theta = theta - step
        theta[0] = max(theta[0], 0.0)
        if np.abs(step).max() < 1e-8:
            break
    return Calibration(scale=(float(theta[0]),) * count, bias=tuple(float(b) for b in theta[1:]), n=len(y))
