"""The head of findings of a captioner, and the cuts from which a finding is named, both from training patients alone.

Cuts are decided on chances of patients that a head was not fitted on: heads of folds say them, over several ways of making the folds.
What is to be expected of them is measured the same way, with cuts of the other patients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..datasets._splits import position_of
from ..layers.eye_words import FINDINGS
from ..layers.finding_head import FindingHead
from ..layers.weighed_findings import NORMAL, choose, f1_of, family_of, fit_cuts, grouped

_KEYS = list(FINDINGS)
#: Grades of retinopathy, the findings that a set of graded photographs speaks of.
_GRADES = ("dr1", "dr2", "dr3", "dr4")


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRows:
    """Photographs with known findings.

    Args:
        features: `(n, 2, E)`: picture and mirror image.
        findings: Keys of each.
        complete: Whether what is not named is absent; else only grades of retinopathy are known.
        groups: Patient of each.
    """

    features: npt.NDArray[np.float32]
    findings: Sequence[Sequence[str]]
    complete: npt.NDArray[np.bool_]
    groups: Sequence[str]

    def truth(self) -> npt.NDArray[np.float32]:
        """Return `(n, K)` over `FINDINGS`: 1, 0, NaN where it is not known.

        Example:
            >>> rows = FindingRows(features=np.zeros((1, 2, 3), np.float32), findings=[["dr2"]], complete=np.asarray([False]), groups=["a"])
            >>> found = dict(zip(_KEYS, rows.truth()[0], strict=True))
            >>> float(found["dr2"]), float(found["dr1"]), bool(np.isnan(found["drusen"]))
            (1.0, 0.0, True)
        """
        answer = np.asarray([[float(k in told) for k in _KEYS] for told in self.findings], np.float32)
        others = np.asarray([k not in _GRADES for k in _KEYS])
        answer[np.ix_(~self.complete, others)] = np.nan
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedFindings:
    """Cuts, and what the folds say of them.

    Args:
        cuts: Family to the chance from which it is named.
        expected: Family to its F1 on patients that decided neither head nor cut, and how many pictures have it.
        left_out: Families that are not named: too few pictures, or not found better than that.
    """

    cuts: dict[str, float]
    expected: dict[str, dict[str, float]]
    left_out: tuple[str, ...] = ()


def fit_findings(
    head: FindingHead,
    rows: FindingRows,
    *,
    penalty: float,
    folds: int,
    repeats: int,
    min_count: int,
    min_f1: float,
    seed: int,
) -> FittedFindings:
    """Fit a head on all rows and return its cuts.

    Args:
        head: Is changed.
        rows: Of training patients.
        penalty: Of the head.
        folds: Parts of the patients.
        repeats: Ways of making them.
        min_count: Families with fewer pictures are not named.
        min_f1: Nor are those with a lower F1 over folds.
        seed: Of the folds.
    """
    truth = rows.truth()
    counted = [i for i, whole in enumerate(rows.complete) if whole]
    there = {f: sum(f in {family_of(k) for k in rows.findings[i]} for i in counted) for f in map(family_of, _KEYS)}
    families = tuple(f for f, n in there.items() if n >= min_count)
    head.fit(rows.features, truth, penalty=penalty)
    if NORMAL not in families or len(families) < 2:
        return FittedFindings(cuts={}, expected={}, left_out=tuple(there))
    chances = [_of_folds(head, rows, truth, penalty, folds, seed + 1 + r)[counted] for r in range(repeats)]
    table = np.asarray([[f in {family_of(k) for k in rows.findings[i]} for f in there] for i in counted])
    groups = [rows.groups[i] for i in counted]
    found = _nested(chances, table, tuple(there), families, groups, folds=folds, seed=seed)
    kept = tuple(f for f in families if f == NORMAL or found[f] >= min_f1)
    cuts = _cuts(chances, table, tuple(there), kept)
    again = _nested(chances, table, tuple(there), kept, groups, folds=folds, seed=seed)
    return FittedFindings(
        cuts=cuts,
        expected={f: {"f1": round(again[f], 4), "pictures": there[f]} for f in kept},
        left_out=tuple(f for f in there if f not in kept),
    )


def _of_folds(
    like: FindingHead, rows: FindingRows, truth: npt.NDArray[np.float32], penalty: float, folds: int, seed: int
) -> npt.NDArray[np.float64]:
    """Return chances `(n, K)` of pictures, as they are, from heads of the other folds."""
    fold = _fold_of(rows.groups, folds, seed)
    chances = np.zeros(truth.shape)
    for k in range(folds):
        if (fold == k).any():
            head = FindingHead(like.mean.shape[0]).fit(rows.features[fold != k], truth[fold != k], penalty=penalty)
            chances[fold == k] = head.chances(torch.from_numpy(rows.features[fold == k, 0]))
    return chances


def _fold_of(groups: Sequence[str], folds: int, seed: int) -> npt.NDArray[np.int64]:
    return np.asarray([int(position_of(g, seed=seed) * folds) for g in groups])


def _cuts(
    chances: Sequence[npt.NDArray[np.float64]], table: npt.NDArray[np.bool_], names: Sequence[str], kept: Sequence[str]
) -> dict[str, float]:
    """Return cuts over all repeats at once."""
    columns = [list(names).index(f) for f in kept]
    truth = np.concatenate([table[:, columns]] * len(chances))
    return fit_cuts(np.concatenate([grouped(c, kept) for c in chances]), truth, kept, times=len(chances))


def _nested(
    chances: Sequence[npt.NDArray[np.float64]],
    table: npt.NDArray[np.bool_],
    names: Sequence[str],
    kept: Sequence[str],
    groups: Sequence[str],
    *,
    folds: int,
    seed: int,
) -> dict[str, float]:
    """Return F1 by family where cuts come from other patients than those that are named; mean over repeats."""
    columns = [list(names).index(f) for f in kept]
    total = np.zeros(len(kept))
    for repeat, found in enumerate(chances):
        fold = _fold_of(groups, folds, seed + 101 + repeat)
        named = np.zeros((len(groups), len(kept)), bool)
        for k in range(folds):
            if (fold == k).any():
                cuts = _cuts([found[fold != k]], table[fold != k], names, kept)
                named[fold == k] = choose(grouped(found[fold == k], kept) / np.asarray([cuts[f] for f in kept]), kept)
        total += f1_of(named, table[:, columns])
    return {f: float(v) for f, v in zip(kept, total / len(chances), strict=True)}
