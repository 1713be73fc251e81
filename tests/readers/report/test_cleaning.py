"""Uniform text, and the way back to the original."""

from hypothesis import given
from hypothesis import strategies as st

from fundusion.readers.report.cleaning import clean_text

_ODD = st.text(alphabet="aOD出血，（）ＭＡ：\u200b\u202e\ufeffа е½㎜\r\n\t éИж", max_size=60)


def test_plain_ascii_stays_itself():
    clean = clean_text("No MA OD.\n")
    assert clean.plain == "No MA OD.\n"
    assert clean.span(3, 5) == (3, 5)


def test_hidden_characters_are_left_out_and_listed():
    clean = clean_text("hae\u200bmorr\u202ehage\ufeff")
    assert clean.plain == "haemorrhage"
    assert (clean.invisible, clean.direction) == ((3, 13), (8,))
    assert clean.span(0, 11) == (0, 13)


def test_lookalikes_become_latin_only_in_a_text_of_another_script():
    assert clean_text("hаemоrrhage").plain == "haemorrhage"
    russian = "Кровоизлияния не найдены, отёк диска"
    assert clean_text(russian).plain == russian
    assert clean_text(russian).lookalikes == ()


def test_one_character_that_becomes_two_points_at_itself():
    clean = clean_text("5㎜ OD")
    assert clean.plain == "5mm OD"
    assert clean.span(1, 3) == (1, 2)


@given(_ODD)
def test_every_span_lies_in_the_original_and_keeps_the_order(text):
    clean = clean_text(text)
    last = 0
    for i in range(len(clean.plain)):
        start, end = clean.span(i, i + 1)
        assert 0 <= last <= start < end <= len(text)
        last = start
