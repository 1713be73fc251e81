"""B-scans: fluid is dark under the retina, fibres are thicker on the nasal side."""

import numpy as np

from fundusion.core.vocabulary import Laterality
from fundusion.datasets.synthetic import draw_bscan


def scan(**options):
    return draw_bscan(np.random.default_rng(2), size=256, **options)[..., 0].astype(float)


def test_fluid_changes_the_macula_and_leaves_the_rim():
    change = np.abs(scan(fluid=True) - scan())
    assert change[:, 96:160].mean() > 3 * change[:, :24].mean()


def test_a_left_eye_is_not_the_right_one_and_frames_are_grey():
    right, left = scan(), scan(laterality=Laterality.LEFT)
    assert np.abs(right - left).mean() > 1
    assert draw_bscan(np.random.default_rng(2), size=64).shape == (64, 64, 1)


def test_vitreous_is_darker_than_retina():
    picture = scan()
    assert picture[:20].mean() < 0.5 * picture.max(axis=0).mean()
