"""Answers in plain numbers: quality, predictions, measurements, explanations, findings, reports."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InvalidInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Verdict of the gate on one image.

    Args:
        gradable: Whether a diagnosis may be given.
        score: Probability that a reader would call it gradable, in [0, 1].
        reasons: Codes such as `quality.dark`, `quality.blurred`, `quality.not_fundus`, `fov.clipped`.
        measures: The numbers behind the verdict.
    """

    gradable: bool
    score: float
    reasons: tuple[str, ...] = ()
    measures: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.score) and 0.0 <= self.score <= 1.0):
            raise InvalidInput(f"quality score must be in [0, 1], got {self.score}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Answer of one head for one study.

    Args:
        task: Name of the head.
        kind: "binary", "multiclass", "multilabel", "ordinal" or "regression".
        probabilities: Label to probability; empty for regression. Multi-label entries do not sum to one.
        label: The chosen label; for multi-label the labels over their thresholds joined by "|"; None if none.
        decision: Sentence-free code: "positive", "negative", a label, or "uncertain".
        value: Number of a regression head, with its unit.
        unit: Unit of `value`.
        thresholds: Threshold used per label.
        prediction_set: Labels that a conformal set keeps; None when no set was asked for.
    """

    task: str
    kind: str
    probabilities: Mapping[str, float] = field(default_factory=dict)
    label: str | None = None
    decision: str | None = None
    value: float | None = None
    unit: str | None = None
    thresholds: Mapping[str, float] = field(default_factory=dict)
    prediction_set: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, p in self.probabilities.items():
            if not (math.isfinite(p) and 0.0 <= p <= 1.0):
                raise InvalidInput(f"probability of {name!r} in task {self.task!r} is {p}.", code="model.not_finite")
        if self.value is not None and not math.isfinite(self.value):
            raise InvalidInput(f"value of task {self.task!r} is {self.value}.", code="model.not_finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A quantity with its unit and where it was measured; a failed one has a reason and no value.

    Args:
        name: For instance "crae_zone_b".
        value: Number, or None where it failed.
        unit: "um", "DD" (disc diameters), "degree", "1", "count" and so on.
        region: Where: "field", "zone B", "disc".
        source: Author, year and DOI of the formula.
        failure: Stable code of the reason why there is no value.
        n: Number of segments, points or circles behind the value.
        uncertainty: Half-width of one standard error, or of what a probability map leaves open, in `unit`.
        flags: Stable codes of remarks, such as `scale.estimated`.
        image: Picture of the study it was measured in, such as "cfp.0"; None where there is but one or it is of no picture.
    """

    name: str
    value: float | None
    unit: str
    region: str | None = None
    source: str | None = None
    failure: str | None = None
    n: int | None = None
    uncertainty: float | None = None
    flags: tuple[str, ...] = ()
    image: str | None = None

    def __post_init__(self) -> None:
        if self.uncertainty is not None and not (math.isfinite(self.uncertainty) and self.uncertainty >= 0):
            raise InvalidInput(f"uncertainty of measurement {self.name!r} is {self.uncertainty}.")
        if (self.value is None) == (self.failure is None):
            raise InvalidInput(f"measurement {self.name!r} needs either a value or a failure reason.")
        if self.value is not None and not math.isfinite(self.value):
            raise InvalidInput(f"measurement {self.name!r} is {self.value}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModalityUse:
    """Whether a modality was there, whether the network used it, and its share of the answer (sums to 1 over used)."""

    present: bool
    used: bool
    share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Why a prediction came out as it did.

    Args:
        task: Head that is explained.
        target: Label that is explained.
        heatmaps: Modality to one float32 `(H, W)` map in [0, 1] per image, in the frame of the original image.
        shares: Modality to share in [0, 1], summing to one over the modalities used (absolute Shapley values).
        shapley: Modality to signed Shapley value, in probability of the target.
        columns: Table column to signed change of probability when it is removed.
        phrases: Report phrase to signed change of probability when it is removed.
        method: Name of the method.
    """

    task: str
    target: str
    heatmaps: Mapping[str, tuple[npt.NDArray[np.float32], ...]] = field(default_factory=dict)
    shares: Mapping[str, float] = field(default_factory=dict)
    shapley: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, float] = field(default_factory=dict)
    phrases: Mapping[str, float] = field(default_factory=dict)
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One structured statement of a report.

    Args:
        name: Label, for instance "diabetic retinopathy".
        status: "present", "absent", "uncertain" or "not assessed".
        certainty: Probability behind the status, None when not assessed.
        task: Head it comes from.
        text: Sentence for a reader.
        evidence: Codes of what supports it (modalities, measurements).
    """

    name: str
    status: str
    certainty: float | None
    task: str
    text: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyResult:
    """Everything known about one study after the pipeline: a row of `results.jsonl`.

    Args:
        status: "ok" or "rejected".
        code: "ok" or the stable code of the rejection.
        message: One sentence for a person.
        hint: What to do.
    """

    study_id: str
    patient_id: str | None
    laterality: str | None
    status: str
    code: str
    message: str = ""
    hint: str = ""
    quality: Quality | None = None
    predictions: Mapping[str, Prediction] = field(default_factory=dict)
    modalities: Mapping[str, ModalityUse] = field(default_factory=dict)
    measurements: tuple[Measurement, ...] = ()
    explanation: tuple[Explanation, ...] = ()
    findings: tuple[Finding, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.status not in ("ok", "rejected"):
            raise InvalidInput(f"status must be 'ok' or 'rejected', got {self.status!r}.")
        if self.status == "ok" and not self.predictions:
            raise InvalidInput("an accepted study needs predictions.")
