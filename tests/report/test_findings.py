"""Predictions become findings with their certainty."""

import pytest

from fundusion.core.results import Prediction, Quality
from fundusion.core.tasks import STANDARD_TASKS, MultiClass, Regression
from fundusion.report.findings import certainty_words, compose_findings

TASKS = {**STANDARD_TASKS, "iop": Regression(unit="mmHg"), "vein": MultiClass(["none", "BRVO"])}


def disease(**over):
    p = dict.fromkeys(TASKS["disease"].labels, 0.01) | over
    return Prediction(task="disease", kind="multilabel", probabilities=p, thresholds=dict.fromkeys(p, 0.3))


def test_each_label_is_a_finding_with_its_own_threshold_and_normal_is_none():
    found = {f.name: f for f in compose_findings({"disease": disease(G=0.9, C=0.3)}, tasks=TASKS, quality=None)}
    assert len(found) == 7
    assert (found["glaucoma"].status, found["glaucoma"].certainty) == ("present", 0.9)
    assert found["cataract"].status == "uncertain"
    assert "cannot be excluded" in found["cataract"].text
    assert found["pathological myopia"].text.startswith("No sign")


@pytest.mark.parametrize(("grade", "status"), [("0", "absent"), ("4", "present")])
def test_a_retinopathy_grade_says_whether_to_refer(grade, status):
    p = {str(i): 0.97 if str(i) == grade else 0.0075 for i in range(5)}
    prediction = Prediction(task="dr_grade", kind="ordinal", probabilities=p, label=grade)
    (found,) = compose_findings({"dr_grade": prediction}, tasks=TASKS, quality=None)
    assert (found.name, found.status) == ("referable diabetic retinopathy", status)
    assert found.certainty == pytest.approx(sum(v for k, v in p.items() if int(k) >= 2))


def test_nothing_is_stated_of_a_picture_that_is_not_gradable_and_absence_is_evidence():
    bad = Quality(gradable=False, score=0.1, reasons=("quality.dark",))
    assert compose_findings({"disease": disease()}, tasks=TASKS, quality=bad) == ()
    found = compose_findings({"disease": disease()}, tasks=TASKS, quality=None, missing=("table",))
    assert all(f.evidence and "table" in f.evidence[0] for f in found)


def test_classes_and_quantities():
    vein = Prediction(task="vein", kind="multiclass", probabilities={"none": 0.1, "BRVO": 0.9}, label="BRVO")
    iop = Prediction(task="iop", kind="regression", value=17.25, unit="mmHg")
    one, two = compose_findings({"vein": vein, "iop": iop}, tasks=TASKS, quality=None)
    assert "BRVO" in one.text
    assert "likely" in one.text
    assert "17.2 mmHg" in two.text or "17.3 mmHg" in two.text


def test_words_for_probabilities_rise():
    seen = list(dict.fromkeys(certainty_words(p / 100) for p in range(101)))
    assert seen == ["unlikely", "possible", "more likely than not", "likely", "very likely"]
