"""Acuity notations agree with each other; words below the chart become numbers only by a named rule."""

import pytest

from fundusion.core.acuity import (
    LOW_VISION,
    decimal_to_logmar,
    letters_to_logmar,
    logmar_to_decimal,
    logmar_to_letters,
    low_vision_logmar,
    low_vision_word,
    parse_snellen,
)
from fundusion.core.errors import InvalidInput


@pytest.mark.parametrize(
    ("snellen", "decimal", "logmar", "letters"),
    [("20/20", 1.0, 0.0, 85), ("20/40", 0.5, 0.30103, 70), ("6/60", 0.1, 1.0, 35), ("20/200", 0.1, 1.0, 35), ("4/4", 1.0, 0.0, 85)],
)  # fmt: skip
def test_one_line_of_the_chart_in_every_notation(snellen, decimal, logmar, letters):
    assert parse_snellen(snellen) == pytest.approx(decimal)
    assert decimal_to_logmar(decimal) == pytest.approx(logmar, abs=1e-5)
    assert logmar_to_decimal(logmar) == pytest.approx(decimal, rel=1e-5)
    assert logmar_to_letters(logmar) == pytest.approx(letters, abs=0.1)
    assert letters_to_logmar(letters) == pytest.approx(logmar, abs=0.002)


@pytest.mark.parametrize("text", ["20/0", "7/12", "20/40+2", "20-40", "", "130/80"])
def test_what_is_no_fraction(text):
    with pytest.raises(InvalidInput) as error:
        parse_snellen(text)
    assert error.value.code == "table.acuity"


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("CF", "counting fingers"),
        ("C.F", None),
        ("指数/30cm", "counting fingers"),
        ("HM@1m", "hand motion"),
        ("光感", "light perception"),
        ("NLP", "no light perception"),
        ("无光感", "no light perception"),
        ("0.1", None),
        ("FCC", None),
    ],
)
def test_words_below_the_chart(text, word):
    assert low_vision_word(text) == word


def test_rules_give_published_numbers_and_none_to_light_perception():
    assert low_vision_logmar("counting fingers", "schulze-bonsel") == pytest.approx(1.854, abs=1e-3)
    assert low_vision_logmar("hand motion", "schulze-bonsel") == pytest.approx(2.301, abs=1e-3)
    assert low_vision_logmar("hand motion", "holladay") == 3.0
    for rule in ("schulze-bonsel", "holladay"):
        assert low_vision_logmar("no light perception", rule) is None
    with pytest.raises(InvalidInput):
        low_vision_logmar("hand motion", "mine")


def test_a_decimal_of_zero_has_no_logmar():
    with pytest.raises(InvalidInput):
        decimal_to_logmar(0.0)


def test_no_word_means_two_things():
    words = [w for group in LOW_VISION.values() for w in group]
    assert len(set(words)) == len(words)
