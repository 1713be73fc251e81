"""Thresholds by rule; decisions; what lies near a threshold is uncertain."""

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.tasks import Binary, MultiClass, MultiLabel, Ordinal
from fundusion.decision.operating_point import choose_threshold, decide, fit_thresholds, status
from fundusion.metrics.classification import sensitivity, specificity


@pytest.fixture
def scored(generator):
    y = (generator.random(600) < 0.25).astype(float)
    return y, 1 / (1 + np.exp(-generator.normal(2 * y - 1, 1)))


@pytest.mark.parametrize("value", [0.8, 0.95])
def test_the_wished_sensitivity_or_specificity_is_kept_and_not_wasted(scored, value):
    y, p = scored
    t = choose_threshold(y, p, rule="sensitivity", value=value)
    assert sensitivity(y, p >= t) >= value
    lower = np.unique(p)[np.unique(p) > t]
    assert sensitivity(y, p >= lower[1]) <= value + 2 / y.sum()
    t = choose_threshold(y, p, rule="specificity", value=value)
    assert specificity(y, p >= t) >= value


def test_youden_is_the_best_of_all_thresholds(scored):
    y, p = scored
    t = choose_threshold(y, p, rule="youden")
    best = max(sensitivity(y, p >= u) + specificity(y, p >= u) for u in np.unique(p))
    assert sensitivity(y, p >= t) + specificity(y, p >= t) == pytest.approx(best)


def test_labels_with_one_class_keep_one_half(scored):
    y, p = scored
    both, two = np.stack([y, np.zeros_like(y)], 1), np.stack([p, p], 1)
    found = fit_thresholds(MultiLabel("AB"), two, both)
    assert found["A"] == choose_threshold(y, p)
    assert found["B"] == 0.5
    assert set(fit_thresholds(Binary(), np.stack([1 - p, p], 1), y)) == {"yes"}
    assert fit_thresholds(Ordinal(3), two, y) == {}
    with pytest.raises(InvalidInput, match="youden"):
        choose_threshold(y, p, rule="best")


def test_decisions_by_kind():
    assert decide(MultiClass("ABC"), {"A": 0.2, "B": 0.5, "C": 0.3}, {}) == ("B", "B")
    assert decide(Ordinal(3), {"0": 0.3, "1": 0.3, "2": 0.4}, {}) == ("1", "1")
    labels = MultiLabel("AB")
    assert decide(labels, {"A": 0.9, "B": 0.8}, {"A": 0.3, "B": 0.3}) == ("A|B", "positive")
    assert decide(labels, {"A": 0.01, "B": 0.02}, {"A": 0.3, "B": 0.3}) == (None, "negative")
    assert decide(labels, {"A": 0.29, "B": 0.02}, {"A": 0.3, "B": 0.3}) == (None, "uncertain")
    assert decide(Binary(), {"no": 0.2, "yes": 0.8}, {"yes": 0.9}) == ("no", "negative")


def test_uncertain_is_a_band_of_odds_about_the_threshold():
    assert status(0.2, 0.2) == "uncertain"
    assert status(0.0, 0.2) == "negative"
    assert status(1.0, 0.2) == "positive"
    verdicts = [status(p, 0.1) for p in np.linspace(0.001, 0.999, 500)]
    order = ["negative", "uncertain", "positive"]
    assert [order.index(v) for v in verdicts] == sorted(order.index(v) for v in verdicts)
