"""One object per study, strict JSON, keys in a fixed order."""

import json

from fundusion.core.results import Measurement, ModalityUse, Prediction, Quality, StudyResult
from fundusion.report.serialise import result_line, result_to_json


def result(**changes):
    base = {
        "study_id": "007",
        "patient_id": "患者",
        "laterality": "OD",
        "status": "ok",
        "code": "ok",
        "quality": Quality(gradable=True, score=0.87654321),
        "predictions": {
            "g": Prediction(task="g", kind="binary", probabilities={"no": 1 / 3, "yes": 2 / 3}, label="yes")
        },
        "modalities": {"cfp": ModalityUse(present=True, used=True, share=-0.0)},
    }
    return StudyResult(**{**base, **changes})


def test_the_keys_a_reader_may_count_on():
    row = result_to_json(result())
    assert list(row)[:8] == ["study_id", "patient_id", "laterality", "status", "code", "message", "hint", "quality"]
    assert {"predictions", "modalities", "measurements", "provenance"} <= set(row)
    assert row["predictions"]["g"]["probabilities"] == {"no": 0.333333, "yes": 0.666667}
    assert str(row["modalities"]["cfp"]["share"]) == "0.0"


def test_one_line_of_strict_json_that_keeps_every_character():
    line = result_line(result(message="a\nb \u2028 c"))
    assert "\n" not in line
    assert json.loads(line)["patient_id"] == "患者"


def test_a_measurement_that_failed_has_no_number():
    m = Measurement(name="crae", value=None, unit="um", region="B", source="x", failure="spacing is unknown")
    row = result_to_json(result(measurements=(m,)))["measurements"][0]
    assert row["value"] is None
    assert row["failure"] == "spacing is unknown"


def test_a_prediction_set_is_written_only_when_it_was_asked_for():
    def row(kept):
        said = Prediction(task="g", kind="binary", probabilities={"no": 0.5, "yes": 0.5}, prediction_set=kept)
        result = StudyResult(
            study_id="a", patient_id=None, laterality=None, status="ok", code="ok", predictions={"g": said}
        )
        return result_to_json(result)["predictions"]["g"]

    assert row(("no", "yes"))["prediction_set"] == ["no", "yes"]
    assert row(())["prediction_set"] == []
    assert "prediction_set" not in row(None)
