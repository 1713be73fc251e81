"""Maps of other tools: colours, class numbers, probabilities; what they do not say is asked, not guessed."""

import numpy as np
import pytest

from fundusion.biomarkers.maps import split_map
from fundusion.core.errors import InvalidInput

COLORS = np.array([[[255, 0, 0], [0, 0, 255], [255, 0, 255], [0, 255, 0], [255, 255, 255], [0, 0, 0]]], np.uint8)


def rows(masks):
    return {k: v[0].astype(int).tolist() for k, v in masks.items()}


def test_colours():
    assert rows(split_map(COLORS)) == {
        "artery": [1, 0, 1, 0, 0, 0],
        "vein": [0, 1, 1, 0, 0, 0],
        "vessels": [1, 1, 1, 1, 1, 0],
    }
    assert rows(split_map(COLORS, green="crossing"))["artery"] == [1, 0, 1, 1, 0, 0]
    with pytest.raises(InvalidInput, match="green"):
        split_map(COLORS, green="vein")


def test_other_colours_are_refused():
    yellow = np.zeros((10, 10, 3), np.uint8)
    yellow[:5, :, :2] = 255
    with pytest.raises(InvalidInput) as error:
        split_map(yellow)
    assert error.value.code == "mask.colors"


def test_numbers_of_classes_need_their_meaning():
    numbers = np.array([[0, 1, 2, 3]], np.uint8)
    with pytest.raises(InvalidInput) as error:
        split_map(numbers)
    assert error.value.code == "mask.labels"
    assert rows(split_map(numbers, labels={"artery": 1, "vein": 2})) == {
        "artery": [0, 1, 0, 0],
        "vein": [0, 0, 1, 0],
        "vessels": [0, 1, 1, 0],
    }


@pytest.mark.parametrize("high", [1, 255])
def test_black_and_white(high):
    assert rows(split_map(np.array([[0, high]], np.uint8))) == {"vessels": [0, 1]}
