"""Micrometres where they are known or estimated, else disc diameters, else nothing."""

import numpy as np
import pytest

from fundusion.biomarkers.optic_disc import DISC_UM, disc_of
from fundusion.biomarkers.outcome import Outcome
from fundusion.biomarkers.scale import scale_of

ROWS, COLS = np.ogrid[:200, :200]
DISC = disc_of((ROWS - 100) ** 2 + (COLS - 100) ** 2 <= 30**2)


def test_stated_spacing_wins():
    scale = scale_of(7.5, DISC)
    assert (scale.unit, scale.um_per_px, scale.estimated) == ("um", 7.5, False)
    assert scale.convert(Outcome(2.0, error=1.0)) == Outcome(15.0, error=7.5)


def test_estimates_are_marked():
    scale = scale_of(None, DISC)
    found = scale.convert(Outcome(DISC.diameter_px), 1)
    assert found.value == pytest.approx(DISC_UM)
    assert found.flags == ("scale.estimated",)
    assert scale.convert(Outcome(1.0), -1).value == pytest.approx(DISC.diameter_px / DISC_UM)


def test_disc_diameters_and_nothing():
    scale = scale_of(None, DISC, estimate=False)
    assert scale.unit == "DD"
    assert scale.convert(Outcome(DISC.diameter_px**2), 2).value == pytest.approx(1)
    assert scale_of(None, None).convert(Outcome(1.0)).failure == "scale.absent"
