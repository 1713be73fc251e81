"""Sets that are left out of training are looked at afterwards, whole, and decide nothing."""

import json
from contextlib import nullcontext

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.train import unseen
from fundusion.train.config import FitConfig
from fundusion.train.mask_data import MaskSet
from fundusion.train.segmentation import SegmentConfig, train_segmenter
from fundusion.train.unseen import FILE, score_unseen, without


@pytest.fixture(scope="module")
def trees(tmp_path_factory, draw_vessels):
    roots = []
    for count in (7, 3):
        roots.append(tmp_path_factory.mktemp("hrf"))
        for number in range(1, count + 1):
            draw_vessels(roots[-1], number)
    return roots


def config_of(trees, **changes):
    fit = FitConfig(epochs=30, batch_size=4, learning_rate=1e-2, warmup_steps=2, ema=0.5)
    value = {"options": {"width": 4, "levels": 3}, "classes": ("vessel",), "field_px": 64, "patch_px": 32, "patches": 2,
             "sets": (MaskSet(name="hrf", root=str(trees[0])),), "unseen": (MaskSet(name="hrf", root=str(trees[1])),), "train": fit}  # fmt: skip
    return SegmentConfig(**{**value, **changes})


def test_every_picture_of_a_set_that_was_left_out_is_scored(trees, tmp_path):
    config = config_of(trees)
    train_segmenter(tmp_path, config=config)
    shown = []
    found = score_unseen(
        tmp_path, config, reporter=lambda title: nullcontext(lambda *a, **k: shown.append((title, *a[:2])))
    )
    row = found["hrf"]["vessel"]
    assert row["pictures"] == 3
    assert row["low"] <= row["dice"] <= row["high"]
    # The drawn vessels of both trees are alike: what was learned holds.
    assert row["dice"] > 0.4
    assert json.loads((tmp_path / FILE).read_text()) == found
    assert shown[-1] == ("segmenting hrf", 3, 3)


def test_sets_that_are_looked_at_afterwards_decide_no_weight(trees):
    assert config_of(trees).digest() == config_of(trees, unseen=()).digest()


def test_a_structure_nobody_annotated_has_no_score(trees, tmp_path, monkeypatch):
    config = config_of(trees, train=FitConfig(epochs=1, batch_size=4, warmup_steps=1))
    train_segmenter(tmp_path, config=config)
    monkeypatch.setattr(unseen, "_dice", lambda *_: [float("nan")])
    assert score_unseen(tmp_path, config) == {"hrf": {}}


def test_a_set_is_left_out_by_name(trees):
    both = config_of(trees, sets=(MaskSet(name="hrf", root="a"), MaskSet(name="drive", root="b")), unseen=())
    left = without(both, ["hrf"])
    assert ([s.name for s in left.sets], [s.name for s in left.unseen]) == (["drive"], ["hrf"])
    assert left.digest() != both.digest()
    with pytest.raises(InvalidInput, match="'stare' is no set"):
        without(both, ["stare"])
    with pytest.raises(InvalidInput, match="no set would be left"):
        without(both, ["hrf", "drive"])
