"""Angiograms: vessels are bright, phases differ, leakage grows late."""

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.vocabulary import Laterality
from fundusion.datasets._drawn.angiogram import draw_angiogram
from fundusion.datasets._drawn.photograph import PhotographStyle, draw_fundus, place_frame, render_truth


@pytest.fixture(scope="module")
def eye():
    fundus = draw_fundus(
        np.random.default_rng(1), grade=0, cup_to_disc=0.4, drusen=False, hypertensive=False, myopic=False
    )
    frame = place_frame(np.random.default_rng(1), size=192, laterality=Laterality.RIGHT, style=PhotographStyle())
    return fundus, frame, render_truth(fundus, frame)


def draw(eye, **options):
    fundus, frame, rendering = eye
    return draw_angiogram(np.random.default_rng(0), fundus, frame, rendering=rendering, **options)[..., 0].astype(float)


def test_vessels_are_brighter_than_the_ground(eye):
    truth, picture = eye[2].truth, draw(eye, phase="venous")
    inside = truth.field.mask(picture.shape)
    vessels = truth.vessel_mask > 0
    assert picture[vessels & inside].mean() > 1.2 * picture[inside & ~vessels].mean()


def test_leakage_is_brighter_late(eye):
    gains = {p: (draw(eye, phase=p, leakage=True) - draw(eye, phase=p)).max() for p in ("arterial", "late")}
    assert gains["late"] > gains["arterial"]


def test_an_unknown_phase_is_refused(eye):
    with pytest.raises(InvalidInput, match="venous"):
        draw(eye, phase="noon")
