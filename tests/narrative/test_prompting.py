"""What a generator is told: every finding with its status and probability, both languages, three lengths, and nothing else."""

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.vocabulary import Laterality
from fundusion.narrative.facts import facts_of
from fundusion.narrative.prompting import LENGTHS, description_turns, findings_lines, question_turns, rewording_turns
from fundusion.narrative.recommend import Recommendation


def test_all_that_is_known_is_told_and_what_is_uncertain_is_told_so(facts):
    told = "\n".join(findings_lines(facts))
    for words in (
        "eye: right eye", "read from: colour fundus photograph", "image quality: gradable",
        "ICDR grade: 2 (moderate NPDR), present (probability 61 %)", "glaucoma: uncertain (probability 31 %)",
        "cataract: present (probability 93 %)", "age-related macular degeneration: absent (probability 2 %)",
        "cup-to-disc ratio: 0.62", "central retinal thickness: 281 micrometres", "fractal dimension: not measured",
        "missing: optical coherence tomography, patient table",
    ):  # fmt: skip
        assert words in told, words


def test_chinese(facts):
    told = "\n".join(findings_lines(facts, language="zh"))
    for words in (
        "眼别: 右眼",
        "青光眼: 不确定（概率31 %）",
        "白内障: 有",
        "缺少: 光学相干断层扫描、患者信息表",
        "杯盘比: 0.62",
    ):
        assert words in told, words
    with pytest.raises(InvalidInput, match="not known"):
        findings_lines(facts, language="fr")


def test_an_eye_that_is_not_stated_is_not_guessed(result_of):
    assert findings_lines(facts_of(result_of(eye=None)))[0] == "eye: not stated"
    assert findings_lines(facts_of(result_of(eye="OS")))[0] == f"eye: {Laterality.LEFT.name.lower()} eye"


def test_lengths_go_from_the_most_to_the_least(facts):
    full, short, none = (description_turns(facts, language="en", words=50, length=n) for n in LENGTHS)
    sizes = [sum(len(t.text) for t in turns) for turns in (full, short, none)]
    assert sizes[0] > sizes[1] > sizes[2] == 0
    assert full[0].role == "system"
    assert "at most 50 words" in full[1].text
    # Short leaves out what is absent and probabilities, never what is there or uncertain.
    assert "glaucoma: uncertain\n" in short[0].text
    assert "hypertensive" not in short[0].text
    assert question_turns("Is there glaucoma?", facts, language="en", length="none")[0].text.startswith("Question: ")
    assert question_turns("有青光眼吗？", facts, language="zh")[1].text.endswith("有青光眼吗？")


def test_a_rule_is_handed_over_as_it_is_written():
    item = Recommendation(topic="x", status="determined", text="Refer within 3 months.")
    assert item.text in rewording_turns(item, language="en")[1].text
    assert len(rewording_turns(item, language="en", length="short")) == 1
