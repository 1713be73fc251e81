"""Questions and answers from what is known: true by the checker, balanced, in both languages, and silent on what nobody annotated."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.core.study import StudyRecord
from fundusion.core.vocabulary import Laterality
from fundusion.narrative.checker import judged
from fundusion.narrative.instructions import KINDS, corrupted, description, facts_of_record, instructions_of
from fundusion.narrative.prompting import description_turns
from fundusion.narrative.questions import answer_question


def record(name="a", **changes):
    told = {
        "study_id": name, "patient_id": "p", "laterality": Laterality.RIGHT, "images": {"cfp": ("/a.png",)},
        "labels": {"dr_grade": "2", "disease": "D|C"}, "metadata": {"iop": 17.0, "diabetes": "yes"},
    }  # fmt: skip
    return StudyRecord(**{**told, **changes})


def test_labels_are_facts_and_what_nobody_annotated_is_none():
    facts = facts_of_record(record())
    states = {f.code: f.status for f in facts.findings}
    assert states["cataract"] == "present"
    assert states["glaucoma"] == "absent"
    assert states["diabetic_retinopathy"] == states["referable_diabetic_retinopathy"] == "present"
    assert (facts.grade.label, facts.laterality, facts.used) == ("2", Laterality.RIGHT, ("cfp",))
    assert facts.measurement("intraocular_pressure").value == 17.0
    named = facts_of_record(record(labels={"findings": ("drusen",)}))
    assert [(f.code, f.status) for f in named.findings] == [("drusen", "present")]
    assert named.grade is None
    masked = facts_of_record(record(labels={"disease": {"G": float("nan"), "C": 0.0}}))
    assert [(f.code, f.status) for f in masked.findings] == [("cataract", "absent")]
    empty = facts_of_record(record(labels={}, metadata={"iop": None}))
    assert (empty.findings, empty.grade, empty.measurements) == ((), None, ())
    assert facts_of_record(record(labels={"dr_grade": "9"})).grade is None


@given(
    grade=st.sampled_from(["0", "1", "2", "3", "4", None]), letters=st.sets(st.sampled_from("DGCAHM")),
    eye=st.sampled_from([Laterality.LEFT, Laterality.RIGHT, None]), seed=st.integers(0, 50),
)  # fmt: skip
def test_every_answer_is_what_the_facts_say(grade, letters, eye, seed):
    labels = {"disease": "|".join(sorted(letters)) or "N", **({"dr_grade": grade} if grade is not None else {})}
    asked = record(labels=labels, laterality=eye)
    facts = facts_of_record(asked)
    for item in instructions_of(asked, count=40, seed=seed):
        # An eye in a question or an answer only where it is stated.
        if eye is None:
            assert item.kind != "laterality"
            assert not any(w in item.answer for w in ("left eye", "right eye", "左眼", "右眼"))
        if item.kind in ("description", "wording", "grade", "finding", "measurement"):
            wrong = [(s, j.kinds, j.detail) for s, j in judged(item.answer, facts) if j.kinds]
            assert not wrong, (item, wrong)
        if item.kind == "finding":
            assert answer_question(item.question, facts, language=item.language).kind in ("finding", "grade")


def test_all_kinds_come_in_both_languages_and_the_wording_varies():
    items = [i for n in range(60) for i in instructions_of(record(f"s{n}"), count=60)]
    assert {(i.kind, i.language) for i in items} == {(k, language) for k in KINDS for language in ("en", "zh")}
    for kind in set(KINDS) - {"wording"}:
        assert len({i.question for i in items if i.kind == kind and i.language == "en"}) >= 3
    assert {i.language for i in instructions_of(record(), languages=("zh",), count=9)} == {"zh"}


def test_present_and_absent_findings_are_asked_as_often():
    items = [
        i
        for n in range(40)
        for i in instructions_of(record(f"s{n}"), languages=("en",), count=60)
        if i.kind == "finding"
    ]
    absent = sum(i.answer.startswith(("No ", "There is no")) for i in items)
    assert absent == len(items) / 2


def test_the_same_seed_gives_the_same_items():
    assert instructions_of(record(), seed=3) == instructions_of(record(), seed=3)
    assert instructions_of(record(), seed=3) != instructions_of(record(), seed=4)


def test_pairs_differ_and_the_wrong_one_is_wrong():
    for n in range(30):
        for item in instructions_of(record(f"s{n}"), count=4, pairs=True):
            facts = facts_of_record(record(f"s{n}"))
            assert item.answer != item.refused
            assert not any(j.kinds for _, j in judged(item.answer, facts))
            assert any(j.kinds for _, j in judged(item.refused, facts)), item
    assert instructions_of(record(labels={}), count=4, pairs=True) == []


def test_one_thing_is_turned_round():
    facts = facts_of_record(record())
    for seed in range(10):
        other = corrupted(facts, np.random.default_rng(seed))
        changed = sum(a != b for a, b in zip(facts.findings, other.findings, strict=True))
        assert changed + (facts.laterality != other.laterality) == 1
        assert description(facts, "en") != description(other, "en")


def test_recommendations_are_those_of_the_rules_and_need_to_know_of_diabetes():
    said = [
        i.answer
        for n in range(9)
        for i in instructions_of(record(f"s{n}"), languages=("en",), count=60)
        if i.kind == "recommendation"
    ]
    assert any("Next examination in 3 to 6 months." in a for a in said)
    mild = record(labels={"dr_grade": "1"}, metadata={})
    assert all(i.kind != "recommendation" for i in instructions_of(mild, count=60))


def test_unknown_languages_are_refused():
    with pytest.raises(InvalidInput, match="not known"):
        instructions_of(record(), languages=("fr",))
    with pytest.raises(InvalidInput, match="no language"):
        instructions_of(record(), languages=())


def test_a_wording_is_asked_as_describe_asks_it():
    items = [i for n in range(20) for i in instructions_of(record(f"s{n}"), count=6) if i.kind == "wording"]
    assert {bool(i.system) for i in items} == {True, False}
    facts = facts_of_record(record())
    for item in items:
        wanted = description_turns(facts, language=item.language, words=120, length="full" if item.system else "short")
        assert item.question == wanted[-1].text
        assert item.answer == description(facts, item.language)
