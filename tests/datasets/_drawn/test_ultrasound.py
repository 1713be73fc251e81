"""Ultrasound frames: a membrane or clots in a vitreous that is dark otherwise."""

import numpy as np

from fundusion.datasets.synthetic import draw_ultrasound


def frame(**options):
    return draw_ultrasound(np.random.default_rng(3), size=192, **options)[..., 0].astype(float)


def test_signs_brighten_the_vitreous():
    clear, detached, bloody = frame(), frame(detachment=True), frame(vitreous_haemorrhage=True)
    middle = (slice(60, 130), slice(50, 110))
    assert detached[middle].mean() > clear[middle].mean() + 1
    assert bloody[middle].mean() > clear[middle].mean() + 1
    assert clear[0, 0] == clear[-1, 0] == 0


def test_a_myopic_globe_is_another_shape():
    assert np.abs(frame(myopia=True) - frame()).mean() > 2
