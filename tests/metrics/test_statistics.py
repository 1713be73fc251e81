"""Intervals over patients: coverage, pairing, DeLong."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from fundusion.metrics import statistics as s
from fundusion.metrics.classification import Undefined, expected_calibration_error


def mean_of(values):
    return lambda w: float((w * values).sum() / w.sum())


def test_both_eyes_of_a_patient_are_drawn_together():
    w = s.resample_weights(["a", "b", "a", "c"], 200, np.random.default_rng(0))
    assert (w[:, 0] == w[:, 2]).all()
    assert not (w[:, 0] == w[:, 1]).all()
    # Three patients are drawn each time; the mean weight is one.
    assert set(w[:, [0, 1, 3]].sum(1)) == {3.0}
    assert w.mean() == pytest.approx(1, abs=0.1)


def test_the_interval_of_a_mean_covers_the_truth_nineteen_times_in_twenty():
    generator, hits = np.random.default_rng(4), 0
    for _ in range(200):
        values = generator.normal(2.0, 1.0, 60)
        found = s.bootstrap(mean_of(values), [str(i) for i in range(60)], generator=generator, n_resamples=300)
        hits += found.low <= 2.0 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_ignoring_patients_makes_the_interval_too_narrow():
    generator = np.random.default_rng(1)
    values = np.repeat(generator.normal(0, 1, 40), 2)
    patients = [str(i // 2) for i in range(80)]
    right = s.bootstrap(mean_of(values), patients, generator=np.random.default_rng(2))
    wrong = s.bootstrap(mean_of(values), [str(i) for i in range(80)], generator=np.random.default_rng(2))
    assert (right.high - right.low) / (wrong.high - wrong.low) == pytest.approx(2**0.5, rel=0.15)
    assert (right.n, right.groups) == (80, 40)


def test_a_paired_difference_is_narrower_than_two_apart():
    generator = np.random.default_rng(3)
    common = generator.normal(0, 5, 200)
    one, other = common + 0.3 + generator.normal(0, 0.2, 200), common
    groups = [str(i) for i in range(200)]
    found = s.paired_bootstrap(mean_of(one), mean_of(other), groups, generator=np.random.default_rng(0))
    assert 0 < found.low < found.value < found.high
    apart = s.bootstrap(mean_of(one), groups, generator=np.random.default_rng(0))
    assert apart.high - apart.low > 5 * (found.high - found.low)
    same = s.paired_bootstrap(mean_of(one), mean_of(one), groups, generator=np.random.default_rng(0))
    assert same.low == same.high == 0


def test_what_is_undefined_says_why_and_few_resamples_give_no_interval():
    curve = s.SortedAuroc([1, 1, 1], [0.1, 0.2, 0.3])
    found = s.bootstrap(curve, ["a", "b", "c"], generator=np.random.default_rng(0))
    assert found.value is None
    assert found.reason
    rare = s.SortedAuroc([1] + [0] * 1, [0.9, 0.1])
    found = s.bootstrap(rare, ["a", "b"], generator=np.random.default_rng(0))
    assert found.value == 1.0
    assert found.low is None or found.low == 1.0
    assert s.bootstrap(curve, [], generator=np.random.default_rng(0)).reason


def test_sorted_auroc_equals_scikit_learn_with_weights(generator):
    y = (generator.random(300) < 0.3).astype(float)
    score = np.round(generator.normal(y, 1), 1)
    w = generator.integers(0, 3, 300).astype(float)
    assert s.SortedAuroc(y, score)(w) == pytest.approx(roc_auc_score(y, score, sample_weight=w))


def test_delong_agrees_with_the_mann_whitney_kernel_and_with_the_bootstrap(generator):
    y = (np.arange(240) < 90).astype(float)
    score = generator.normal(y, 1.2)
    kernel = (score[y == 1][:, None] > score[y == 0]).astype(float)
    by_hand = kernel.mean(1).var(ddof=1) / 90 + kernel.mean(0).var(ddof=1) / 150
    assert s.delong_variance(y, score) == pytest.approx(by_hand)
    found = s.auroc_with_delong(y, score)
    assert found.value == pytest.approx(stats.mannwhitneyu(score[y == 1], score[y == 0]).statistic / (90 * 150))
    boot = s.bootstrap(s.SortedAuroc(y, score), [str(i) for i in range(240)], generator=np.random.default_rng(0))
    assert (found.high - found.low) == pytest.approx(boot.high - boot.low, rel=0.2)
    assert isinstance(s.delong_variance([1, 0, 0], [1, 2, 3]), Undefined)


def test_the_unbiased_interval_holds_its_own_value():
    """Every resample of a calibration error of a calibrated forecast is larger than the error of the sample."""
    rng = np.random.default_rng(3)
    p = rng.random(400)
    y = (rng.random(400) < p).astype(float)
    groups = [str(i) for i in range(400)]

    def error(w):
        return expected_calibration_error(y, p, weight=w)

    plain = s.bootstrap(error, groups, generator=np.random.default_rng(0))
    shifted = s.bootstrap(error, groups, generator=np.random.default_rng(0), unbias=True)
    assert plain.value == shifted.value
    assert shifted.low <= shifted.value <= shifted.high
    assert shifted.low >= 0
    assert shifted.low < plain.low
