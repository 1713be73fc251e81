"""The additive model: fits what is there, stores and loads exactly, refuses broken files, agrees with a user's labels."""

import json

import numpy as np
import pytest

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.quality.calibration import (
    QualityModel,
    fit_model,
    logistic_ridge,
    recalibrate,
    shipped_model,
    sigmoid,
)
from fundusion.quality.measures import MEASURES


def rows_of(count, seed=0):
    generator = np.random.default_rng(seed)
    return [dict(zip(MEASURES, generator.normal(size=len(MEASURES)).tolist(), strict=True)) for _ in range(count)]


@pytest.fixture(scope="module")
def fitted():
    rows = rows_of(800)
    middle = [float(abs(r["brightness"]) < 0.8) for r in rows]
    fundus = [float(r["redness"] > 0) for r in rows]
    unknown = [np.nan if i % 3 else v for i, v in enumerate(fundus)]
    return fit_model(rows, {"gradable": middle, "fundus": unknown}, ridge=1.0)


def test_straight_pieces_learn_that_the_middle_is_best(fitted):
    rows = rows_of(600, seed=1)
    truth = np.array([abs(r["brightness"]) < 0.8 for r in rows])
    assert ((fitted.logits("gradable", rows) > 0) == truth).mean() > 0.9
    known = np.array([r["redness"] > 0 for r in rows])
    assert ((fitted.logits("fundus", rows) > 0) == known).mean() > 0.85


def test_weights_agree_with_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = np.random.default_rng(0)
    features = np.column_stack([np.ones(300), generator.normal(size=(300, 4))])
    labels = (features @ [0.3, 1, -2, 0, 0.5] + generator.logistic(size=300) > 0).astype(float)
    ours = logistic_ridge(features, labels, prior=np.zeros(5), ridge=2.0, balance=False)
    peer = linear_model.LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(features[:, 1:], labels)
    assert ours[1:] == pytest.approx(peer.coef_[0], abs=2e-3)
    assert ours[0] == pytest.approx(peer.intercept_[0], abs=5e-3)


def test_the_ridge_pulls_to_the_prior():
    features = np.column_stack([np.ones(20), np.linspace(-1, 1, 20)])
    labels = (features[:, 1] > 0).astype(float)
    prior = np.array([0.0, -3.0])
    held = logistic_ridge(features, labels, prior=prior, ridge=1e6, balance=False)
    assert held[1] == pytest.approx(-3.0, abs=1e-3)


def test_sigmoid_does_not_overflow():
    assert sigmoid(np.array([-1e4, 1e4])).tolist() == [0.0, 1.0]


def test_saved_and_loaded_model_gives_the_same_answers(fitted, tmp_path):
    path = tmp_path / "quality.json"
    fitted.save(path)
    again = QualityModel.load(path)
    row = rows_of(1, seed=5)[0]
    assert again.probabilities(row)["gradable"] == pytest.approx(fitted.probabilities(row)["gradable"], abs=1e-4)
    again.save(tmp_path / "second.json")
    assert (tmp_path / "second.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"},
        {"scale": [0.0]},
        {"answers": {"gradable": [1.0], "fundus": [1.0]}},
        {"answers": {}},
        {"threshold": 2.0},
        {"threshold": "high"},
        {"measures": 3},
        {"center": None},
    ],
)
def test_broken_files_are_refused(fitted, tmp_path, change):
    path = tmp_path / "quality.json"
    path.write_text(json.dumps({**fitted.to_dict(), **change}))
    with pytest.raises(IncompatibleWeights):
        QualityModel.load(path)


def test_text_that_is_no_json_and_unknown_measures_are_refused(fitted, tmp_path):
    path = tmp_path / "quality.json"
    path.write_text("<html>")
    with pytest.raises(IncompatibleWeights, match="not a quality calibration"):
        QualityModel.load(path)
    value = fitted.to_dict()
    value["measures"][0] = "sparkle"
    path.write_text(json.dumps(value))
    with pytest.raises(IncompatibleWeights, match="sparkle"):
        QualityModel.load(path)


def test_numbers_that_are_not_finite_are_refused(fitted, tmp_path):
    value = fitted.to_dict()
    value["center"][0] = float("nan")
    (tmp_path / "quality.json").write_text(json.dumps(value))
    with pytest.raises(IncompatibleWeights, match="not finite"):
        QualityModel.load(tmp_path / "quality.json")


def test_a_stricter_reader_shifts_the_score(fitted):
    rows = rows_of(50, seed=3)
    log_odds = fitted.logits("gradable", rows)
    strict = log_odds > np.quantile(log_odds, 0.7)
    moved = recalibrate(fitted, rows, strict.tolist())
    assert moved.logits("gradable", rows).mean() < log_odds.mean()
    # Two numbers only: the order of pictures stays.
    assert (np.argsort(moved.logits("gradable", rows)) == np.argsort(log_odds)).all()
    assert moved.answers["fundus"] == fitted.answers["fundus"]
    assert moved.threshold == 0.5


def test_with_some_labels_a_new_criterion_is_learnt(fitted):
    def reader(row):
        return abs(row["brightness"]) < 0.8 and row["noise"] < 0.6

    gains = []
    for seed in range(5):
        rows, test = rows_of(160, seed=3 + seed), rows_of(400, seed=40 + seed)
        moved = recalibrate(fitted, rows, [reader(r) for r in rows])
        truth = np.array([reader(r) for r in test])
        before, after = (((m.logits("gradable", test) > 0) == truth).mean() for m in (fitted, moved))
        gains.append(after - before)
    assert np.mean(gains) > 0.02
    assert "160" in moved.notes


@pytest.mark.parametrize("labels", [[True] * 30, [True] * 8, [True] * 28 + [False] * 2, []])
def test_too_few_labels_are_refused(fitted, labels):
    with pytest.raises(InvalidInput, match="at least ten"):
        recalibrate(fitted, rows_of(len(labels)), labels)


def test_the_shipped_calibration_loads_and_says_what_it_saw():
    model = shipped_model()
    assert set(model.measures) == set(MEASURES)
    assert "photographs" in model.notes
    assert shipped_model() is model
