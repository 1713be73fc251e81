"""Intervals and comparisons over patients, not over eyes: both eyes of a patient are drawn together.

Source: cluster bootstrap, Field and Welsh 2007, doi:10.1111/j.1467-9868.2007.00593.x; DeLong et al. 1988, doi:10.2307/2531595, with the fast
midranks of Sun and Xu 2014, doi:10.1109/LSP.2014.2337313.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .classification import Undefined, Value, auroc

#: A metric of weights per study.
Weighted = Callable[[npt.NDArray[np.float64]], Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its interval.

    Args:
        value: On all studies; None when not defined.
        low: Of the interval; None when fewer than half of the resamples are defined.
        high: Of the interval.
        n: Studies.
        groups: Patients.
        reason: Why there is no value or no interval.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    groups: int = 0
    reason: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form: the value with its interval, or `undefined` with the reason."""
        if self.value is None:
            return {"undefined": self.reason or "not defined", "n": self.n, "n_patients": self.groups}
        answer: dict[str, Any] = {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n": self.n,
            "n_patients": self.groups,
        }
        return answer if self.reason is None else {**answer, "note": self.reason}


def resample_weights(groups: Sequence[str], count: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return `(count, n)` weights: how often each study's patient was drawn.

    Example:
        >>> w = resample_weights(["a", "a", "b"], 5, np.random.default_rng(0))
        >>> bool((w[:, 0] == w[:, 1]).all())
        True
    """
    _, index = np.unique(np.asarray(groups), return_inverse=True)
    total = int(index.max()) + 1
    drawn = generator.multinomial(total, np.full(total, 1 / total), size=count)
    return drawn[:, index].astype(np.float64)


def bootstrap(
    metric: Weighted,
    groups: Sequence[str],
    *,
    generator: np.random.Generator,
    n_resamples: int = 1000,
    confidence: float = 0.95,
    n: int | None = None,
    unbias: bool = False,
) -> Estimate:
    """Return a metric with its percentile interval over resampled patients.

    Args:
        metric: Function of weights `(len(groups),)`.
        groups: Patient of each study.
        generator: Draws the resamples.
        n_resamples: Number of resamples.
        confidence: Of the interval.
        n: Studies that count, when some are not annotated.
        unbias: Shift the resamples so that their mean is the value. A sum of absolute differences, such as a calibration
            error, is larger in every resample than in the sample; its plain interval may leave out its own value.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, sections 10.2 and 13.3.
    """
    size, patients = n if n is not None else len(groups), len(set(groups))
    if len(groups) == 0:
        return Estimate(value=None, reason="no study is annotated")
    value = metric(np.ones(len(groups)))
    if isinstance(value, Undefined):
        return Estimate(value=None, n=size, groups=patients, reason=value.reason)
    drawn = [metric(w) for w in resample_weights(groups, n_resamples, generator)]
    if unbias:
        known = [float(v) for v in drawn if not isinstance(v, Undefined)]
        bias = float(np.mean(known)) - float(value) if known else 0.0
        drawn = [v if isinstance(v, Undefined) else max(0.0, float(v) - bias) for v in drawn]
    return _interval(value, drawn, size, patients, confidence)


def _interval(value: float, drawn: list[Value], n: int, patients: int, confidence: float) -> Estimate:
    known = np.asarray([v for v in drawn if not isinstance(v, Undefined)])
    if len(known) < len(drawn) / 2:
        return Estimate(value=value, n=n, groups=patients, reason="too few patients for an interval")
    tail = (1 - confidence) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Estimate(value=float(value), low=float(low), high=float(high), n=n, groups=patients)


def paired_bootstrap(
    one: Weighted,
    other: Weighted,
    groups: Sequence[str],
    *,
    generator: np.random.Generator,
    n_resamples: int = 2000,
    confidence: float = 0.95,
) -> Estimate:
    """Return the difference `one - other` with its interval; both see the same resampled patients."""

    def difference(weight: npt.NDArray[np.float64]) -> Value:
        a, b = one(weight), other(weight)
        if isinstance(a, Undefined):
            return a
        return b if isinstance(b, Undefined) else a - b

    return bootstrap(difference, groups, generator=generator, n_resamples=n_resamples, confidence=confidence)


class SortedAuroc:
    """AUROC of fixed scores for many weights: sorted once, so that a thousand resamples take a second."""

    def __init__(self, target: npt.ArrayLike, score: npt.ArrayLike) -> None:
        y, s = np.asarray(target, np.float64), np.asarray(score, np.float64)
        known = np.flatnonzero(~np.isnan(y))
        self._order = known[np.argsort(s[known], kind="stable")]
        ordered = s[self._order]
        self._y = y[self._order]
        self._groups = (
            np.concatenate([[0], np.cumsum(np.diff(ordered) > 0)]).astype(np.int64)
            if len(ordered)
            else np.zeros(0, np.int64)
        )

    def __call__(self, weight: npt.NDArray[np.float64]) -> Value:
        """Return the AUROC with weights of all studies."""
        if len(self._order) == 0:
            return Undefined("no study is annotated")
        from .classification import _sorted_auroc

        return _sorted_auroc(self._y, weight[self._order], self._groups)


#: 97.5 % points of Student's t distribution for 1 to 30 degrees of freedom.
_STUDENT = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101,
    2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def mean_interval(
    values: Sequence[float], *, bounds: tuple[float, float] = (-np.inf, np.inf)
) -> dict[str, float | None]:
    """Return mean and 95 % interval of the mean of repetitions ("mean", "low", "high"); one repetition has no interval.

    Args:
        values: One per repetition.
        bounds: Least and greatest value there can be; the interval ends there.

    Source: Student 1908, doi:10.2307/2331554.

    Example:
        >>> mean_interval([0.7, 0.8, 0.9])
        {'mean': 0.8, 'low': 0.5516, 'high': 1.0484}
        >>> mean_interval([0.7, 0.8, 0.9], bounds=(0.0, 1.0))["high"]
        1.0
        >>> mean_interval([0.7])
        {'mean': 0.7, 'low': None, 'high': None}
    """
    n = len(values)
    if n == 0:
        return {"mean": None, "low": None, "high": None}
    mean = float(np.mean(values))
    if n == 1:
        return {"mean": round(mean, 4), "low": None, "high": None}
    t = _STUDENT[n - 2] if n - 1 <= len(_STUDENT) else 1.96
    half = t * float(np.std(values, ddof=1)) / n**0.5
    return {
        "mean": round(mean, 4),
        "low": round(max(mean - half, bounds[0]), 4),
        "high": round(min(mean + half, bounds[1]), 4),
    }


def delong_variance(target: npt.ArrayLike, score: npt.ArrayLike) -> float | Undefined:
    """Return the variance of an AUROC over independent studies.

    Example:
        >>> round(delong_variance([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]), 4)
        0.125
    """
    y, s = np.asarray(target, np.float64), np.asarray(score, np.float64)
    known = ~np.isnan(y)
    positive, negative = s[known & (y == 1)], s[known & (y == 0)]
    if len(positive) < 2 or len(negative) < 2:
        return Undefined("fewer than two studies of a class")
    joint = _midranks(np.concatenate([positive, negative]))
    m, n = len(positive), len(negative)
    v10 = (joint[:m] - _midranks(positive)) / n
    v01 = 1 - (joint[m:] - _midranks(negative)) / m
    return float(v10.var(ddof=1) / m + v01.var(ddof=1) / n)


def _midranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def auroc_with_delong(target: npt.ArrayLike, score: npt.ArrayLike, *, confidence: float = 0.95) -> Estimate:
    """Return an AUROC with its DeLong interval; right when every patient gives one study."""
    from statistics import NormalDist

    value, variance = auroc(target, score), delong_variance(target, score)
    n = int((~np.isnan(np.asarray(target, np.float64))).sum())
    if isinstance(value, Undefined) or isinstance(variance, Undefined):
        reason = (
            value.reason if isinstance(value, Undefined) else variance.reason if isinstance(variance, Undefined) else ""
        )
        return Estimate(value=None, n=n, groups=n, reason=reason)
    half = NormalDist().inv_cdf((1 + confidence) / 2) * variance**0.5
    return Estimate(value=value, low=max(0.0, value - half), high=min(1.0, value + half), n=n, groups=n)
