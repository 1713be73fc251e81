"""Results of imaginary studies, made from a few numbers."""

import pytest

from fundusion.core.results import Finding, Measurement, ModalityUse, Prediction, Quality, StudyResult
from fundusion.core.vocabulary import ODIR_LABELS
from fundusion.narrative.facts import facts_of

CHANCES = {"D": 0.81, "G": 0.31, "C": 0.93, "A": 0.02, "H": 0.05, "M": 0.001, "O": 0.1}


def make_result(*, eye="OD", states=None, chances=None, grade="2", sure=0.61, referable=0.73, **changes):
    chances = {**CHANCES, **(chances or {})}
    states = {"D": "present", "G": "uncertain", "C": "present"} | (states or {})
    findings = [
        Finding(name=ODIR_LABELS[k], status=states.get(k, "absent"), certainty=p, task="disease", text="")
        for k, p in chances.items()
    ]
    predictions = {"disease": Prediction(task="disease", kind="multilabel", probabilities=chances)}
    if grade is not None:
        findings.append(
            Finding(
                name="referable diabetic retinopathy",
                status="present" if referable > 0.5 else "absent",
                certainty=referable,
                task="dr_grade",
                text="",
            )
        )
        predictions["dr_grade"] = Prediction(task="dr_grade", kind="ordinal", probabilities={grade: sure}, label=grade)
    return StudyResult(
        **{
            "study_id": "imaginary", "patient_id": None, "laterality": eye, "status": "ok", "code": "ok",
            "quality": Quality(gradable=True, score=0.9), "predictions": predictions, "findings": tuple(findings),
            "modalities": {
                "cfp": ModalityUse(present=True, used=True),
                "oct": ModalityUse(present=False, used=False),
                "table": ModalityUse(present=False, used=False),
            },
            "measurements": (
                Measurement(name="cup_to_disc_ratio", value=0.62, unit="ratio"),
                Measurement(name="central_thickness", value=281.4, unit="um"),
                Measurement(name="fractal_dimension", value=None, unit="", failure="vessels.none"),
            ),
            **changes,
        }
    )  # fmt: skip


@pytest.fixture
def result_of():
    return make_result


@pytest.fixture
def facts():
    return facts_of(make_result())
