"""No result can hold a number that is not one."""

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.results import Measurement, Prediction, Quality, StudyResult


@pytest.mark.parametrize("p", [float("nan"), float("inf"), -0.1, 1.1])
def test_probabilities_are_finite_and_in_range(p):
    with pytest.raises(InvalidInput):
        Prediction(task="t", kind="binary", probabilities={"yes": p})
    with pytest.raises(InvalidInput):
        Quality(gradable=True, score=p)


def test_regression_value_is_finite():
    with pytest.raises(InvalidInput) as error:
        Prediction(task="t", kind="regression", value=float("nan"))
    assert error.value.code == "model.not_finite"


def test_measurement_has_a_value_or_a_reason():
    Measurement(name="crae", value=None, unit="um", failure="fewer than six arterioles")
    with pytest.raises(InvalidInput):
        Measurement(name="crae", value=None, unit="um")
    with pytest.raises(InvalidInput):
        Measurement(name="crae", value=float("nan"), unit="um")


def test_status_is_one_of_two_and_ok_needs_an_answer():
    with pytest.raises(InvalidInput):
        StudyResult(study_id="a", patient_id=None, laterality=None, status="pending", code="x")
    with pytest.raises(InvalidInput):
        StudyResult(study_id="a", patient_id=None, laterality=None, status="ok", code="ok")
