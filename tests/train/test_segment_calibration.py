"""Calibration of a trained segmenter: written beside the weights, applied to probabilities, never to masks."""

import json

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.decision.pixel_calibration import LEVELS, PixelCalibration, count_levels
from fundusion.segmenting import load_segmenter, segment_image
from fundusion.train.config import FitConfig
from fundusion.train.mask_data import MaskSet
from fundusion.train.segment_calibration import (
    calibrate_segmenter,
    left_out_counts,
    left_out_error,
    no_better_for,
    pixel_error,
)
from fundusion.train.segmentation import SegmentConfig, train_segmenter


@pytest.fixture(scope="module")
def run(tmp_path_factory, draw_vessels):
    root = tmp_path_factory.mktemp("hrf")
    for number in range(1, 11):
        draw_vessels(root, number)
    config = SegmentConfig(
        options={"width": 4, "levels": 3},
        classes=("vessel",),
        sets=(MaskSet(name="hrf", root=str(root)),),
        field_px=64,
        patch_px=32,
        patches=2,
        validation_fraction=0.3,
        thresholds={"vessel": 0.37},
        train=FitConfig(epochs=20, batch_size=4, learning_rate=1e-2, warmup_steps=2, ema=0.5),
    )
    folder = tmp_path_factory.mktemp("run")
    train_segmenter(folder, config=config)
    return folder, config


def test_masks_stay_probabilities_and_thresholds_move(run):
    folder, config = run
    image = np.random.default_rng(0).integers(0, 255, (90, 110, 3)).astype(np.uint8)
    before = segment_image(load_segmenter(folder), image)
    report = calibrate_segmenter(folder, config)["vessel"]
    assert report["ece_calibrated"] < report["ece"]
    segmenter = load_segmenter(folder)
    assert segmenter.thresholds == {"vessel": 0.37}
    made = segmenter.calibration["vessel"]
    assert (made.scale, made.offset) == (report["scale"], report["offset"])
    after = segment_image(segmenter, image)
    assert np.array_equal(before.masks["vessel"], after.masks["vessel"])
    assert not np.allclose(before.probabilities["vessel"], after.probabilities["vessel"])
    assert after.provenance["thresholds"]["vessel"] == pytest.approx(float(made(0.37)))
    assert after.provenance["calibrated"] == ["vessel"]
    # The threshold that moved cuts the probabilities that moved where the old one cut the old ones.
    again = after.probabilities["vessel"] >= after.provenance["thresholds"]["vessel"]
    assert (again != after.masks["vessel"]).mean() < 1e-4
    plain = segment_image(segmenter, image, calibrated=False)
    assert np.array_equal(plain.probabilities["vessel"], before.probabilities["vessel"])
    # Fitting again starts from the network, not from what was fitted.
    assert calibrate_segmenter(folder, config)["vessel"] == report


def test_another_recipe_is_refused_and_a_structure_nobody_shows_has_a_reason(run):
    folder, config = run
    with pytest.raises(InvalidInput, match="64 px, the recipe"):
        calibrate_segmenter(folder, config.model_copy(update={"field_px": 96}))
    one = config.model_copy(update={"validation_fraction": 0.01})
    report = calibrate_segmenter(folder, one)
    assert "fewer than two" in report["vessel"]["reason"]
    assert json.loads((folder / "segmenter.json").read_text())["calibration"] == {}
    assert load_segmenter(folder).calibration == {}


def test_errors_of_calibration():
    generator = np.random.default_rng(1)
    counts = []
    for _ in range(6):
        logit = generator.normal(0, 2, 20000)
        truth = generator.random(20000) < 1 / (1 + np.exp(-(0.5 * logit - 1)))
        counts.append(count_levels(1 / (1 + np.exp(-logit)), truth, np.ones(20000, bool)))
    right = PixelCalibration(scale=0.5, offset=-1.0)
    assert pixel_error(counts, right) < 0.01 < 0.1 < pixel_error(counts)
    assert pixel_error(counts, right, undecided=True) < 0.02
    groups = [str(i) for i in range(6)]
    assert left_out_error(counts, groups) < 0.015
    # A patient unlike the others is not helped by them.
    odd = [*counts[:5], counts[5][::-1]]
    assert left_out_error(odd, groups) > left_out_error(counts, groups) + 0.02
    assert sum(c.sum() for c in left_out_counts(counts, groups)) == sum(c.sum() for c in counts)
    # Two sets that draw by different rules: the one that was right already is worse for a scale fitted on both.
    sure = np.stack([counts[0][0], counts[0][1]])
    right_already = [_resampled(sure, generator) for _ in range(3)]
    names = ["a/1", "a/2", "a/3", "a/4", "a/5", "a/6"]
    assert no_better_for(counts, names) == []
    assert no_better_for([*counts, *right_already], [*names, "b/1", "b/2", "b/3"]) == ["b"]
    # Two patients are too few to judge by.
    assert no_better_for([*counts, *right_already[:2]], [*names, "b/1", "b/2"]) == []
    assert np.isnan(pixel_error([np.zeros_like(counts[0])]))


def _resampled(counts, generator):
    """Return as many pixels at the same levels, inside the structure as often as the level says."""
    total = counts.sum(0)
    inside = generator.binomial(total, 1 / (1 + np.exp(-LEVELS)))
    return np.stack([total - inside, inside])
