"""A finding head learns what a line can tell, from known labels only, and is the same every time."""

import numpy as np
import torch

from fundusion.layers.eye_words import FINDINGS
from fundusion.layers.finding_head import FindingHead

KEYS = list(FINDINGS)


def made(n=400, seed=0):
    chance = np.random.default_rng(seed)
    features = chance.normal(size=(n, 2, 6)).astype(np.float32) * 3 + 1
    features[:, 1] = features[:, 0] + 0.1 * chance.normal(size=(n, 6))
    truth = np.zeros((n, len(KEYS)), np.float32)
    truth[:, KEYS.index("drusen")] = features[:, 0, 2] > 2
    truth[:, KEYS.index("cataract")] = features[:, 0, 4] < -4
    return features, truth


def test_it_finds_the_features_that_matter_and_is_the_same_again():
    features, truth = made()
    head = FindingHead(6).fit(features, truth, penalty=1e-3)
    again = FindingHead(6).fit(features, truth, penalty=1e-3)
    assert all(torch.equal(a, again.state_dict()[k]) for k, a in head.state_dict().items())
    other, right = made(seed=1)
    found = head.chances(torch.from_numpy(other[:, 0]))
    for key in ("drusen", "cataract"):
        k = KEYS.index(key)
        assert ((found[:, k] > 0.5) == right[:, k]).mean() > 0.95
        assert int(head.weight[k].abs().argmax()) == {"drusen": 2, "cataract": 4}[key]
    # A finding that no picture has is near to impossible for all of them.
    assert found[:, KEYS.index("myopia")].max() < 0.01
    assert not any(p.requires_grad for p in head.parameters())


def test_unknown_labels_teach_nothing():
    features, truth = made()
    k = KEYS.index("drusen")
    partly, kept = truth.copy(), np.arange(len(truth)) % 2 == 0
    partly[~kept, k] = np.nan
    turned = truth.copy()
    turned[~kept, k] = 1 - turned[~kept, k]
    right = FindingHead(6).fit(features, truth, penalty=1e-2)
    # The labels that were hidden are those that would have misled.
    hidden = FindingHead(6).fit(features, partly, penalty=1e-2)
    misled = FindingHead(6).fit(features, turned, penalty=1e-2)
    gap = (hidden.weight[k] - right.weight[k]).abs().max()
    assert gap < 0.5 * (misled.weight[k] - right.weight[k]).abs().max()
    assert bool(torch.isfinite(hidden.weight).all())


def test_a_penalty_makes_weights_small():
    features, truth = made()
    sizes = [float(FindingHead(6).fit(features, truth, penalty=p).weight.norm()) for p in (1e-3, 1e-1, 10.0)]
    assert sizes[0] > 2 * sizes[1] > 4 * sizes[2]
