"""Order of B-scans from the lines they were taken along."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.bscans import check_raster
from fundusion.core.errors import ReadError


def raster(rows):
    return np.array([[r, 5.0, r, 90.0] for r in rows])


def turned(lines, angle):
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    return np.concatenate([lines[:, :2] @ turn, lines[:, 2:] @ turn], 1)


def code_of(lines):
    with pytest.raises(ReadError) as caught:
        check_raster(lines)
    return caught.value.code


@given(st.integers(3, 60), st.floats(0.1, 50), st.floats(-1.4, 1.4))
def test_an_even_raster_is_in_order_at_any_angle_and_reversal_is_noted(count, step, angle):
    lines = raster(np.arange(count) * step)
    assert check_raster(turned(lines, angle)) == ()
    assert check_raster(turned(lines, angle)[::-1]) == ("volume.bottom_up",)


@given(st.integers(6, 40), st.data())
def test_a_hole_and_an_exchange_are_found(count, data):
    place = data.draw(st.integers(2, count - 3))
    rows = np.arange(count, dtype=float)
    assert code_of(raster(np.delete(rows, place))) == "volume.gap"
    rows[[place, place + 1]] = rows[[place + 1, place]]
    assert code_of(raster(rows)) == "volume.order"


def test_uneven_steps_that_are_no_multiples_are_no_gap():
    assert check_raster(raster([0, 1.0, 2.2, 3.1, 4.7, 5.6])) == ()


def test_star_repeats_and_nonsense_are_noted():
    angles = np.linspace(0, np.pi, 6, endpoint=False)
    star = np.stack([-np.sin(angles), -np.cos(angles), np.sin(angles), np.cos(angles)], 1)
    assert check_raster(star) == ("volume.not_raster",)
    assert check_raster(raster([3, 3, 3, 3])) == ("volume.repeats",)
    assert check_raster(np.zeros((5, 4))) == ("volume.lines_unusable",)
    assert check_raster(np.full((5, 4), np.nan)) == ("volume.lines_unusable",)
    assert check_raster([1.0, 2.0]) == ("volume.lines_unusable",)
    assert check_raster(raster([2, 1])) == ()
