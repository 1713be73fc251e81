"""Pixels: a calibration finds the scale that was hidden, keeps the order, and says when it cannot be fitted."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.decision.pixel_calibration import LEVELS, PixelCalibration, count_levels, fit_pixels


def pixels(scale, offset, count=40000, seed=0):
    generator = np.random.default_rng(seed)
    logit = generator.normal(-1, 2.5, count)
    truth = generator.random(count) < 1 / (1 + np.exp(-(scale * logit + offset)))
    return 1 / (1 + np.exp(-logit)), truth


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (0.4, -1.0), (1.8, 0.7)])
def test_the_hidden_scale_is_found(scale, offset):
    p, truth = pixels(scale, offset)
    found = fit_pixels([count_levels(p, truth, np.ones(len(p), bool))])
    assert found.scale == pytest.approx(scale, abs=0.06)
    assert found.offset == pytest.approx(offset, abs=0.08)


def test_every_picture_counts_the_same():
    few, many = pixels(0.5, 0.0, 4000, 1), pixels(0.5, 2.0, 400000, 2)
    counts = [count_levels(*x, np.ones(len(x[0]), bool)) for x in (few, many)]
    assert fit_pixels(counts).offset == pytest.approx(1.0, abs=0.25)


@given(st.floats(0.05, 5), st.floats(-4, 4), st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_the_order_of_pixels_is_kept(scale, offset, values):
    ordered = np.sort(np.array(values, np.float32))
    moved = PixelCalibration(scale=scale, offset=offset)(ordered)
    assert (np.diff(moved) >= -1e-7).all()
    assert np.isfinite(moved).all()
    assert PixelCalibration(scale=scale, offset=offset)([0.0, 1.0]).tolist() == [0.0, 1.0]


def test_what_cannot_be_fitted_is_not():
    nothing = count_levels(np.full(50, 0.2), np.zeros(50, bool), np.ones(50, bool))
    assert fit_pixels([nothing]) is None
    assert fit_pixels([]) is None
    assert fit_pixels([np.zeros((2, len(LEVELS)), int)]) is None
    p, truth = pixels(1.0, 0.0)
    assert fit_pixels([count_levels(1 - p, truth, np.ones(len(p), bool))]) is None
    for bad in ((0.0, 0.0), (-1.0, 0.0), (float("nan"), 0.0), (1.0, float("inf"))):
        with pytest.raises(InvalidInput, match="positive scale"):
            PixelCalibration(scale=bad[0], offset=bad[1])


def test_unknown_pixels_are_not_counted_and_extremes_stay_on_the_scale():
    known = np.array([True, True, False])
    counts = count_levels(np.array([0.0, 1.0, 0.5]), np.array([False, True, True]), known)
    assert counts.sum() == 2
    assert counts[0, 0] == 1
    assert counts[1, -1] == 1
