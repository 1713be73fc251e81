"""The template says every finding once, with its evidence, as sure as it is, in both languages."""

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.results import Measurement
from fundusion.narrative.checker import FORMAL
from fundusion.narrative.facts import facts_of
from fundusion.narrative.judge import judge
from fundusion.narrative.writer import DISCLAIMER, narrative_rows, quantity, write_narrative
from fundusion.readers.report.cleaning import clean_text

CASES = [
    {},
    {"eye": None},
    {"eye": "OS", "sure": 0.4},
    {"grade": "0", "states": {"D": "absent", "G": "absent", "C": "absent", "O": "uncertain"}, "referable": 0.02},
    {"grade": "1", "referable": 0.1},
    {"grade": "4", "states": {"D": "absent"}, "referable": 0.9},
    {"grade": None},
]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("case", CASES)
def test_every_sentence_has_evidence_and_reads_back_as_the_facts(result_of, case, language):
    facts = facts_of(result_of(**case))
    told = write_narrative(facts, language=language)
    assert all(s.evidence for s in told.sentences)
    for sentence in told.sentences:
        if sentence.kind not in FORMAL:
            judgement = judge(clean_text(sentence.text).plain.rstrip(".。"), facts)
            assert judgement.kinds == (), (sentence.text, judgement)
            assert set(judgement.evidence) <= set(sentence.evidence)
    said = {e for s in told.sentences for e in s.evidence}
    assert {e for f in facts.findings for e in f.evidence} <= said
    assert told.sentences[-1].text == DISCLAIMER[language]


def test_words_of_both_languages(facts):
    english, chinese = (write_narrative(facts, language=k).text for k in ("en", "zh"))
    assert "Signs of cataract in the right eye (probability 93 %)." in english
    assert "Glaucoma cannot be excluded in the right eye (probability 31 %)." in english
    assert "ICDR grade 2 (moderate NPDR) in the right eye (probability 61 %)." in english
    assert "Not provided: optical coherence tomography and patient table." in english
    assert "Fractal dimension in the right eye was not measured." in english
    assert "右眼可见白内障征象（概率93%）。" in chinese
    assert "右眼不能排除青光眼（概率31%）。" in chinese
    assert "右眼中心视网膜厚度：281微米。" in chinese
    assert "left" not in english
    assert "左" not in chinese


def test_an_eye_that_is_not_stated_is_not_named(result_of):
    text = write_narrative(facts_of(result_of(eye=None))).text
    assert "right eye" not in text
    assert "whose side is not stated" in text


def test_answers_that_disagree_are_told_without_a_number(result_of):
    facts = facts_of(result_of(grade="4", states={"D": "absent"}, referable=0.9))
    text = write_narrative(facts).text
    assert "Diabetic retinopathy cannot be excluded in the right eye." in text
    assert "the answers of the model disagree" in text


def test_a_refused_study_is_described_by_nothing(result_of):
    told = write_narrative(facts_of(result_of(status="rejected", code="quality.dark")))
    assert [s.kind for s in told.sentences] == ["refusal", "disclaimer"]
    assert told.to_dict()["sentences"][0]["evidence"] == ["quality.dark"]


def test_numbers_are_written_in_plain_notation():
    assert quantity(Measurement(name="m", value=1500.0, unit="um"), "en") == "1500 micrometres"
    assert quantity(Measurement(name="m", value=0.6249, unit="ratio"), "zh") == "0.625"
    assert quantity(Measurement(name="m", value=1.472, unit="1"), "en") == "1.47"


def test_rows_of_a_page_hold_both_languages_and_no_second_disclaimer(result_of):
    rows = dict(narrative_rows(result_of()))
    assert set(rows) == {"en", "zh"}
    assert DISCLAIMER["en"] not in [r.name for r in rows["en"]]


def test_an_unknown_language_is_refused(facts):
    with pytest.raises(InvalidInput):
        write_narrative(facts, language="fr")
