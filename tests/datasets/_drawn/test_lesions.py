"""Lesions by grade."""

import numpy as np
import pytest

from fundusion.datasets.synthetic import draw_photograph


@pytest.mark.parametrize("grade", range(5))
def test_what_a_grade_shows(grade):
    _, truth = draw_photograph(np.random.default_rng(grade), size=256, grade=grade)
    counts = truth.counts
    assert truth.grade == grade
    assert (counts["MA"] > 0) == (grade >= 1)
    assert (counts["NV"] > 0) == (grade == 4)
    if grade <= 1:
        assert counts["HE"] == counts["EX"] == 0
    for name, mask in truth.lesions.items():
        assert mask.any() == (counts[name] > 0), name


def test_drusen_and_hypertension_are_their_own_signs():
    _, drusen = draw_photograph(np.random.default_rng(0), size=256, drusen=True)
    assert drusen.counts["drusen"] > 0
    assert drusen.counts["MA"] == 0
    _, pressure = draw_photograph(np.random.default_rng(0), size=256, hypertensive=True)
    assert pressure.counts["HE"] + pressure.counts["SE"] > 0
    assert pressure.counts["MA"] == 0
