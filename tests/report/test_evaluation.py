"""Metrics with intervals, or why there are none; a page with plots."""

import json

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from fundusion.core.tasks import Binary, MultiClass, MultiLabel, Ordinal, Regression
from fundusion.report.evaluation import evaluate_predictions, write_evaluation

N = 120


@pytest.fixture
def groups():
    return [str(i // 2) for i in range(N)]


def softened(generator, labels, y):
    p = generator.random((N, labels)) + 1.5 * (np.arange(labels) == y[:, None])
    return p / p.sum(1, keepdims=True)


def test_a_multilabel_task(generator, groups):
    y = (generator.random((N, 2)) < 0.3).astype(float)
    y[:5, 1] = np.nan
    p = np.clip(y * 0.3 + generator.random((N, 2)) * 0.6, 0, 1)
    p[:5, 1] = 0.5
    found = evaluate_predictions(MultiLabel("AB"), y, p, groups, n_resamples=100)
    known = ~np.isnan(y[:, 1])
    expected = (roc_auc_score(y[:, 0], p[:, 0]) + roc_auc_score(y[known, 1], p[known, 1])) / 2
    macro = found["metrics"]["macro AUROC"]
    assert macro["value"] == pytest.approx(expected)
    assert macro["low"] < macro["value"] < macro["high"]
    assert found["labels"]["A"]["positive"] == int(y[:, 0].sum())


def test_an_ordinal_task(generator, groups):
    y = generator.integers(0, 4, N).astype(float)
    p = softened(generator, 4, y)
    found = evaluate_predictions(Ordinal(4), y, p, groups, n_resamples=50)
    median = (np.cumsum(p, 1) < 0.5).sum(1)
    assert found["metrics"]["quadratic kappa"]["value"] == pytest.approx(
        cohen_kappa_score(y, median, weights="quadratic")
    )
    assert np.sum(found["confusion"]) == N


def test_unanswered_rows_do_not_count_and_one_class_is_undefined(groups):
    p = np.full((N, 2), 0.5)
    p[:20] = np.nan
    found = evaluate_predictions(Binary(), np.ones(N), p, groups, n_resamples=20)["metrics"]
    assert found["AUROC"]["undefined"]
    assert found["sensitivity"]["n"] == N - 20
    empty = evaluate_predictions(Binary(), np.full(N, np.nan), p, groups, n_resamples=20)["metrics"]
    assert all("undefined" in v for v in empty.values())


def test_the_page_and_the_numbers(tmp_path, generator, groups):
    tasks = {"grade": Ordinal(3), "kind": MultiClass("AB"), "iop": Regression(unit="mmHg"), "rare": Binary()}
    y = {"grade": generator.integers(0, 3, N), "kind": generator.integers(0, 2, N), "iop": generator.normal(15, 3, N)}
    y = {k: v.astype(float) for k, v in y.items()} | {"rare": np.zeros(N)}
    p = {"grade": softened(generator, 3, y["grade"]), "kind": softened(generator, 2, y["kind"]), "iop": y["iop"][:, None] + 1,
         "rare": np.full((N, 2), 0.5)}  # fmt: skip
    page = write_evaluation(
        tmp_path, tasks=tasks, targets=y, probabilities=p, groups=groups, ablation={"cfp": p, "cfp+table": p},
        meta={"studies": N, "note": "<b>x</b>"}, n_resamples=60,
    )  # fmt: skip
    text = (tmp_path / "metrics.json").read_text()
    assert "NaN" not in text
    answer = json.loads(text)
    assert answer["tasks"]["iop"]["metrics"]["mean absolute error"]["value"] == pytest.approx(1)
    assert set(answer["tasks"]["grade"]["ablation"]) == {"cfp", "cfp+table"}
    html = page.read_text()
    assert "<b>x</b>" not in html
    assert "undefined" in html
    # Confusion for two tasks, three curves for two tasks, an ablation for each task that has a number.
    assert html.count("data:image/png") >= 8
    assert "http://" not in html.replace("http://www.w3.org", "")
