"""Cuts find what the likeliest answer hides, the rule of naming holds."""

import numpy as np
import pytest

from fundusion.layers.eye_words import FINDINGS
from fundusion.layers.weighed_findings import choose, family_of, findings_of, fit_cuts, grouped, mean_f1

FAMILIES = ("normal", "npdr", "drusen")


def test_cuts_name_a_rare_finding_that_is_never_likeliest():
    chance = np.random.default_rng(0)
    rare = chance.random(400) < 0.08
    scores = np.where(rare, 0.2, 0.02) * chance.uniform(0.8, 1.2, 400)
    chances = np.stack([1 - scores, np.full(400, 0.001), scores], 1)
    truth = np.stack([~rare, np.zeros(400, bool), rare], 1)
    cuts = fit_cuts(chances, truth, FAMILIES)
    named = choose(chances / np.asarray([cuts[f] for f in FAMILIES]), FAMILIES)
    assert chances.argmax(1).max() == 0
    assert mean_f1(named[:, [0, 2]], truth[:, [0, 2]]) > 0.95
    assert 0.02 < cuts["drusen"] < 0.3
    # Rows that are there several times decide the same.
    thrice = fit_cuts(np.tile(chances, (3, 1)), np.tile(truth, (3, 1)), FAMILIES, times=3)
    assert thrice == pytest.approx(cuts, rel=0.05)


def test_normal_stands_alone_and_something_is_always_named():
    ratios = np.random.default_rng(1).gamma(1.0, 1.0, (200, 3))
    named = choose(ratios, FAMILIES)
    assert named.any(1).all()
    assert not (named[:, 0] & named[:, 1:].any(1)).any()


def test_of_a_family_the_likeliest_is_named_and_what_has_no_cut_never():
    chances = np.zeros((1, len(FINDINGS)))
    keys = list(FINDINGS)
    for key, value in (("dr1", 0.2), ("dr3", 0.3), ("leakage", 0.9), ("drusen", 0.05)):
        chances[0, keys.index(key)] = value
    assert grouped(chances, FAMILIES)[0, 1] == pytest.approx(0.5)
    assert findings_of(chances, {"normal": 0.5, "npdr": 0.4, "drusen": 0.1}) == [["dr3"]]
    assert {family_of(k) for k in ("dr1", "dr2", "dr3")} == {"npdr"}
