"""Labels are in the set or refused; not annotated is NaN, never a class."""

import math

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.tasks import Binary, MultiClass, MultiLabel, Ordinal, Regression
from fundusion.transforms.targets import encode_label, encode_labels

GRADE = Ordinal(5)


@pytest.mark.parametrize(("cell", "value"), [(2, 2.0), ("2", 2.0), (2.0, 2.0), ("2.0", 2.0), (" 2", 2.0), (0, 0.0)])
def test_grades_in_every_spelling(cell, value):
    assert encode_label(GRADE, cell) == value


@pytest.mark.parametrize("cell", [5, -1, -100, "2.5", "mild", 2.5, float("inf")])
def test_values_outside_the_scale_are_refused(cell):
    with pytest.raises(InvalidInput) as error:
        encode_label(GRADE, cell)
    assert error.value.code == "label.unknown"


@pytest.mark.parametrize("cell", [None, "", float("nan")])
def test_not_annotated_is_nan(cell):
    assert math.isnan(encode_label(GRADE, cell))
    assert np.isnan(encode_label(MultiLabel("AB"), cell)).all()


def test_words_and_indices_of_a_multiclass_task():
    task = MultiClass(("healthy", "glaucoma", "suspect"))
    assert encode_label(task, "suspect") == 2.0
    assert encode_label(task, 1) == 1.0
    with pytest.raises(InvalidInput):
        encode_label(task, 3)


def test_labels_that_are_numbers_are_names_not_positions():
    task = MultiClass(("1", "2", "3"))
    assert encode_label(task, 1) == 0.0
    with pytest.raises(InvalidInput):
        encode_label(task, 0)


def test_binary_accepts_booleans():
    assert encode_label(Binary(), True) == 1.0
    assert encode_label(Binary(), "no") == 0.0


def test_multilabel_forms_agree():
    task = MultiLabel("NDG")
    assert encode_label(task, "D|G").tolist() == [0, 1, 1]
    assert encode_label(task, "none").tolist() == [0, 0, 0]
    partly = encode_label(task, {"N": 0, "D": float("nan"), "G": 1})
    assert partly[[0, 2]].tolist() == [0, 1]
    assert np.isnan(partly[1])
    for bad in ("D|X", {"X": 1}, {"D": 2}):
        with pytest.raises(InvalidInput):
            encode_label(task, bad)


def test_regression_keeps_natural_units():
    assert encode_label(Regression(unit="years", center=58, scale=11), "61.5") == 61.5


def test_shapes():
    assert encode_labels(GRADE, [1, None]).shape == (2,)
    assert encode_labels(MultiLabel("AB"), ["A", None]).shape == (2, 2)
    assert encode_labels(MultiLabel("AB"), []).shape == (0, 2)
