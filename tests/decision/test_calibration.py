"""Logits to probabilities; what is fitted on held-out patients."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from fundusion.core.errors import InvalidInput
from fundusion.core.tasks import Binary, MultiClass, MultiLabel, Ordinal, Regression
from fundusion.decision import calibration as c


def test_platt_equals_logistic_regression_without_a_pull(generator):
    z = generator.normal(0, 2, (800, 2))
    y = (generator.random(800) < c.sigmoid(z @ [1.4, 0.3] - 0.7)).astype(float)
    scale, bias = c.fit_platt(z, y, ridge=1e-9)
    peer = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(z, y)
    np.testing.assert_allclose(scale, peer.coef_[0], rtol=1e-3)
    assert bias == pytest.approx(peer.intercept_[0], rel=1e-2, abs=1e-2)


def test_no_data_leaves_the_logits_and_scales_are_never_negative(generator):
    scale, bias = c.fit_platt(np.zeros((0, 2)), np.zeros(0))
    assert scale.tolist() == [1.0, 1.0]
    assert bias == 0
    z = generator.normal(0, 1, 500)
    scale, _ = c.fit_platt(z, (z < 0).astype(float), ridge=1e-6)
    assert scale[0] == 0


def test_separable_scores_do_not_run_away():
    z = np.concatenate([np.full(50, -1.0), np.full(50, 1.0)])
    scale, _ = c.fit_platt(z, (z > 0).astype(float), ridge=1.0)
    assert 1 < scale[0] < 20


def test_overconfident_logits_become_calibrated(generator):
    task = MultiLabel("AB")
    truth = generator.normal(0, 1.5, (4000, 2))
    y = (generator.random((4000, 2)) < c.sigmoid(truth)).astype(float)
    found = c.fit_calibration(task, truth * 3 + 1, y)
    np.testing.assert_allclose(found.scale, 1 / 3, rtol=0.1)
    np.testing.assert_allclose(found.apply(task, truth * 3 + 1).mean(0), y.mean(0), atol=0.01)
    again = c.Calibration.from_dict(found.to_dict())
    assert again == found


@pytest.mark.parametrize("method", ["corn", "coral"])
def test_an_ordinal_task_gets_honest_grade_probabilities(generator, method):
    task = Ordinal(4, method=method)
    latent = generator.normal(0, 2, 6000)
    y = np.digitize(latent + generator.logistic(0, 1, 6000), [-1, 1, 3]).astype(float)
    above = c.sigmoid(latent[:, None] - np.array([-1, 1, 3]))
    if method == "corn":
        above = np.concatenate([above[:, :1], above[:, 1:] / above[:, :-1]], 1)
    z = np.log(above / (1 - above)) * 2
    p = c.fit_calibration(task, z, y).apply(task, z)
    for k in range(4):
        assert p[:, k].mean() == pytest.approx((y == k).mean(), abs=0.02)


def test_temperature_keeps_the_order_of_classes(generator):
    task = MultiClass("ABC")
    z = generator.normal(0, 4, (500, 3))
    y = np.where(generator.random(500) < 0.6, z.argmax(1), generator.integers(0, 3, 500)).astype(float)
    found = c.fit_calibration(task, z, y)
    assert len(set(found.scale)) == 1
    assert found.scale[0] < 1
    assert (found.apply(task, z).argmax(1) == z.argmax(1)).all()


def test_nan_is_never_a_class_and_shapes_are_checked():
    for task in (Binary(), MultiClass("AB"), MultiLabel("AB"), Ordinal(3)):
        with pytest.raises(InvalidInput) as caught:
            c.probabilities_from_logits(task, np.full((1, task.outputs), np.nan))
        assert caught.value.code == "model.not_finite"
        with pytest.raises(InvalidInput, match="logits"):
            c.probabilities_from_logits(task, np.zeros((1, task.outputs + 1)))
    with pytest.raises(InvalidInput):
        c.probabilities_from_logits(Regression(unit="mm"), [[1.0]])


def test_extreme_logits_do_not_overflow():
    with np.errstate(all="raise", under="ignore"):
        p = c.probabilities_from_logits(MultiClass("AB"), [[1e4, -1e4]])
    assert p.tolist() == [[1.0, 0.0]]


def test_levels_of_classes_are_learned_from_few_eyes():
    """A model that always says the first class keeps its order and gets its levels right."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 400)
    z = np.eye(3)[y] * 2 + rng.normal(size=(400, 3)) + np.array([8.0, 0.0, 0.0])
    task = MultiClass("abc")
    before = c.probabilities_from_logits(task, z)
    fit = c.fit_vector_scaling(z[:40], y[:40])
    after = fit.apply(task, z[40:])
    assert (before.argmax(1) == 0).mean() > 0.95
    assert (after.argmax(1) == y[40:]).mean() > 0.7
    np.testing.assert_allclose(after.mean(0), np.bincount(y[40:]) / 360, atol=0.12)
    assert fit.n == 40
    assert fit.scale[0] == fit.scale[1] >= 0


def test_no_eyes_and_eyes_of_one_class_change_little():
    none = c.fit_vector_scaling(np.zeros((2, 3)), [np.nan, np.nan])
    assert none.scale == (1.0, 1.0, 1.0)
    one = c.fit_vector_scaling(np.zeros((3, 3)), [0, 0, 0])
    p = one.apply(MultiClass("abc"), [[0.0, 0.0, 0.0]])[0]
    assert 0.5 < p[0] < 0.9
