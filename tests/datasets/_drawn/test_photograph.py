"""The same fundus through another camera."""

from dataclasses import replace

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.datasets.synthetic import PhotographStyle, draw_photograph


def drawn(**style):
    base = PhotographStyle(blur=0.0, haze=0.0, noise=0.05, exposure=1.0)
    return draw_photograph(np.random.default_rng(6), size=256, grade=2, style=replace(base, **style))


def sharpness(pixels):
    return float(np.abs(np.diff(pixels[..., 1].astype(float), axis=1)).mean())


def test_style_changes_the_picture_and_not_the_fundus():
    clear, truth = drawn()
    for options in ({"blur": 0.9}, {"haze": 0.8}):
        spoilt, other = drawn(**options)
        assert sharpness(spoilt) < 0.85 * sharpness(clear)
        assert dict(other.counts) == dict(truth.counts)
        assert (other.vessel_mask == truth.vessel_mask).all()
    assert drawn(exposure=0.5)[0].mean() < 0.75 * clear.mean()


def test_another_size_shows_the_same_eye():
    small, large = (draw_photograph(np.random.default_rng(6), size=s, grade=2) for s in (128, 256))
    assert dict(small[1].counts) == dict(large[1].counts)
    assert small[1].disc.center[1] * 2 == pytest.approx(large[1].disc.center[1], abs=2)
    halved = large[0].reshape(128, 2, 128, 2, 3).mean((1, 3))
    assert np.corrcoef(halved.ravel(), small[0].ravel())[0, 1] > 0.97


def test_a_style_out_of_range_is_refused():
    with pytest.raises(InvalidInput):
        PhotographStyle(blur=3.0)
    with pytest.raises(InvalidInput):
        PhotographStyle(camera="telescope")
