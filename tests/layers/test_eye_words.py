"""Sentences of the captioner are read back as what they were made of, in both languages."""

import pytest

from fundusion.layers.eye_words import FINDINGS, LANGUAGES, QUESTIONS, WORDS, question, told_findings, told_picture
from fundusion.layers.word_tokenizer import WordTokenizer
from fundusion.readers.report import read_report


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("eye", ["OD", "OS"])
def test_captions_are_read_back_with_their_eye(language, eye):
    for keys in (["drusen", "cataract"], ["dr2", "membrane"], ["normal"], ["glaucoma_suspect"]):
        one = {(f.code, f.status) for k in keys for f in read_report(FINDINGS[k][LANGUAGES.index(language)]).findings}
        found = read_report(told_picture("cfp", eye, keys, language)).findings
        assert {(f.code, f.status) for f in found} == one
        assert {f.eye for f in found} == {eye}


def test_grades_keep_their_number():
    for grade in range(1, 5):
        for language in LANGUAGES:
            (found,) = read_report(told_findings([f"dr{grade}"], language)).findings
            assert found.grade == ("icdr", str(grade))


def test_every_sentence_is_made_of_known_words():
    words = WordTokenizer(WORDS)
    for language in LANGUAGES:
        for kind in QUESTIONS:
            assert "[UNK]" not in words.words_of(question(kind, language))
        assert "[UNK]" not in words.words_of(told_picture("ffa", "OS", ["leakage"], language))
        assert "[UNK]" not in words.words_of(told_picture("oct", None, [], language))


def test_the_order_of_findings_does_not_matter_and_no_eye_is_made_up():
    assert told_findings(["drusen", "dr1"]) == told_findings(["dr1", "drusen"])
    assert "eye" not in told_picture("oct", None, ["fluid"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_in_doubt_stands_last_and_leaves_the_others_certain(language):
    found = read_report(told_findings(["glaucoma_suspect", "laser", "drusen"], language)).findings
    assert {f.code: f.status for f in found} == {"glaucoma": "uncertain", "laser_scar": "present", "drusen": "present"}
