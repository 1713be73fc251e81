"""From measures to probabilities: an additive logistic model that can be read, stored as JSON and fitted again."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.durable import write_json
from ..core.errors import IncompatibleWeights, InvalidInput
from .measures import MEASURES

FORMAT = "fundusion-quality-1"
#: Standardised measures are held within this, so that one strange number cannot decide alone.
_LIMIT = 4.0
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityModel:
    """Answers of the gate: is it a fundus, is it gradable, and what is wrong with it.

    Each answer is the logistic function of a sum over measures of straight pieces (a generalised additive model), so
    the share of each measure in a verdict can be read off.

    Args:
        measures: Names of the measures, in order.
        center: Per measure, subtracted first.
        scale: Per measure, divided by.
        knots: Per measure, where the straight pieces meet, in standardised units.
        answers: "gradable", "fundus" and codes of reasons, each to an intercept followed by the weights.
        threshold: Least product of P(fundus) and P(gradable) that is accepted.
        fundus_threshold: P(fundus) below which the picture is called foreign.
        notes: What it was fitted on.
    """

    measures: tuple[str, ...]
    center: tuple[float, ...]
    scale: tuple[float, ...]
    knots: tuple[tuple[float, ...], ...]
    answers: Mapping[str, tuple[float, ...]]
    threshold: float = 0.5
    fundus_threshold: float = 0.5
    notes: str = ""

    def __post_init__(self) -> None:
        count = len(self.measures)
        width = 1 + count + sum(len(k) for k in self.knots)
        if not len(self.center) == len(self.scale) == len(self.knots) == count:
            raise IncompatibleWeights(f"a quality model of {count} measures has lists of other lengths.")
        if not {"gradable", "fundus"} <= set(self.answers):
            raise IncompatibleWeights(f"a quality model answers 'gradable' and 'fundus', got {sorted(self.answers)}.")
        numbers = [*self.center, *self.scale, *(k for ks in self.knots for k in ks)]
        for name, weights in self.answers.items():
            if len(weights) != width:
                raise IncompatibleWeights(f"answer {name!r} has {len(weights)} weights; {width} are needed.")
            numbers += weights
        if not all(math.isfinite(n) for n in numbers) or min(self.scale) <= 0:
            raise IncompatibleWeights(
                "a quality model holds a number that is not finite or a scale that is not positive."
            )
        if not (0 < self.threshold < 1 and 0 < self.fundus_threshold < 1):
            raise IncompatibleWeights(f"thresholds must lie in (0, 1): {self.threshold}, {self.fundus_threshold}.")

    def features(self, rows: Sequence[Mapping[str, float]]) -> Vector:
        """Return `(N, F)`: one, the standardised measures, and what they exceed each knot by."""
        values = np.array([[row[name] for name in self.measures] for row in rows], np.float64)
        scaled = np.clip((values - self.center) / self.scale, -_LIMIT, _LIMIT)
        pieces = [np.clip(scaled[:, i] - k, 0, None) for i, knots in enumerate(self.knots) for k in knots]
        return np.column_stack([np.ones(len(rows)), scaled, *pieces])

    def logits(self, answer: str, rows: Sequence[Mapping[str, float]]) -> Vector:
        """Return `(N,)` log odds of an answer."""
        return self.features(rows) @ np.array(self.answers[answer])

    def probabilities(self, row: Mapping[str, float]) -> dict[str, float]:
        """Return the probability of each answer for one picture."""
        features = self.features([row])
        return {name: float(sigmoid(features @ np.array(weights))[0]) for name, weights in self.answers.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form with six significant digits."""
        return {
            "format": FORMAT,
            "measures": list(self.measures),
            "center": _short(self.center),
            "scale": _short(self.scale),
            "knots": [_short(k) for k in self.knots],
            "answers": {name: _short(w) for name, w in self.answers.items()},
            "threshold": float(f"{self.threshold:.6g}"),
            "fundus_threshold": float(f"{self.fundus_threshold:.6g}"),
            "notes": self.notes,
        }

    def digest(self) -> str:
        """Return a digest of the numbers, for provenance."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model as JSON, durably."""
        write_json(path, self.to_dict(), indent=None)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> QualityModel:
        """Return the model of a JSON file.

        Raises:
            IncompatibleWeights: Not such a file, or measures this version does not take.
        """
        try:
            value = json.loads(Path(path).read_text("utf-8"))
            if value["format"] != FORMAT:
                raise KeyError(value["format"])
            model = QualityModel(
                measures=tuple(value["measures"]),
                center=tuple(map(float, value["center"])),
                scale=tuple(map(float, value["scale"])),
                knots=tuple(tuple(map(float, k)) for k in value["knots"]),
                answers={str(name): tuple(map(float, w)) for name, w in value["answers"].items()},
                threshold=float(value["threshold"]),
                fundus_threshold=float(value["fundus_threshold"]),
                notes=str(value.get("notes", "")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise IncompatibleWeights(
                f"{os.fspath(path)!r} is not a quality calibration ({FORMAT}).",
                code="quality.calibration",
                hint="Write one with: fundusion check MANIFEST --fit-quality FILE",
            ) from error
        missing = sorted(set(model.measures) - set(MEASURES))
        if missing:
            raise IncompatibleWeights(f"the quality calibration needs measures this version lacks: {missing}.")
        return model


@cache
def shipped_model() -> QualityModel:
    """Return the calibration that comes with the package."""
    return QualityModel.load(Path(__file__).with_name("calibration.json"))


def fit_model(
    rows: Sequence[Mapping[str, float]],
    answers: Mapping[str, Sequence[float]],
    *,
    ridge: float = 1.0,
    notes: str = "",
) -> QualityModel:
    """Return a model fitted to measured pictures, with thresholds of one half.

    Args:
        rows: Measures of each picture.
        answers: Answer to one label per picture: 1, 0, or NaN where the picture says nothing about it.
        ridge: Strength of the pull towards zero, in pictures.
        notes: What it was fitted on.

    Raises:
        InvalidInput: An answer has only one class.

    Source:
        Hastie and Tibshirani 1986, doi:10.1214/ss/1177013604 (additive logistic model), with linear splines at the
        quartiles and a ridge penalty; Newton's method. Both classes weigh the same.
    """
    values = np.array([[row[name] for name in MEASURES] for row in rows], np.float64)
    low, center, high = np.percentile(values, (10, 50, 90), axis=0)
    scale = np.maximum((high - low) / 2.56, 1e-3)
    scaled = np.clip((values - center) / scale, -_LIMIT, _LIMIT)
    knots = [sorted(set(np.round(np.percentile(scaled[:, i], (10, 35, 65, 90)), 4))) for i in range(len(MEASURES))]
    zero = (0.0,) * (1 + len(MEASURES) + sum(map(len, knots)))
    empty = QualityModel(
        measures=MEASURES,
        center=tuple(map(float, center)),
        scale=tuple(map(float, scale)),
        knots=tuple(tuple(map(float, k)) for k in knots),
        answers={"gradable": zero, "fundus": zero},
        notes=notes,
    )
    features = empty.features(rows)
    fitted = {}
    for name, labels in answers.items():
        wanted = np.asarray(labels, np.float64)
        known = np.isfinite(wanted)
        weights = logistic_ridge(features[known], wanted[known], prior=np.zeros(features.shape[1]), ridge=ridge)
        fitted[name] = tuple(map(float, weights))
    return replace(empty, answers=fitted)


def recalibrate(model: QualityModel, rows: Sequence[Mapping[str, float]], gradable: Sequence[bool]) -> QualityModel:
    """Return a model whose "gradable" answer agrees with a user's own labels.

    The shipped log odds are shifted and stretched (two numbers). From sixty pictures on, the weights may also move,
    held to the shipped ones by a ridge. Answers about foreign pictures and reasons stay as they are.

    Raises:
        InvalidInput: Fewer than ten pictures, or fewer than three of either class.

    Source:
        Platt 1999 for slope and intercept with his smoothed targets; ridge towards a source model as in
        Chelba and Acero 2006, doi:10.1016/j.csl.2005.05.005.
    """
    labels = np.asarray(gradable, np.float64)
    positive = int(labels.sum())
    if len(labels) < 10 or min(positive, len(labels) - positive) < 3:
        raise InvalidInput(
            f"got {positive} gradable and {len(labels) - positive} ungradable pictures; "
            "at least ten pictures with three of each are needed.",
            code="quality.too_few_labels",
            hint="About a hundred with twenty ungradable ones give a usable calibration.",
        )
    features = model.features(rows)
    source = np.array(model.answers["gradable"])
    # Platt's targets: with few pictures no label is taken as certain.
    smooth = np.where(labels > 0, (positive + 1) / (positive + 2), 1 / (len(labels) - positive + 2))
    log_odds = np.clip(features @ source, -12, 12)
    line = logistic_ridge(
        np.column_stack([np.ones(len(labels)), log_odds]), smooth, prior=np.array([0.0, 1.0]), ridge=0.5, balance=False
    )
    # A negative slope would say that the shipped measures point the wrong way; then only the shift is kept.
    slope = max(float(line[1]), 0.05)
    weights = source * slope
    weights[0] += line[0]
    if len(labels) >= 60:
        weights = logistic_ridge(features, smooth, prior=weights, ridge=8.0, balance=False)
    note = f"{model.notes} Fitted again on {len(labels)} pictures, {positive} gradable.".strip()
    answers = {**model.answers, "gradable": tuple(map(float, weights))}
    return replace(model, answers=answers, threshold=0.5, notes=note)


def logistic_ridge(features: Vector, labels: Vector, *, prior: Vector, ridge: float, balance: bool = True) -> Vector:
    """Return the weights `(F,)` that minimise cross entropy plus `ridge / 2` times the squared distance to a prior.

    Args:
        features: `(N, F)`, the first column ones; its weight is hardly penalised.
        labels: `(N,)` in [0, 1].
        prior: `(F,)`.
        ridge: In units of pictures.
        balance: Give both classes the same total weight.

    Raises:
        InvalidInput: One class only.

    Example:
        >>> x = np.column_stack([np.ones(40), np.linspace(-2, 2, 40)])
        >>> weights = logistic_ridge(x, (x[:, 1] > 0).astype(float), prior=np.zeros(2), ridge=1.0)
        >>> bool(weights[1] > 1), round(abs(float(weights[0])), 3)
        (True, 0.0)
    """
    share = float(labels.mean()) if len(labels) else 0.0
    if not 0 < share < 1:
        raise InvalidInput("a calibration needs pictures of both classes.", code="quality.one_class")
    importance = np.where(labels > 0.5, 0.5 / share, 0.5 / (1 - share)) if balance else np.ones(len(labels))
    penalty = np.full(features.shape[1], ridge)
    penalty[0] = 1e-3 * ridge
    weights = prior.astype(np.float64).copy()

    def cost(w: Vector) -> float:
        z = features @ w
        return float((importance * (np.logaddexp(0, z) - labels * z)).sum() + 0.5 * (penalty * (w - prior) ** 2).sum())

    current = cost(weights)
    for _ in range(60):
        p = sigmoid(features @ weights)
        gradient = features.T @ (importance * (p - labels)) + penalty * (weights - prior)
        curvature = (features * (importance * np.maximum(p * (1 - p), 1e-6))[:, None]).T @ features + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        size = 1.0
        while size > 1e-4 and cost(weights - size * step) > current:
            size /= 2
        weights = weights - size * step
        before, current = current, cost(weights)
        if before - current < 1e-7 * (1 + abs(before)):
            break
    return weights


def sigmoid(values: Vector) -> Vector:
    """Return the logistic function without overflow.

    Example:
        >>> sigmoid(np.array([-800.0, 0.0, 800.0])).tolist()
        [0.0, 0.5, 1.0]
    """
    with np.errstate(under="ignore"):
        return np.exp(-np.logaddexp(0.0, -np.asarray(values, np.float64)))


def _short(values: Sequence[float]) -> list[float]:
    return [float(f"{v:.6g}") for v in values]
