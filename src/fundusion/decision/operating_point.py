"""Thresholds from held-out patients, and the decision they give.

Source: Youden 1950, doi:10.1002/1097-0142(1950)3:1<32; thresholds for a target sensitivity as screening programmes state them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from ..core.tasks import Task

#: Within this factor in odds of the threshold a finding is called uncertain.
UNCERTAIN_ODDS = 1.35


def choose_threshold(
    target: npt.ArrayLike, score: npt.ArrayLike, *, rule: str = "youden", value: float = 0.9
) -> float | None:
    """Return the probability from which on the answer is positive; None when a class is missing.

    Args:
        target: 0, 1 or NaN.
        score: Probabilities.
        rule: "youden", "sensitivity" (the highest threshold that reaches `value`), "specificity" (the lowest), "f1".
        value: For sensitivity and specificity.

    Example:
        >>> choose_threshold([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.9])
        0.5
    """
    known = ~np.isnan(np.asarray(target, np.float64))
    p = np.asarray(score, np.float64)[known]
    y = np.asarray(target, np.float64)[known] > 0.5
    if y.all() or not y.any():
        return None
    levels = np.unique(p)
    # Between two seen values any threshold decides alike; the middle is the least tied to single eyes.
    cuts = np.concatenate([[levels[0] / 2], (levels[1:] + levels[:-1]) / 2, [(levels[-1] + 1) / 2]])
    order = np.sort(p[y]), np.sort(p[~y])
    sensitivity = 1 - np.searchsorted(order[0], cuts) / len(order[0])
    specificity = np.searchsorted(order[1], cuts) / len(order[1])
    if rule == "youden":
        return float(cuts[int(np.argmax(sensitivity + specificity))])
    if rule == "f1":
        hits, false = sensitivity * y.sum(), (1 - specificity) * (~y).sum()
        return float(cuts[int(np.argmax(2 * hits / np.maximum(hits + false + y.sum(), 1e-9)))])
    if rule == "sensitivity":
        return float(cuts[np.flatnonzero(sensitivity >= value - 1e-12)[-1]])
    if rule == "specificity":
        return float(cuts[np.flatnonzero(specificity >= value - 1e-12)[0]])
    raise InvalidInput(f"rule {rule!r} is not 'youden', 'sensitivity', 'specificity' or 'f1'.")


def fit_thresholds(
    task: Task, probabilities: npt.ArrayLike, targets: npt.ArrayLike, *, rule: str = "youden", value: float = 0.9
) -> dict[str, float]:
    """Return a threshold per label: of each label (multi-label), of the positive one (binary), else none.

    A label with one class only in the held-out part keeps 0.5.
    """
    p, y = np.asarray(probabilities, np.float64), np.asarray(targets, np.float64)
    if task.kind == "multilabel":
        found = {k: choose_threshold(y[:, i], p[:, i], rule=rule, value=value) for i, k in enumerate(task.labels)}
        return {k: 0.5 if t is None else t for k, t in found.items()}
    if task.kind == "binary":
        t = choose_threshold(y, p[:, 1], rule=rule, value=value)
        return {task.labels[1]: 0.5 if t is None else t}
    return {}


def decide(
    task: Task, probabilities: Mapping[str, float], thresholds: Mapping[str, float]
) -> tuple[str | None, str | None]:
    """Return the label and the decision for named probabilities.

    Multi-label: labels over their thresholds joined by "|" (None if none), decision "positive", "negative" or
    "uncertain" (a label lies near its threshold and none is clearly over). Binary: "positive", "negative", "uncertain".
    Ordinal: the median grade, the smallest whose cumulated probability reaches one half. Multi-class: the most probable.

    Example:
        >>> from fundusion.core.tasks import Ordinal
        >>> decide(Ordinal(3), {"0": 0.4, "1": 0.3, "2": 0.3}, {})
        ('1', '1')
    """
    if task.kind == "multiclass":
        label = max(task.labels, key=lambda k: probabilities[k])
        return label, label
    if task.kind == "ordinal":
        total = 0.0
        for label in task.labels:
            total += probabilities[label]
            if total >= 0.5:
                return label, label
        return task.labels[-1], task.labels[-1]
    if task.kind == "binary":
        positive = task.labels[1]
        verdict = status(probabilities[positive], thresholds.get(positive, 0.5))
        is_over = probabilities[positive] >= thresholds.get(positive, 0.5)
        return (positive if is_over else task.labels[0]), verdict
    over = [k for k in task.labels if probabilities[k] >= thresholds.get(k, 0.5)]
    verdicts = {k: status(probabilities[k], thresholds.get(k, 0.5)) for k in task.labels}
    if any(verdicts[k] == "positive" for k in over):
        decision = "positive"
    else:
        decision = "uncertain" if "uncertain" in verdicts.values() else "negative"
    return ("|".join(over) or None), decision


def status(probability: float, threshold: float, *, odds: float = UNCERTAIN_ODDS) -> str:
    """Return "positive", "negative", or "uncertain" when the odds are within a factor of those of the threshold.

    Example:
        >>> status(0.9, 0.5), status(0.1, 0.5), status(0.55, 0.5)
        ('positive', 'negative', 'uncertain')
    """
    p = min(max(probability, 1e-9), 1 - 1e-9)
    t = min(max(threshold, 1e-9), 1 - 1e-9)
    distance = np.log(p / (1 - p)) - np.log(t / (1 - t))
    if abs(distance) < np.log(odds):
        return "uncertain"
    return "positive" if distance > 0 else "negative"
