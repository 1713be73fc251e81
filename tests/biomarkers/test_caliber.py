"""Equivalents by hand, and on wheels of spokes whose widths are known."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.biomarkers.caliber import crossings, equivalent, hubbard, knudtson, ratio, widths_by_circle, zone_radii
from fundusion.biomarkers.outcome import Outcome
from fundusion.biomarkers.vessel_graph import vessel_graph
from fundusion.core.errors import InvalidInput


def test_knudtson_by_hand():
    k = 0.95
    first = [k * math.hypot(a, b) for a, b in ((120, 80), (110, 85), (100, 90))]
    low, middle, high = sorted(first)
    assert knudtson([80, 85, 90, 100, 110, 120], "vein") == pytest.approx(
        k * math.hypot(k * math.hypot(high, low), middle)
    )


def test_hubbard_by_hand():
    assert hubbard([120, 80], "artery") == pytest.approx(math.sqrt(0.87 * 6400 + 1.01 * 14400 - 0.22 * 9600 - 10.76))
    assert hubbard([120, 80], "vein") == pytest.approx(math.sqrt(0.72 * 6400 + 0.91 * 14400 + 450.05))


@given(widths=st.lists(st.floats(20, 200), min_size=6, max_size=12), factor=st.floats(0.1, 10))
def test_knudtson_is_in_the_unit_of_the_widths_and_hubbard_is_not(widths, factor):
    one = knudtson(widths, "artery")
    assert knudtson([factor * w for w in widths], "artery") == pytest.approx(factor * one)
    assert knudtson(sorted(widths), "artery") == one
    assert min(widths) * 0.88 < one


@pytest.mark.parametrize(
    ("widths", "vessel"), [([5] * 5, "artery"), ([5] * 5 + [0], "vein"), ([5] * 6, "other"), ([math.nan] * 6, "vein")]
)
def test_what_has_no_equivalent(widths, vessel):
    with pytest.raises(InvalidInput):
        knudtson(widths, vessel)


def wheel(shapes, widths):
    mask = np.zeros((400, 400), bool)
    for k, width in enumerate(widths):
        a = np.radians(11 + 360 * k / len(widths))
        way = np.array([-np.sin(a), np.cos(a)])
        mask |= shapes.tube([(200, 200) + 40 * way, (200, 200) + 190 * way], width)
    return mask


def test_a_wheel_of_spokes(shapes):
    widths = (9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0)
    radii = zone_radii("B", 40.0)
    found = crossings(vessel_graph(wheel(shapes, widths)), (200.0, 200.0), radii)
    by_circle = widths_by_circle(found, len(radii))
    assert [len(w) for w in by_circle] == [7] * 11
    result = equivalent(by_circle, "vein")
    assert result.value == pytest.approx(knudtson(widths, "vein"), abs=0.25)
    assert result.error < 0.3
    by_hubbard = equivalent(by_circle, "vein", um_per_px=12.0)
    assert by_hubbard.value == pytest.approx(hubbard([12 * w for w in widths], "vein"), rel=0.02)


def test_five_spokes_are_too_few_and_rings_do_not_cross(shapes):
    radii = zone_radii("B", 40.0)
    few = crossings(vessel_graph(wheel(shapes, (5.0,) * 5)), (200.0, 200.0), radii)
    assert equivalent(widths_by_circle(few, len(radii)), "artery").failure == "vessels.few"
    t = np.linspace(0, 5, 100)
    around = shapes.tube(np.stack([200 - 100 * np.sin(t), 201 + 100 * np.cos(t)], -1), 5.0)
    found = crossings(vessel_graph(around), (200.0, 200.0), radii)
    assert all(len(w) == 0 for w in widths_by_circle(found, len(radii)))


def test_ratio_and_its_error():
    found = ratio(Outcome(8.0, n=6, error=0.8), Outcome(10.0, n=6, error=0.0))
    assert found.value == 0.8
    assert found.error == pytest.approx(0.08)
    assert ratio(Outcome(None, failure="vessels.few"), Outcome(1.0)).failure == "vessels.few"
