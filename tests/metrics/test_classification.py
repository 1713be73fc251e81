"""Metrics against scikit-learn; what is not defined says why."""

import numpy as np
import pytest
from sklearn import metrics as peer

from fundusion.metrics import classification as m
from fundusion.metrics.classification import Undefined


@pytest.fixture
def scored(generator):
    y = (generator.random(400) < 0.3).astype(float)
    # Rounded scores: half of the pairs are ties.
    return y, np.round(generator.normal(y, 1.5), 1)


def test_areas(scored, generator):
    y, s = scored
    assert m.auroc(y, s) == pytest.approx(peer.roc_auc_score(y, s))
    assert m.auprc(y, s) == pytest.approx(peer.average_precision_score(y, s))
    w = generator.integers(0, 4, len(y)).astype(float)
    assert m.auroc(y, s, weight=w) == pytest.approx(peer.roc_auc_score(y, s, sample_weight=w))
    # A weight is a count of copies.
    assert m.auprc(y, s, weight=w) == pytest.approx(m.auprc(np.repeat(y, w.astype(int)), np.repeat(s, w.astype(int))))


def test_unknown_targets_are_left_out(scored):
    y, s = scored
    gaps = np.where(np.arange(len(y)) % 5 == 0, np.nan, y)
    known = ~np.isnan(gaps)
    assert m.auroc(gaps, s) == m.auroc(y[known], s[known])
    assert m.brier(gaps, np.clip(s, 0, 1)) == m.brier(y[known], np.clip(s[known], 0, 1))


def test_one_class_or_nothing_is_undefined_with_a_reason():
    for value in (m.auroc([1, 1], [0.1, 0.2]), m.auprc([0, 0], [0.1, 0.2]), m.auroc([np.nan], [0.1]),
                  m.quadratic_kappa([1, 1], [1, 1], classes=3), m.f1([0, 0], [0, 0]), m.brier([], [])):  # fmt: skip
        assert isinstance(value, Undefined)
        assert value.reason


def test_curves(scored):
    y, s = scored
    x, t = m.roc_curve(y, s)
    fpr, tpr, _ = peer.roc_curve(y, s, drop_intermediate=False)
    np.testing.assert_allclose(x, fpr)
    np.testing.assert_allclose(t, tpr)
    assert np.trapezoid(t, x) == pytest.approx(m.auroc(y, s))
    recall, precision = m.precision_recall_curve(y, s)
    assert recall[-1] == 1
    assert precision[-1] == pytest.approx(y.mean())


def test_sensitivity_at_specificity_is_that_of_the_best_threshold(scored):
    y, s = scored
    fpr, tpr, _ = peer.roc_curve(y, s, drop_intermediate=False)
    assert m.sensitivity_at_specificity(y, s, specificity=0.9) == pytest.approx(tpr[fpr <= 0.1 + 1e-12].max())


def test_grades(generator):
    y, p = generator.integers(0, 5, 300), generator.integers(0, 5, 300)
    p = np.where(generator.random(300) < 0.5, y, p)
    assert m.quadratic_kappa(y, p, classes=5) == pytest.approx(peer.cohen_kappa_score(y, p, weights="quadratic"))
    assert m.accuracy(y, p) == pytest.approx(peer.accuracy_score(y, p))
    assert m.balanced_accuracy(y, p, classes=5) == pytest.approx(peer.balanced_accuracy_score(y, p))
    np.testing.assert_array_equal(m.confusion_matrix(y, p, classes=5), peer.confusion_matrix(y, p))
    assert m.mean_absolute_error(y, p) == pytest.approx(peer.mean_absolute_error(y, p))


def test_decisions(generator):
    y, p = (generator.random(200) < 0.4).astype(float), (generator.random(200) < 0.5).astype(float)
    assert m.f1(y, p) == pytest.approx(peer.f1_score(y, p))
    assert m.sensitivity(y, p) == pytest.approx(peer.recall_score(y, p))
    assert m.specificity(y, p) == pytest.approx(peer.recall_score(y, p, pos_label=0))


def test_calibration_error_is_small_for_true_probabilities_and_large_for_shifted_ones(generator):
    p = generator.random(20000)
    y = (generator.random(20000) < p).astype(float)
    assert m.expected_calibration_error(y, p) < 0.02
    assert m.expected_calibration_error(y, np.clip(p + 0.2, 0, 1)) > 0.15
    mean, seen, count = m.reliability_bins(y, p)
    np.testing.assert_allclose(mean, seen, atol=0.04)
    assert count.sum() == 20000


def test_regression(generator):
    y = generator.normal(15, 3, 100)
    p = y + generator.normal(0, 1, 100)
    assert m.r_squared(y, p) == pytest.approx(peer.r2_score(y, p))
    assert isinstance(m.r_squared(np.ones(5), p[:5]), Undefined)
