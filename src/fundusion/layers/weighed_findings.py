"""Which findings a caption names: the chance of each, cut where F1 over findings is best.

The likeliest caption names what is frequent. A caption that is judged finding by finding, each alike, should name a rare finding at a
chance far below one half; where that is, is measured on patients that gave no chances.

Source: the cut that is best for F1 lies below one half and differs by label, Lipton et al. 2014, arXiv:1402.1892.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from .eye_words import FINDINGS

#: Findings of one disease that are judged together: the cut says whether it is named, the likeliest of them which.
FAMILIES: Mapping[str, str] = {"dr1": "npdr", "dr2": "npdr", "dr3": "npdr"}
NORMAL = "normal"
#: How often a finding is named, as a multiple of how often it is there.
_RATES = (0.8, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0)
_PASSES = 2


def family_of(key: str) -> str:
    """Return the family of a finding, its own name for most.

    Example:
        >>> family_of("dr2"), family_of("drusen")
        ('npdr', 'drusen')
    """
    return FAMILIES.get(key, key)


def grouped(chances: npt.NDArray[np.float64], families: Sequence[str]) -> npt.NDArray[np.float64]:
    """Return the chances `(B, F)` of families, sums over their findings."""
    members = [[i for i, k in enumerate(FINDINGS) if family_of(k) == f] for f in families]
    return np.stack([chances[:, m].sum(1) for m in members], 1)


def choose(ratios: npt.NDArray[np.float64], families: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return which families are named: those over their cut, or the nearest to it; normal only where it is the furthest over.

    Args:
        ratios: Chance over cut `(B, F)`.
        families: Names of the columns.

    Example:
        >>> choose(np.asarray([[2.0, 1.5], [1.2, 1.5], [0.5, 0.4]]), ("normal", "drusen")).tolist()
        [[True, False], [False, True], [True, False]]
    """
    named = ratios >= 1
    best = np.eye(ratios.shape[1], dtype=bool)[ratios.argmax(1)]
    named = np.where(named.any(1, keepdims=True), named, best)
    if NORMAL in families:
        column = list(families).index(NORMAL)
        alone = best[:, column]
        named[alone] = best[alone]
        named[~alone, column] = False
    return named


def fit_cuts(
    chances: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_], families: Sequence[str], *, times: int = 1
) -> dict[str, float]:
    """Return family to the chance from which it is named, best for the mean F1 over families under the rule of `choose`.

    A cut is the chance that names the family at one of a few multiples of its frequency; of a rare family a multiple far from
    the usual has to be better by more, as its F1 is known less well.

    Args:
        chances: Of families `(n, F)`, of patients that what says them was not fitted on.
        truth: bool `(n, F)`.
        families: Names of the columns.
        times: How often each picture is in the rows.
    """
    share = truth.mean(0)
    grid = np.stack(
        [[np.quantile(chances[:, k], 1 - min(0.95, r * share[k])) for r in _RATES] for k in range(len(families))]
    ).clip(1e-6)
    doubt = (
        0.02 * np.abs(np.log(np.asarray(_RATES) / 1.5)) * np.sqrt(100 * times / np.maximum(1, truth.sum(0)))[:, None]
    )
    chosen = np.full(len(families), _RATES.index(1.5))
    rows = np.arange(len(families))
    for _ in range(_PASSES):
        for k in rows:
            values = []
            for r in range(len(_RATES)):
                tried = np.where(rows == k, r, chosen)
                named = choose(chances / grid[rows, tried], families)
                values.append(mean_f1(named, truth) - doubt[k, r] / len(families))
            chosen[k] = int(np.argmax(values))
    return {f: float(grid[k, chosen[k]]) for k, f in enumerate(families)}


def mean_f1(named: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> float:
    """Return the mean F1 over columns.

    Example:
        >>> mean_f1(np.asarray([[True, False], [True, True]]), np.asarray([[True, False], [False, True]]))
        0.8333333333333333
    """
    return float(np.mean(f1_of(named, truth)))


def f1_of(named: npt.NDArray[np.bool_], truth: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return F1 of each column; 0 where nothing was named and nothing is so.

    Example:
        >>> f1_of(np.asarray([[True, False], [True, False]]), np.asarray([[False, False], [True, False]])).round(2).tolist()
        [0.67, 0.0]
    """
    both, either = (named & truth).sum(0), named.sum(0) + truth.sum(0)
    return np.asarray(2 * both / np.maximum(1, either), np.float64)


def findings_of(chances: npt.NDArray[np.float64], cuts: Mapping[str, float]) -> list[list[str]]:
    """Return the findings that are named of each picture, keys of `FINDINGS`; of a family the likeliest.

    Args:
        chances: `(B, K)` of `FINDINGS`.
        cuts: Family to chance; families without a cut are never named.
    """
    families = tuple(cuts)
    named = choose(grouped(chances, families) / np.asarray([cuts[f] for f in families]), families)
    keys = list(FINDINGS)
    answer = []
    for row, chosen in zip(chances, named, strict=True):
        found = []
        for family, is_named in zip(families, chosen, strict=True):
            if is_named:
                members = [k for k in keys if family_of(k) == family]
                found.append(max(members, key=lambda k: row[keys.index(k)]))
        answer.append([k for k in keys if k in found])
    return answer
