"""Sets of labels that hold the right one with a chosen probability, whatever the model is worth; several labels mean: ask a person.

The promise is about new eyes drawn like the ones it was fitted on, one eye per patient. It fails where cameras or patients differ.

Source: split conformal prediction, Vovk et al. 2005, doi:10.1007/b106715; sets by threshold Sadinle et al. 2019, doi:10.1080/01621459.2017.1395341;
one member of each group, Dunn et al. 2023, doi:10.1080/01621459.2022.2060112.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from ..core.tasks import Task

Array = npt.NDArray[np.float64]


def conformal_limit(scores: npt.ArrayLike, coverage: float) -> float:
    """Return the score up to which a label is kept: the `ceil((n + 1) coverage)`-th smallest; infinite when there are too few.

    Raises:
        InvalidInput: The coverage is not between 0 and 1.

    Example:
        >>> conformal_limit([0.1, 0.2, 0.3, 0.4], 0.8), conformal_limit([0.1], 0.9)
        (0.4, inf)
    """
    if not 0 < coverage < 1:
        raise InvalidInput(f"coverage {coverage} is not between 0 and 1.", code="config.coverage")
    known = np.sort(np.asarray(scores, np.float64))
    # The product is rounded first: 10 * 0.9 may come out a hair above 9.
    place = math.ceil(round((len(known) + 1) * coverage, 9))
    return float(known[place - 1]) if place <= len(known) else math.inf


def least_eyes(coverage: float) -> int:
    """Return how many labelled eyes, one per patient, say anything at all.

    Example:
        >>> least_eyes(0.9), least_eyes(0.95)
        (9, 19)
    """
    return math.ceil(round(coverage / (1 - coverage), 9))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conformal:
    """Limits of scores from held-out patients.

    Args:
        kind: "multiclass" or "multilabel".
        labels: Of the task.
        coverage: Share of eyes whose set holds the truth, at least, on average.
        limits: Multi-class: one limit of `1 - p`. Multi-label: two per label, when it is there and when it is not.
        n: Eyes behind each limit.
    """

    kind: str
    labels: tuple[str, ...]
    coverage: float
    limits: tuple[float, ...]
    n: tuple[int, ...]

    def sets(self, probabilities: npt.ArrayLike) -> list[tuple[str, ...]]:
        """Return the labels that are kept for each study; multi-label: those that may be there.

        Raises:
            InvalidInput: Another number of labels, or a probability that is not finite.
        """
        p = _checked(probabilities, len(self.labels))
        kept = 1 - p <= (self.limits[0] if self.kind == "multiclass" else np.asarray(self.limits[0::2]))
        return [tuple(k for k, on in zip(self.labels, row, strict=True) if on) for row in kept]

    def undecided(self, probabilities: npt.ArrayLike) -> list[tuple[str, ...]]:
        """Return what a person must decide: all kept labels when they are not exactly one; multi-label: labels that may be there or not.

        A label that fits neither state is undecided too: the eye is unlike those the limits came from.
        """
        p = _checked(probabilities, len(self.labels))
        if self.kind == "multiclass":
            return [() if len(s) == 1 else (s or self.labels) for s in self.sets(p)]
        there = 1 - p <= np.asarray(self.limits[0::2])
        gone = p <= np.asarray(self.limits[1::2])
        return [tuple(k for k, on in zip(self.labels, row, strict=True) if on) for row in there == gone]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form; a limit without enough eyes is None."""
        return {
            "kind": self.kind, "labels": list(self.labels), "coverage": self.coverage,
            "limits": [x if math.isfinite(x) else None for x in self.limits], "n": list(self.n),
        }  # fmt: skip

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> Conformal:
        """Return what a `to_dict` form describes."""
        return Conformal(
            kind=str(value["kind"]),
            labels=tuple(value["labels"]),
            coverage=float(value["coverage"]),
            limits=tuple(math.inf if x is None else float(x) for x in value["limits"]),
            n=tuple(int(x) for x in value["n"]),
        )


def fit_conformal(
    task: Task,
    probabilities: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    groups: Sequence[str],
    coverage: float = 0.9,
    seed: int = 0,
) -> Conformal:
    """Return limits from eyes that nothing else was fitted on.

    Args:
        task: Multi-class or multi-label.
        probabilities: `(n, K)`.
        targets: `(n,)` class index or `(n, K)` 0/1; NaN means not annotated.
        groups: Patient of each row: one of their eyes is drawn, because two eyes of one person are no two draws.
        coverage: Wanted.
        seed: Of that draw.

    Raises:
        InvalidInput: Another kind of task.
    """
    if task.kind not in ("multiclass", "multilabel"):
        raise InvalidInput(
            f"prediction sets are made for several labels, not for a {task.kind} task.", code="config.task"
        )
    p, y = _checked(probabilities, len(task.labels)), np.asarray(targets, np.float64)
    if task.kind == "multiclass":
        rows = _one_each(~np.isnan(y), groups, seed)
        scores = 1 - p[rows, y[rows].astype(int)]
        limits, counts = [conformal_limit(scores, coverage)], [len(rows)]
    else:
        limits, counts = [], []
        for k in range(len(task.labels)):
            for state in (1.0, 0.0):
                rows = _one_each(y[:, k] == state, groups, seed)
                found = 1 - p[rows, k] if state else p[rows, k]
                limits.append(conformal_limit(found, coverage))
                counts.append(len(rows))
    return Conformal(kind=task.kind, labels=task.labels, coverage=coverage, limits=tuple(limits), n=tuple(counts))


def _one_each(usable: npt.NDArray[np.bool_], groups: Sequence[str], seed: int) -> npt.NDArray[np.int64]:
    rows: dict[str, int] = {}
    for row in np.random.default_rng(seed).permutation(len(usable)):
        if usable[row]:
            rows.setdefault(groups[row], int(row))
    return np.sort(np.fromiter(rows.values(), np.int64, len(rows)))


def _checked(probabilities: npt.ArrayLike, labels: int) -> Array:
    p = np.atleast_2d(np.asarray(probabilities, np.float64))
    if p.shape[1] != labels:
        raise InvalidInput(f"expected {labels} probabilities per study, got {p.shape[1]}.")
    if not np.isfinite(p).all():
        raise InvalidInput("probabilities are not finite.", code="model.not_finite")
    return p
