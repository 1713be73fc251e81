"""Shapley values of known games."""

import numpy as np
import pytest
import torch

from fundusion.core.interfaces import Features, NetworkOutput
from fundusion.core.tasks import Binary
from fundusion.explain import modality
from fundusion.explain.modality import modality_ablation, modality_shapley, shares_of
from fundusion.explain.target import Target

TARGET = Target(task_name="t", task=Binary(), label="yes")
NAMES = ("cfp", "oct", "table")


def game(worth):
    """A `fuse` whose probability is `worth(set of present names)` for each row."""

    def fuse(features, present):
        rows = next(iter(present.values())).shape[0]
        p = torch.tensor([worth({m for m in present if bool(present[m][r])}) for r in range(rows)], dtype=torch.float64)
        return NetworkOutput(logits={"t": torch.logit(p)[:, None]}, fused=None, features={}, presence=present)

    return fuse


def features(rows):
    return {m: Features(pooled=torch.zeros(rows, 1)) for m in NAMES}


def test_additive_game_gives_each_its_part():
    part = {"cfp": 0.3, "oct": 0.1, "table": -0.05}
    fuse = game(lambda s: 0.5 + sum(part[m] for m in s))
    present = {m: torch.tensor([True]) for m in NAMES}
    values = modality_shapley(features(1), present, TARGET, fuse=fuse, baseline=0.5)
    for name in NAMES:
        assert values[name][0] == pytest.approx(part[name], abs=1e-6)


def test_pure_interaction_is_shared_equally_and_values_sum_to_the_answer():
    fuse = game(lambda s: 0.9 if {"cfp", "table"} <= s else 0.2)
    present = {m: torch.tensor([True]) for m in NAMES}
    values = modality_shapley(features(1), present, TARGET, fuse=fuse, baseline=0.2)
    assert values["cfp"][0] == pytest.approx(0.35, abs=1e-6)
    assert values["table"][0] == pytest.approx(0.35, abs=1e-6)
    assert values["oct"][0] == pytest.approx(0.0, abs=1e-6)


def test_absent_modalities_are_no_players():
    fuse = game(lambda s: 0.5 + 0.1 * len(s))
    present = {
        "cfp": torch.tensor([True, True]),
        "oct": torch.tensor([False, True]),
        "table": torch.tensor([True, False]),
    }
    values = modality_shapley(features(2), present, TARGET, fuse=fuse, baseline=0.5)
    assert np.isnan(values["oct"][0])
    assert np.isnan(values["table"][1])
    assert values["cfp"].tolist() == pytest.approx([0.1, 0.1], abs=1e-6)


def test_sampled_values_agree_with_exact_ones(monkeypatch):
    fuse = game(lambda s: 0.2 + 0.3 * ("cfp" in s) + 0.2 * ({"oct", "table"} <= s))
    present = {m: torch.tensor([True]) for m in NAMES}
    exact = modality_shapley(features(1), present, TARGET, fuse=fuse, baseline=0.2)
    monkeypatch.setattr(modality, "EXACT_LIMIT", 0)
    sampled = modality_shapley(features(1), present, TARGET, fuse=fuse, baseline=0.2, samples=400)
    for name in NAMES:
        assert sampled[name][0] == pytest.approx(exact[name][0], abs=0.02)
    assert sum(v[0] for v in sampled.values()) == pytest.approx(0.5, abs=1e-6)


def test_ablation_is_the_fall_and_undefined_for_the_only_one():
    fuse = game(lambda s: 0.5 + 0.2 * ("cfp" in s))
    present = {"cfp": torch.tensor([True, True]), "table": torch.tensor([True, False])}
    values = modality_ablation(features(2), present, TARGET, fuse=fuse)
    assert values["cfp"][0] == pytest.approx(0.2, abs=1e-6)
    assert values["table"][0] == pytest.approx(0.0, abs=1e-6)
    assert np.isnan(values["cfp"][1])
    assert np.isnan(values["table"][1])


def test_shares_sum_to_one_even_without_evidence():
    assert sum(shares_of({"a": 0.2, "b": -0.3, "c": float("nan")}).values()) == pytest.approx(1)
    assert shares_of({"a": 0.0, "b": 0.0}) == {"a": 0.5, "b": 0.5}
