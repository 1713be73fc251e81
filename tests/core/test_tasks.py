"""Heads say what they answer."""

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.tasks import STANDARD_TASKS, Binary, MultiClass, MultiLabel, Ordinal, Regression, Task


@pytest.mark.parametrize(
    ("task", "outputs"),
    [(Binary(), 1), (MultiClass("abc"), 3), (MultiLabel("abcd"), 4), (Ordinal(5), 4), (Regression(unit="um"), 1)],
)
def test_outputs_and_round_trip(task, outputs):
    assert task.outputs == outputs
    assert Task.from_dict(task.to_dict()) == task


@pytest.mark.parametrize(
    "arguments",
    [
        {"kind": "grade", "labels": ("a", "b")},
        {"kind": "binary", "labels": ("a", "b", "c")},
        {"kind": "multiclass", "labels": ("a", "a")},
        {"kind": "regression", "labels": ("a",)},
        {"kind": "ordinal", "labels": ("0",)},
        {"kind": "ordinal", "labels": ("0", "1"), "method": "svm"},
    ],
)
def test_impossible_tasks_are_refused(arguments):
    with pytest.raises(InvalidInput):
        Task(**arguments)


def test_standard_tasks_have_words_for_each_label():
    assert STANDARD_TASKS["dr_grade"].title("4") == "PDR"
    assert STANDARD_TASKS["disease"].title("M") == "pathological myopia"
    assert STANDARD_TASKS["gradable"].title("gradable") == "gradable"
