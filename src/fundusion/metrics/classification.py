"""Metrics of labels and probabilities. Every function takes optional sample weights, so that a bootstrap needs no copies.

Source: definitions as in scikit-learn's user guide, chapter "Metrics and scoring"; expected calibration error Naeini et al. 2015,
doi:10.1609/aaai.v29i1.9602; weighted kappa Cohen 1968, doi:10.1037/h0026256.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Undefined:
    """A metric that has no value here, and why; false in a condition."""

    reason: str

    def __bool__(self) -> bool:
        return False


Value = float | Undefined

_ONE_CLASS = Undefined("only one class is present")
_EMPTY = Undefined("no study is annotated")


def _pair(target: npt.ArrayLike, score: npt.ArrayLike, weight: npt.ArrayLike | None) -> tuple[Array, Array, Array]:
    """Return target, score and weight of rows whose target is known."""
    y, s = np.asarray(target, np.float64), np.asarray(score, np.float64)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, np.float64)
    known = ~np.isnan(y)
    return y[known], s[known], w[known]


def auroc(target: npt.ArrayLike, score: npt.ArrayLike, *, weight: npt.ArrayLike | None = None) -> Value:
    """Return the area under the receiver operating characteristic; ties count one half.

    Args:
        target: 0, 1 or NaN (left out).
        score: Higher means more positive.
        weight: Not negative.

    Example:
        >>> auroc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
        0.75
        >>> auroc([1, 1], [0.2, 0.3])
        Undefined(reason='only one class is present')
    """
    y, s, w = _pair(target, score, weight)
    if len(y) == 0:
        return _EMPTY
    order = np.argsort(s, kind="stable")
    return _sorted_auroc(y[order], w[order], _tie_groups(s[order]))


def _tie_groups(ordered: Array) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.diff(ordered) > 0)]).astype(np.int64)


def _sorted_auroc(y: Array, w: Array, groups: npt.NDArray[np.int64]) -> Value:
    positive = np.bincount(groups, w * y)
    negative = np.bincount(groups, w * (1 - y))
    total = positive.sum() * negative.sum()
    if total <= 0:
        return _ONE_CLASS
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / total)


def auprc(target: npt.ArrayLike, score: npt.ArrayLike, *, weight: npt.ArrayLike | None = None) -> Value:
    """Return the average precision: the mean of precision over the recall gained at each threshold.

    Example:
        >>> round(auprc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
        0.8333
    """
    y, s, w = _pair(target, score, weight)
    if len(y) == 0:
        return _EMPTY
    hits, false, _ = _curve(y, s, w)
    if hits[-1] <= 0:
        return Undefined("no positive study is present")
    precision = hits / np.maximum(hits + false, 1e-300)
    gained = np.diff(np.concatenate([[0.0], hits])) / hits[-1]
    return float((precision * gained).sum())


def _curve(y: Array, s: Array, w: Array) -> tuple[Array, Array, Array]:
    """Return true and false positives at each distinct threshold, highest first, and the thresholds."""
    order = np.argsort(-s, kind="stable")
    y, s, w = y[order], s[order], w[order]
    last = np.flatnonzero(np.concatenate([np.diff(s) != 0, [True]]))
    return np.cumsum(w * y)[last], np.cumsum(w * (1 - y))[last], s[last]


def roc_curve(target: npt.ArrayLike, score: npt.ArrayLike) -> tuple[Array, Array]:
    """Return false positive rate and sensitivity along the thresholds, from (0, 0) to (1, 1); empty when not defined."""
    y, s, w = _pair(target, score, None)
    if len(y) == 0 or y.min() == y.max():
        return np.zeros(0), np.zeros(0)
    hits, false, _ = _curve(y, s, w)
    return np.concatenate([[0.0], false / false[-1]]), np.concatenate([[0.0], hits / hits[-1]])


def precision_recall_curve(target: npt.ArrayLike, score: npt.ArrayLike) -> tuple[Array, Array]:
    """Return recall and precision along the thresholds; empty when not defined."""
    y, s, w = _pair(target, score, None)
    if len(y) == 0 or y.max() == 0:
        return np.zeros(0), np.zeros(0)
    hits, false, _ = _curve(y, s, w)
    return hits / hits[-1], hits / (hits + false)


def sensitivity_at_specificity(
    target: npt.ArrayLike, score: npt.ArrayLike, *, specificity: float = 0.9, weight: npt.ArrayLike | None = None
) -> Value:
    """Return the greatest sensitivity of a threshold that keeps at least this specificity.

    Example:
        >>> sensitivity_at_specificity([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], specificity=1.0)
        0.5
    """
    y, s, w = _pair(target, score, weight)
    if len(y) == 0:
        return _EMPTY
    hits, false, _ = _curve(y, s, w)
    if hits[-1] <= 0 or false[-1] <= 0:
        return _ONE_CLASS
    allowed = 1 - false / false[-1] >= specificity - 1e-12
    return float((hits[allowed] / hits[-1]).max()) if allowed.any() else 0.0


def accuracy(target: npt.ArrayLike, label: npt.ArrayLike, *, weight: npt.ArrayLike | None = None) -> Value:
    """Return the share of studies whose label is right."""
    y, p, w = _pair(target, label, weight)
    return float((w * (y == p)).sum() / w.sum()) if w.sum() > 0 else _EMPTY


def confusion_matrix(
    target: npt.ArrayLike, label: npt.ArrayLike, *, classes: int, weight: npt.ArrayLike | None = None
) -> Array:
    """Return counts `(classes, classes)`, true class by row."""
    y, p, w = _pair(target, label, weight)
    cells = y.astype(np.int64) * classes + p.astype(np.int64)
    return np.bincount(cells, w, minlength=classes * classes).astype(np.float64).reshape(classes, classes)


def balanced_accuracy(
    target: npt.ArrayLike, label: npt.ArrayLike, *, classes: int, weight: npt.ArrayLike | None = None
) -> Value:
    """Return the mean recall over the classes that occur."""
    counts = confusion_matrix(target, label, classes=classes, weight=weight)
    rows = counts.sum(1)
    return float((np.diag(counts)[rows > 0] / rows[rows > 0]).mean()) if rows.sum() > 0 else _EMPTY


def f1(target: npt.ArrayLike, positive: npt.ArrayLike, *, weight: npt.ArrayLike | None = None) -> Value:
    """Return the harmonic mean of precision and recall of a yes/no decision."""
    y, p, w = _pair(target, positive, weight)
    hits, wrong = (w * y * p).sum(), (w * np.abs(y - p)).sum()
    return float(2 * hits / (2 * hits + wrong)) if 2 * hits + wrong > 0 else Undefined("nothing is positive")


def sensitivity(target: npt.ArrayLike, positive: npt.ArrayLike, *, weight: npt.ArrayLike | None = None) -> Value:
    """Return the share of positive studies that are called positive."""
    y, p, w = _pair(target, positive, weight)
    total = (w * y).sum()
    return float((w * y * p).sum() / total) if total > 0 else Undefined("no positive study is present")


def specificity(target: npt.ArrayLike, positive: npt.ArrayLike, *, weight: npt.ArrayLike | None = None) -> Value:
    """Return the share of negative studies that are called negative."""
    y, p, w = _pair(target, positive, weight)
    total = (w * (1 - y)).sum()
    return float((w * (1 - y) * (1 - p)).sum() / total) if total > 0 else Undefined("no negative study is present")


def quadratic_kappa(
    target: npt.ArrayLike, label: npt.ArrayLike, *, classes: int, weight: npt.ArrayLike | None = None
) -> Value:
    """Return Cohen's kappa with quadratic weights.

    Example:
        >>> quadratic_kappa([0, 1, 2], [0, 1, 2], classes=3)
        1.0
    """
    counts = confusion_matrix(target, label, classes=classes, weight=weight)
    total = counts.sum()
    if total <= 0:
        return _EMPTY
    grades = np.arange(classes)
    distance = (grades[:, None] - grades) ** 2
    expected = np.outer(counts.sum(1), counts.sum(0)) / total
    chance = (distance * expected).sum()
    if chance <= 0:
        return Undefined("one grade only")
    return float(1 - (distance * counts).sum() / chance)


def brier(target: npt.ArrayLike, probability: npt.ArrayLike, *, weight: npt.ArrayLike | None = None) -> Value:
    """Return the mean squared error of a probability."""
    y, p, w = _pair(target, probability, weight)
    return float((w * (p - y) ** 2).sum() / w.sum()) if w.sum() > 0 else _EMPTY


def expected_calibration_error(
    target: npt.ArrayLike, probability: npt.ArrayLike, *, bins: int = 10, weight: npt.ArrayLike | None = None
) -> Value:
    """Return the mean gap between probability and frequency over bins of equal mass."""
    y, p, w = _pair(target, probability, weight)
    if w.sum() <= 0:
        return _EMPTY
    order = np.argsort(p, kind="stable")
    y, p, w = y[order], p[order], w[order]
    place = np.minimum((np.cumsum(w) - w / 2) / w.sum() * bins, bins - 1e-9).astype(np.int64)
    mass = np.bincount(place, w, minlength=bins)
    gap = np.abs(np.bincount(place, w * p, minlength=bins) - np.bincount(place, w * y, minlength=bins))
    return float(gap.sum() / mass.sum())


def reliability_bins(
    target: npt.ArrayLike, probability: npt.ArrayLike, *, bins: int = 10
) -> tuple[Array, Array, Array]:
    """Return mean probability, observed frequency and count of bins of equal mass that are not empty."""
    y, p, _ = _pair(target, probability, None)
    parts = [q for q in np.array_split(np.argsort(p, kind="stable"), bins) if len(q)]
    means = np.asarray([p[q].mean() for q in parts])
    seen = np.asarray([y[q].mean() for q in parts])
    return means, seen, np.asarray([float(len(q)) for q in parts])


def mean_absolute_error(target: npt.ArrayLike, value: npt.ArrayLike, *, weight: npt.ArrayLike | None = None) -> Value:
    """Return the mean absolute error, in the unit of the target (grades for an ordinal one)."""
    y, p, w = _pair(target, value, weight)
    return float((w * np.abs(y - p)).sum() / w.sum()) if w.sum() > 0 else _EMPTY


def r_squared(target: npt.ArrayLike, value: npt.ArrayLike, *, weight: npt.ArrayLike | None = None) -> Value:
    """Return the share of variance explained."""
    y, p, w = _pair(target, value, weight)
    if w.sum() <= 0:
        return _EMPTY
    spread = (w * (y - (w * y).sum() / w.sum()) ** 2).sum()
    return float(1 - (w * (y - p) ** 2).sum() / spread) if spread > 0 else Undefined("the target is constant")


def macro(values: list[Value]) -> Value:
    """Return the mean over the values that are defined.

    Example:
        >>> macro([0.5, Undefined("one class"), 0.7])
        0.6
    """
    known = [v for v in values if not isinstance(v, Undefined)]
    return float(np.mean(known)) if known else Undefined("no label is defined")
