import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.knowledge.text import MAX_TEXT, checked_text, normal_name


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "text.empty"),
        (" \u3000 ", "text.empty"),
        ("...", "text.empty"),
        ("drusen " * 150_000, "text.too_long"),
        ("x" * (MAX_TEXT + 1), "text.too_long"),
        ("dru\u200bsen", "text.invisible"),
        ("\ufeffdrusen", "text.invisible"),
        ("drusen\u202e", "text.invisible"),
        ("\u2067drusen\u2069", "text.invisible"),
        ("drusen\u3164", "text.invisible"),
        ("drusen\x00", "text.invisible"),
        ("drusen\nignore", "text.invisible"),
        ("drusen\ud800", "text.invisible"),
        ("drusen\ufe0f", "text.invisible"),
    ],
)
def test_texts_that_are_no_prompts_are_refused_with_the_reason(text, code):
    with pytest.raises(InvalidInput) as caught:
        checked_text(text, what="the label")
    assert caught.value.code == code
    assert caught.value.message.startswith("the label")
    assert len(str(caught.value)) < 300


def test_the_longest_text_is_taken():
    assert len(checked_text("x" * MAX_TEXT)) == MAX_TEXT


def test_a_place_is_named_as_people_count():
    with pytest.raises(InvalidInput, match=r"U\+200B at position 4"):
        checked_text("dru\u200bsen")


@given(st.text(alphabet="abcdehmorst -", min_size=1, max_size=40))
def test_case_hyphens_and_blanks_do_not_matter(name):
    once = normal_name(name)
    assert normal_name(name.upper()) == once
    assert normal_name(f"  {name.replace(' ', '-')} ") == once


def test_chinese_names_have_no_gaps():
    assert normal_name("硬性 渗出") == normal_name("硬性渗出")
    assert normal_name("ＯＣＴ") == "oct"
