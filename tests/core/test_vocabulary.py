"""An eye is read, never guessed."""

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.vocabulary import ICDR_LABELS, ODIR_LABELS, Laterality, parse_laterality


@pytest.mark.parametrize("word", ["OD", "od", "R", "right", "Right eye", "右眼", " od "])
def test_right_eye_words(word):
    assert parse_laterality(word) is Laterality.RIGHT


@pytest.mark.parametrize("word", ["OS", "l", "LEFT", "左"])
def test_left_eye_words(word):
    assert parse_laterality(word) is Laterality.LEFT


def test_empty_is_unknown_and_strange_is_an_error():
    assert parse_laterality("") is None
    assert parse_laterality(None) is None
    for word in ("OU", "both", "1", "x"):
        with pytest.raises(InvalidInput) as error:
            parse_laterality(word)
        assert error.value.code == "laterality.unknown"


def test_scales():
    assert len(ICDR_LABELS) == 5
    assert "".join(ODIR_LABELS) == "NDGCAHMO"
