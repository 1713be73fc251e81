import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.core.tasks import MultiClass, MultiLabel, Ordinal
from fundusion.decision.calibration import softmax
from fundusion.decision.conformal import Conformal, conformal_limit, fit_conformal, least_eyes

TASK = MultiClass("abc")


def eyes(rng, n):
    y = rng.integers(0, 3, n)
    return softmax(np.eye(3)[y] * 1.5 + rng.normal(size=(n, 3))), y.astype(float)


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_hold_the_truth_as_often_as_promised(coverage):
    rng = np.random.default_rng(0)
    hits, sizes = [], []
    for _ in range(60):
        p, y = eyes(rng, 100)
        fit = fit_conformal(TASK, p, y, groups=[str(i) for i in range(100)], coverage=coverage)
        q, truth = eyes(rng, 100)
        sets = fit.sets(q)
        hits.append(np.mean(["abc"[int(t)] in s for t, s in zip(truth, sets, strict=True)]))
        sizes.append(np.mean([len(s) for s in sets]))
    assert coverage - 0.012 <= np.mean(hits) <= coverage + 0.03
    assert np.mean(sizes) < 2.5


def test_each_state_of_a_label_is_covered_alone():
    rng = np.random.default_rng(1)
    task = MultiLabel("rs")
    hits = {0: [], 1: []}
    for _ in range(60):
        y = (rng.random((300, 2)) < (0.15, 0.5)).astype(float)
        p = 1 / (1 + np.exp(-(y * 2 - 1 + rng.normal(size=y.shape))))
        fit = fit_conformal(task, p[:200], y[:200], groups=[str(i) for i in range(200)], coverage=0.8)
        undecided = fit.undecided(p[200:])
        for sure, may, truth in zip(undecided, fit.sets(p[200:]), y[200:, 0], strict=True):
            if truth:
                hits[1].append("r" in may)
            else:
                hits[0].append("r" not in may or "r" in sure)
    assert np.mean(hits[1]) >= 0.78
    assert np.mean(hits[0]) >= 0.78


def test_too_few_eyes_keep_everything_and_say_how_many_are_needed():
    p, y = eyes(np.random.default_rng(2), 5)
    fit = fit_conformal(TASK, p, y, groups=list("abcde"), coverage=0.9)
    assert fit.limits == (math.inf,)
    assert fit.n == (5,)
    assert fit.sets(p)[0] == ("a", "b", "c")
    assert fit.undecided(p)[0] == ("a", "b", "c")
    assert least_eyes(0.9) == 9
    none = fit_conformal(TASK, np.zeros((0, 3)), [], groups=[], coverage=0.5)
    assert none.limits == (math.inf,)


@given(st.integers(1, 200), st.floats(0.05, 0.99))
def test_the_limit_is_finite_exactly_from_the_least_number_on(n, coverage):
    limit = conformal_limit(np.arange(n), coverage)
    assert math.isfinite(limit) == (n >= least_eyes(coverage))


def test_the_limit_is_the_right_order_statistic():
    # Of 9 eyes at 90 %: ceil(10 * 0.9) = 9, the largest; 10 * 0.9 in floating point is no reason for one more.
    assert conformal_limit(np.arange(1, 10), 0.9) == 9
    assert conformal_limit(np.arange(1, 20), 0.9) == 18


def test_one_eye_of_each_patient_is_used():
    p, y = eyes(np.random.default_rng(3), 40)
    twins = fit_conformal(TASK, np.repeat(p, 2, 0), np.repeat(y, 2), groups=[str(i // 2) for i in range(80)])
    assert twins.n == (40,)
    assert twins.limits == fit_conformal(TASK, p, y, groups=[str(i) for i in range(40)]).limits


def test_an_empty_set_is_for_a_person_too():
    fit = Conformal(kind="multiclass", labels=("a", "b"), coverage=0.9, limits=(0.2,), n=(50,))
    p = [[0.5, 0.5], [0.9, 0.1]]
    assert fit.sets(p) == [(), ("a",)]
    assert fit.undecided(p) == [("a", "b"), ()]
    # Limits of both states of a label that overlap leave none: neither fits.
    apart = Conformal(kind="multilabel", labels=("a",), coverage=0.8, limits=(0.2, 0.2), n=(9, 9))
    assert apart.sets([[0.5], [0.9], [0.1]]) == [(), ("a",), ()]
    assert apart.undecided([[0.5], [0.9], [0.1]]) == [("a",), (), ()]


def test_unlabelled_eyes_are_left_out_and_the_fit_survives_json():
    p, y = eyes(np.random.default_rng(4), 30)
    y[:10] = np.nan
    fit = fit_conformal(TASK, p, y, groups=[str(i) for i in range(30)], coverage=0.99)
    assert fit.n == (20,)
    assert Conformal.from_dict(json.loads(json.dumps(fit.to_dict(), allow_nan=False))) == fit


def test_what_is_refused():
    with pytest.raises(InvalidInput, match="ordinal"):
        fit_conformal(Ordinal(3), np.zeros((1, 3)), [0], groups=["a"])
    with pytest.raises(InvalidInput, match="not finite"):
        fit_conformal(TASK, [[np.nan, 0, 0]], [0], groups=["a"])
    with pytest.raises(InvalidInput, match="expected 3"):
        fit_conformal(TASK, [[0.5, 0.5]], [0], groups=["a"])
    with pytest.raises(InvalidInput, match="between 0 and 1"):
        conformal_limit([1], 1.0)
