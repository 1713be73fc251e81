"""A study result as one JSON object: the row of `results.jsonl`."""

from __future__ import annotations

import json
import math
from typing import Any

from ..core.results import Explanation, Finding, Measurement, Prediction, Quality, StudyResult

#: Digits kept of a probability: more than its meaning, fewer than the noise of a processor.
DIGITS = 6


def result_to_json(result: StudyResult) -> dict[str, Any]:
    """Return a JSON-ready object with the keys in a fixed order.

    Probabilities are rounded to six digits. Heat maps stay in the report page; only shares, column and phrase
    contributions are rows of data.
    """
    return {
        "study_id": result.study_id,
        "patient_id": result.patient_id,
        "laterality": result.laterality,
        "status": result.status,
        "code": result.code,
        "message": result.message,
        "hint": result.hint,
        "quality": _quality(result.quality),
        "predictions": {task: _prediction(p) for task, p in result.predictions.items()},
        "modalities": {
            name: {"present": use.present, "used": use.used, "share": _rounded(use.share)}
            for name, use in result.modalities.items()
        },
        "measurements": [_measurement(m) for m in result.measurements],
        "explanation": [_explanation(e) for e in result.explanation],
        "findings": [_finding(f) for f in result.findings],
        "notes": list(result.notes),
        "provenance": dict(result.provenance),
    }


def result_line(result: StudyResult) -> str:
    """Return the object as one line without a line end; NaN cannot occur in it."""
    return json.dumps(result_to_json(result), ensure_ascii=False, allow_nan=False)


def _rounded(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    # Adding zero turns -0.0 into 0.0.
    return round(float(value), DIGITS) + 0.0


def _significant(value: float | None) -> float | None:
    """Return a quantity with as many digits as are kept of a probability, wherever its point is."""
    return None if value is None else float(f"{value:.{DIGITS}g}") + 0.0


def _quality(quality: Quality | None) -> dict[str, Any] | None:
    if quality is None:
        return None
    return {"gradable": quality.gradable, "score": _rounded(quality.score), "reasons": list(quality.reasons)}


def _prediction(prediction: Prediction) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "probabilities": {label: _rounded(p) for label, p in prediction.probabilities.items()},
        "label": prediction.label,
        "decision": prediction.decision,
    }
    if prediction.thresholds:
        answer["thresholds"] = {label: _rounded(t) for label, t in prediction.thresholds.items()}
    if prediction.prediction_set is not None:
        answer["prediction_set"] = list(prediction.prediction_set)
    if prediction.kind == "regression":
        answer |= {"value": _rounded(prediction.value), "unit": prediction.unit}
    return answer


def _measurement(m: Measurement) -> dict[str, Any]:
    return {
        "name": m.name,
        "value": _significant(m.value),
        "unit": m.unit,
        "region": m.region,
        "source": m.source,
        "failure": m.failure,
        "n": m.n,
        "uncertainty": _significant(m.uncertainty),
        "flags": list(m.flags),
        "image": m.image,
    }


def _explanation(e: Explanation) -> dict[str, Any]:
    return {
        "task": e.task,
        "target": e.target,
        "method": e.method,
        "shapley": {k: _rounded(v) for k, v in e.shapley.items()},
        "columns": {k: _rounded(v) for k, v in e.columns.items()},
        "phrases": {k: _rounded(v) for k, v in e.phrases.items()},
    }


def _finding(f: Finding) -> dict[str, Any]:
    return {
        "name": f.name,
        "status": f.status,
        "certainty": _rounded(f.certainty),
        "task": f.task,
        "text": f.text,
        "evidence": list(f.evidence),
    }
