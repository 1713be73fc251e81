"""Frames, spots and independent chances."""

import numpy as np
import pytest

from fundusion.datasets._drawn.anatomy import Spot, children, draw_layout


def test_a_spot_covers_the_area_of_its_radius():
    spot = Spot(center=(50.0, 40.0), radius_px=20.0, aspect=1.3)
    mask = spot.mask((100, 100))
    assert mask.sum() == pytest.approx(np.pi * 400, rel=0.02)
    rows, columns = np.nonzero(mask)
    assert (rows.mean(), columns.mean()) == (pytest.approx(50, abs=0.2), pytest.approx(40, abs=0.2))
    assert np.ptp(rows) > np.ptp(columns)


def test_children_are_independent_of_how_many_are_taken():
    few, many = children(np.random.default_rng(1), 2), children(np.random.default_rng(1), 5)
    assert [g.random() for g in few] == [g.random() for g in many[:2]]


def test_a_layout_has_its_disc_nasal_of_the_fovea():
    layouts = [draw_layout(np.random.default_rng(i), cup_to_disc=0.4) for i in range(20)]
    assert len({repr(x) for x in layouts}) == 20
