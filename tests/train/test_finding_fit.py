"""The head of findings and its cuts come from what is known, hold on other patients, and leave out what cannot be told."""

import numpy as np
import pytest
import torch

from fundusion.layers.eye_words import FINDINGS
from fundusion.layers.finding_head import FindingHead
from fundusion.layers.weighed_findings import findings_of
from fundusion.train.finding_fit import FindingRows, fit_findings

KEYS = list(FINDINGS)
HOW = {"penalty": 3e-3, "folds": 4, "repeats": 2, "min_count": 15, "min_f1": 0.05, "seed": 0}


def made(n=600, seed=0, graded=0):
    """Return photographs in which drusen can be told, and a maculopathy that is told of by chance."""
    chance = np.random.default_rng(seed)
    features = chance.normal(size=(n, 2, 8)).astype(np.float32)
    features[:, 1] = features[:, 0]
    findings = []
    for row in features[:, 0]:
        told = [
            k
            for k, there in (("drusen", row[1] > 1.3), ("dr2", row[2] > 1), ("maculopathy", chance.random() < 0.04))
            if there
        ]
        findings.append(tuple(told) or ("normal",))
    complete = np.arange(n) >= graded
    findings = [f if whole else ("dr2",) for f, whole in zip(findings, complete, strict=True)]
    return FindingRows(features=features, findings=findings, complete=complete, groups=[f"p{i // 2}" for i in range(n)])


def test_what_can_be_told_is_named_on_other_patients_as_often_as_was_expected():
    head = FindingHead(8)
    fitted = fit_findings(head, made(), **HOW)
    assert set(fitted.cuts) >= {"normal", "npdr", "drusen"}
    other = made(seed=5)
    found = findings_of(head.chances(torch.from_numpy(other.features[:, 0])), fitted.cuts)
    for key, family in (("drusen", "drusen"), ("dr2", "npdr"), ("normal", "normal")):
        named, right = (np.asarray([key in row for row in rows]) for rows in (found, other.findings))
        f1 = 2 * (named & right).sum() / (named.sum() + right.sum())
        assert f1 == pytest.approx(fitted.expected[family]["f1"], abs=0.08)
        assert f1 > 0.75
    again = fit_findings(FindingHead(8), made(), **HOW)
    assert again == fitted


def test_what_is_rare_or_cannot_be_told_is_not_named():
    rows = made()
    fitted = fit_findings(FindingHead(8), rows, **{**HOW, "min_f1": 0.3})
    assert "maculopathy" in fitted.left_out
    assert "cataract" in fitted.left_out
    assert not set(fitted.cuts) & set(fitted.left_out)
    few = fit_findings(FindingHead(8), rows, **{**HOW, "min_count": 10_000})
    assert few.cuts == {}


def test_graded_photographs_say_nothing_of_other_findings_and_count_in_no_cut():
    rows = made(graded=200)
    truth = rows.truth()
    assert np.isnan(truth[:200, KEYS.index("drusen")]).all()
    assert (truth[:200, KEYS.index("dr2")] == 1).all()
    assert (truth[:200, KEYS.index("dr3")] == 0).all()
    assert not np.isnan(truth[200:]).any()
    fitted = fit_findings(FindingHead(8), rows, **HOW)
    assert fitted.expected["npdr"]["pictures"] == sum("dr2" in f for f in rows.findings[200:])
