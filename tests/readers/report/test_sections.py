"""Headings, sentences, broken lines."""

import pytest

from fundusion.readers.report.sections import split_passages


def test_headings_name_the_kind_of_passage():
    text = "Past ocular history: PRP OS 2015.\nFamily history: glaucoma.\nFindings: MA OS.\nPlan: PRP OD."
    assert [p.section for p in split_passages(text)] == ["history", "family", "findings", "plan"]
    assert [p.section for p in split_passages("既往史:白内障术后。眼底:未见出血。建议:复查")] == [
        "history",
        "findings",
        "plan",
    ]


def test_history_ends_with_its_line():
    assert [p.section for p in split_passages("History: glaucoma\nOD: drusen")] == ["history", "findings"]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("C/D 0.6. IOP 16.5 mmHg.", 2),
        ("O.D. few dots, O.S. clear", 1),
        ("ref. Dr. Smith", 2),
        ("未见出血。可见渗出!视盘清", 3),
        ("?NVE. Glaucoma? Yes", 3),
        ("", 0),
        (" .;, ", 0),
    ],
)
def test_sentences(text, sentences):
    assert len(split_passages(text)) == sentences


def test_a_line_broken_inside_a_sentence_is_read_on():
    text = "There is no evidence of haemorrhage, exudate or\nneovascularisation"
    (passage,) = split_passages(text)
    assert text[passage.start :].startswith("There")
    assert "neovascularisation" in passage.text
    assert len(split_passages("no rd\ncataract os")) == 2


def test_positions_index_the_text():
    text = "OD: drusen.  \n- OS: clear\n"
    for passage in split_passages(text):
        assert text[passage.start :].startswith(passage.text[:5])
