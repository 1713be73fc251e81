"""Arteries and veins by whole vessels: mistakes along a vessel are outvoted, branches follow, crossings do not mix."""

import numpy as np
import pytest

from fundusion.biomarkers.artery_vein import one_class_per_vessel
from fundusion.core.errors import InvalidInput

SHAPE = (160, 160)


def maps(vessels, artery_side):
    """Return probabilities that say artery where asked and vein elsewhere."""
    artery = np.where(artery_side, 0.8, 0.2).astype(np.float32)
    return artery, (1 - artery).astype(np.float32), vessels


def horizontal(row=80, start=10, stop=150, half=3):
    mask = np.zeros(SHAPE, bool)
    mask[row - half : row + half + 1, start:stop] = True
    return mask


def test_a_stretch_that_is_mistaken_follows_its_vessel():
    vessels = horizontal()
    says = np.ones(SHAPE, bool)
    says[:, 60:90] = False
    side = one_class_per_vessel(*maps(vessels, says))
    assert (side[vessels] > 0.5).all()
    assert (side[~vessels] == 0).all()


def test_exchanging_the_maps_exchanges_the_answer():
    vessels = horizontal() | horizontal(row=40)
    rows = np.arange(160)[:, None] < 60
    artery, vein, _ = maps(vessels, np.broadcast_to(rows, SHAPE))
    side = one_class_per_vessel(artery, vein, vessels)
    assert (side[horizontal(row=40)] > 0.5).all()
    assert (side[horizontal()] < -0.5).all()
    np.testing.assert_allclose(one_class_per_vessel(vein, artery, vessels), -side, atol=1e-5)


def test_a_short_branch_follows_its_parent():
    branch = np.zeros(SHAPE, bool)
    branch[83:100, 78:82] = True
    vessels = horizontal() | branch
    side = one_class_per_vessel(*maps(vessels, ~branch))
    assert (side[96:100, 78:82] > 0).all()


def test_at_a_crossing_each_vessel_goes_straight_on():
    across = horizontal()
    down = np.zeros(SHAPE, bool)
    down[10:150, 77:84] = True
    says = np.zeros(SHAPE, bool)
    says[across] = True
    # One arm of each is called wrongly.
    says[76:85, 130:] = False
    says[130:, 76:85] = True
    side = one_class_per_vessel(*maps(across | down, says))
    assert (side[78:83, 140:148] > 0).all()
    assert (side[78:83, 12:60] > 0).all()
    assert (side[140:148, 78:83] < 0).all()
    assert (side[12:60, 78:83] < 0).all()


def test_no_vessels_and_pictures_of_other_shapes():
    empty = np.zeros(SHAPE, bool)
    assert not one_class_per_vessel(*maps(empty, empty)).any()
    artery, vein, _ = maps(empty, empty)
    with pytest.raises(InvalidInput):
        one_class_per_vessel(artery, vein[:-1], empty)
