"""Scores of what texts say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.metrics.language import (
    contradiction_rate,
    finding_scores,
    invented_number_rate,
    laterality_accuracy,
    text_overlap,
)

STATEMENT = st.tuples(
    st.sampled_from(["cataract", "glaucoma", "drusen"]), st.sampled_from(["present", "absent"]), st.sampled_from(["OD", "OS", ""])
)  # fmt: skip
TEXTS = st.lists(st.lists(STATEMENT, max_size=4, unique_by=lambda s: s[0]), min_size=1, max_size=4)


def test_counts_by_hand():
    said = [[("a", "present", "OD"), ("b", "absent", "OD")], [("a", "present", "OS")]]
    known = [[("a", "present", "OD"), ("b", "present", "OD")], [("a", "present", "OD")]]
    scores = finding_scores(said, known)
    assert (scores.right, scores.extra, scores.missing) == (2, 1, 1)
    assert scores.f1 == pytest.approx(2 / 3)
    # a: 1.0; b: 0.0
    assert scores.macro_f1 == pytest.approx(0.5)
    assert laterality_accuracy(said, known) == 0.5
    assert contradiction_rate(said, known) == 1.0


@given(TEXTS)
def test_a_text_that_says_what_is_known_has_no_fault(texts):
    scores = finding_scores(texts, texts)
    assert scores.extra == scores.missing == 0
    assert scores.f1 in (None, 1.0)
    assert contradiction_rate(texts, texts) == 0.0
    assert laterality_accuracy(texts, texts) in (None, 1.0)


def test_doubt_contradicts_nothing_and_nothing_is_not_zero():
    assert contradiction_rate([[("a", "uncertain", "")]], [[("a", "present", "OD")]]) == 0.0
    empty = finding_scores([[]], [[]])
    assert (empty.precision, empty.recall, empty.f1, empty.macro_f1) == (None, None, None, None)
    assert invented_number_rate([[]], [["1"]]) is None
    assert laterality_accuracy([[("a", "present", "")]], [[("a", "present", "OD")]]) is None


def test_numbers_are_compared_as_written():
    assert invented_number_rate([["0.6", "93"], ["7"]], [["0.62", "93"], []]) == pytest.approx(2 / 3)


def test_lengths_must_agree():
    for score in (finding_scores, laterality_accuracy, contradiction_rate, invented_number_rate):
        with pytest.raises(InvalidInput):
            score([[]], [])
    with pytest.raises(InvalidInput):
        contradiction_rate([], [])


@pytest.mark.parametrize(
    ("language", "same", "other"),
    [("en", "no cataract in the right eye", "drusen OS"), ("zh", "右眼未见白内障征象", "左侧玻璃膜疣")],
)
def test_overlap_of_words(language, same, other):
    pytest.importorskip("sacrebleu")
    pytest.importorskip("rouge_score")
    alike = text_overlap([same], [same], language=language)
    assert alike["rouge_l"] == pytest.approx(1.0)
    assert alike["bleu"] == pytest.approx(100.0)
    assert text_overlap([other], [same], language=language)["rouge_l"] < 0.5
    assert alike["meteor"] > 0.99
    assert text_overlap([other], [same], language=language)["meteor"] < alike["meteor"]
    assert text_overlap([], []) == {"bleu": None, "rouge_l": None, "meteor": None}
    # Stems count as matches, synonyms do not: nothing is downloaded.
    assert text_overlap(["haemorrhages"], ["haemorrhage"])["meteor"] > 0.4
    assert text_overlap(["bleeding"], ["haemorrhage"])["meteor"] == 0.0
