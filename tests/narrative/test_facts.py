"""Facts are never surer than the numbers, and never disagree with each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.results import Measurement, Prediction, StudyResult
from fundusion.narrative.facts import facts_of
from fundusion.narrative.writer import write_narrative


def test_a_finding_over_a_low_threshold_stays_uncertain(result_of):
    facts = facts_of(result_of(states={"H": "present"}, chances={"H": 0.3}))
    assert facts.of("hypertensive_retinopathy").status == "uncertain"
    assert facts.of("cataract").status == "present"


@pytest.mark.parametrize(
    ("grade", "label", "referable"),
    [("0", "present", 0.1), ("3", "absent", 0.9), ("2", "present", 0.1), ("1", "present", 0.9)],
)
def test_answers_that_disagree_are_uncertain(result_of, grade, label, referable):
    facts = facts_of(result_of(grade=grade, states={"D": label}, referable=referable))
    assert facts.of("referable_diabetic_retinopathy").status == "uncertain"
    assert facts.grade.status == "uncertain"


def test_answers_that_agree_stay_as_they_are(result_of):
    facts = facts_of(result_of(grade="1", states={"D": "present"}, referable=0.1))
    assert (facts.grade.status, facts.of("diabetic_retinopathy").status) == ("present", "present")
    assert not any(f.contested for f in facts.findings)
    assert facts_of(result_of(sure=0.4)).grade.status == "uncertain"
    assert facts_of(result_of(grade=None)).grade is None


def test_a_rejected_study_has_no_facts_but_its_reason(result_of):
    facts = facts_of(result_of(status="rejected", code="quality.dark"))
    assert (facts.findings, facts.grade, facts.refusal) == ((), None, "quality.dark")


def test_missing_modalities_are_those_that_were_not_there(result_of):
    facts = facts_of(result_of())
    assert (facts.used, facts.missing) == (("cfp",), ("oct", "table"))


@given(
    st.sampled_from("01234"), st.sampled_from(["present", "absent", "uncertain"]), st.floats(0.01, 0.99), st.floats(0.3, 0.99)
)  # fmt: skip
def test_no_two_stated_facts_on_retinopathy_contradict(grade, label, referable, sure):
    from .conftest import make_result

    facts = facts_of(make_result(grade=grade, states={"D": label}, referable=referable, sure=sure))
    stated = {f.code: f.status for f in facts.findings if f.status != "uncertain"}
    if facts.grade.status == "present" and "diabetic_retinopathy" in stated:
        assert (stated["diabetic_retinopathy"] == "present") == (facts.grade.label != "0")
    if facts.grade.status == "present" and "referable_diabetic_retinopathy" in stated:
        assert (stated["referable_diabetic_retinopathy"] == "present") == (facts.grade.label >= "2")


def test_of_the_many_measurements_of_photographs_those_with_words_are_told_once():
    def m(name, value, image, unit="1"):
        return Measurement(
            name=name, value=value, unit=unit, image=image, failure=None if value is not None else "disc.absent"
        )

    rows = (
        m("vcdr", None, "cfp.0"), m("vcdr", 0.61, "cfp.1"), m("vcdr", 0.7, "cfp.2"), m("lacunarity_vessels", 3.0, "cfp.0"),
        m("density_vessels", 0.11, "cfp.0"), Measurement(name="central_thickness", value=281.0, unit="um"),
    )  # fmt: skip
    result = StudyResult(
        study_id="a", patient_id=None, laterality="OD", status="ok", code="ok", measurements=rows,
        predictions={"disease": Prediction(task="disease", kind="multilabel", probabilities={"G": 0.1})},
    )  # fmt: skip
    facts = facts_of(result)
    told = {x.name: (x.value, x.unit) for x in facts.measurements}
    assert told == {
        "central_thickness": (281.0, "um"), "vertical_cup_to_disc_ratio": (0.61, "ratio"), "vessel_density": (0.11, "ratio")
    }  # fmt: skip
    for language, words in (
        ("en", "vertical cup-to-disc ratio in the right eye: 0.61."),
        ("zh", "右眼垂直杯盘比：0.61。"),
    ):
        assert words.lower() in write_narrative(facts, language=language).text.lower()
