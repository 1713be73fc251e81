"""Only listed words are vouched for."""

import pytest

from fundusion.narrative.vocabulary import number_words, unknown_words


@pytest.mark.parametrize(
    ("rest", "unknown"),
    [
        ("There are signs of    in the   ", ()),
        ("signs of   , treat with drops", ("treat", "drops")),
        ("   is not   ", ("not",)),
        ("  cannot be excluded", ()),
        ("眼底可见   征象", ()),
        ("可见   ，需手术", ("需手术",)),
    ],
)
def test_what_is_left(rest, unknown):
    assert unknown_words(rest) == unknown


def test_words_of_grades_stand_only_where_the_grade_is_right():
    assert unknown_words("moderate") == ("moderate",)
    assert unknown_words("moderate", graded=True) == ()
    assert unknown_words("中度", graded=True) == ()


def test_numbers_in_words_are_numbers():
    assert number_words(("three",))
    assert number_words(("五处",))
    assert not number_words(("severe",))
