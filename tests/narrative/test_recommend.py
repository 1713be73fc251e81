"""The rule table gives what guidelines say, with sources; what is missing is not determined; never a treatment."""

import re

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.narrative import recommend as module
from fundusion.narrative.facts import facts_of
from fundusion.narrative.recommend import recommend, sources, urgency_of


def first(items, topic):
    return next(i for i in items if i.topic == topic)


@pytest.mark.parametrize(
    ("grade", "months", "urgency", "referral"),
    [
        ("0", (12, 24), "none", False),
        ("1", (6, 12), "none", False),
        ("2", (3, 6), "soon", True),
        ("3", (0, 3), "urgent", True),
        ("4", (0, 1), "urgent", True),
    ],
)
def test_intervals_of_the_ico_guideline_where_resources_are_high(result_of, grade, months, urgency, referral):
    states = {"D": "absent" if grade == "0" else "present", "G": "absent", "C": "absent"}
    facts = facts_of(result_of(grade=grade, states=states, referable=0.9 if grade >= "2" else 0.1))
    item = first(recommend(facts, diabetes=True), "diabetic_retinopathy")
    assert (item.status, item.months, item.urgency, item.referral) == ("determined", months, urgency, referral)
    assert "ico_2017" in item.sources
    assert item.evidence == (f"dr_grade/{grade}",)


def test_where_resources_are_low_mild_and_moderate_wait_longer(result_of):
    facts = facts_of(result_of())
    assert first(recommend(facts, setting="low"), "diabetic_retinopathy").months == (6, 12)


@pytest.mark.parametrize("diabetes", [None, False])
def test_an_interval_for_people_with_diabetes_needs_diabetes(result_of, diabetes):
    facts = facts_of(result_of(grade="0", states={"D": "absent"}, referable=0.1))
    item = first(recommend(facts, diabetes=diabetes), "diabetic_retinopathy")
    assert (item.status, item.months, item.urgency) == ("not determined", None, None)
    assert "diabetes" in item.text
    # Grades that are referred are referred without it.
    assert first(recommend(facts_of(result_of()), diabetes=diabetes), "diabetic_retinopathy").status == "determined"


def test_what_is_missing_or_uncertain_is_not_determined(result_of):
    items = recommend(facts_of(result_of(grade=None)))
    assert "no ICDR grade" in first(items, "diabetic_retinopathy").text
    assert "macular oedema was not assessed" in first(items, "diabetic_macular_oedema").text
    assert first(items, "glaucoma").status == "not determined"
    assert first(items, "cataract").referral is True
    unsure = facts_of(result_of(grade="1", sure=0.4, referable=0.1))
    assert first(recommend(unsure), "diabetic_retinopathy").status == "not determined"
    refused = recommend(facts_of(result_of(status="rejected", code="quality.dark")), language="zh")
    assert [i.status for i in refused] == ["not determined"]
    assert urgency_of(refused) is None


def test_an_uncertain_grade_is_referred_when_two_or_more_is_likely(result_of):
    item = first(recommend(facts_of(result_of(sure=0.4))), "diabetic_retinopathy")
    assert (item.referral, item.urgency, item.months) == (True, "soon", None)
    assert item.evidence == ("dr_grade/referable diabetic retinopathy",)


def test_the_most_urgent_stands_first_and_what_is_not_determined_last(result_of):
    items = recommend(facts_of(result_of(grade="4", referable=0.9)))
    assert items[0].urgency == "urgent"
    assert items[-1].status == "not determined"
    assert urgency_of(items) == "urgent"


def test_no_rule_names_a_treatment_and_every_rule_has_a_known_source_in_two_languages():
    table = module._table()
    forbidden = r"\b(?:mg|ml|dose|inject\w*|laser|surg\w*|drops?|anti-?vegf|ranibizumab|aflibercept|bevacizumab|steroid\w*)\b|剂量|注射|激光|手术|滴眼|药"
    for name, rule in table["rules"].items():
        assert rule["sources"], name
        assert set(rule["sources"]) <= set(sources()), name
        assert not re.search(forbidden, rule["en"] + rule["zh"], re.IGNORECASE), name
        assert rule["urgency"] in module.URGENCIES
        assert (rule["urgency"] == "none") == (not rule["referral"])
    for source in sources().values():
        assert source["link"].startswith("doi:")
        assert source["checked"]


@pytest.mark.parametrize("wrong", [{"setting": "middle"}, {"language": "fr"}])
def test_unknown_choices_are_refused(facts, wrong):
    with pytest.raises(InvalidInput):
        recommend(facts, **wrong)
