"""Arc by chord, curvature integrals and inflections on curves where they are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fundusion.biomarkers.tortuosity import joined, tortuosities, winding
from fundusion.biomarkers.vessel_graph import vessel_graph


def found(mask):
    return {k: o.value for k, o in tortuosities(winding(vessel_graph(mask))).items()}


@settings(max_examples=15)
@given(angle=st.floats(0, 180), width=st.floats(1.5, 10))
def test_a_straight_line_does_not_wind(shapes, angle, width):
    values = found(shapes.line(angle, width))
    assert values["tortuosity"] == pytest.approx(1, abs=0.01)
    assert values["inflections"] == 0
    assert values["inflection_tortuosity"] == values["tortuosity"]
    assert values["tortuosity_density"] == 0


def test_half_a_circle_turns_by_pi(shapes):
    values = found(shapes.semicircle(100, 6.0))
    assert values["tortuosity"] == pytest.approx(np.pi / 2, rel=0.01)
    assert values["total_curvature"] == pytest.approx(np.pi, rel=0.01)
    assert values["curvature"] == pytest.approx(0.01, rel=0.01)
    assert values["squared_curvature"] == pytest.approx(1e-4, rel=0.02)
    assert values["inflections"] == 0


@pytest.mark.parametrize("radius", [50, 80, 150])
@pytest.mark.parametrize("width", [2.0, 3.0, 6.0, 10.0])
def test_curvature_of_half_a_circle_of_any_size(shapes, radius, width):
    values = found(shapes.semicircle(radius, width))
    # A parabola of 41 points is a little flatter than an arc of radius 50.
    assert values["curvature"] * radius == pytest.approx(1, rel=0.02)
    assert values["squared_curvature"] * radius**2 == pytest.approx(1, rel=0.04)
    assert values["total_curvature"] == pytest.approx(np.pi, rel=0.02)


@pytest.mark.parametrize("radius", [60, 120])
@pytest.mark.parametrize("width", [3.0, 6.0, 9.0])
def test_branches_do_not_bend_the_vessel_they_leave(shapes, radius, width):
    """Beside a branching the middle of the mask is pulled towards the other vessel: straight branches once had half the curvature of the arc they leave."""
    t = np.linspace(0, np.pi, 120)
    mask = shapes.tube(np.stack([300 - radius * np.sin(t), 200 + radius * np.cos(t)], -1), width)
    for degrees in (40, 80, 120):
        a = np.radians(degrees)
        start = np.array([300 - radius * np.sin(a), 200 + radius * np.cos(a)])
        way = a + np.pi / 4
        mask |= shapes.tube([start, start + 60 * np.array([-np.sin(way), np.cos(way)])], 0.6 * width)
    parts = winding(vessel_graph(mask))
    curvature = np.sort(parts.total / parts.arc * radius)
    assert len(curvature) == 7
    assert curvature[:3].max() < 0.12
    np.testing.assert_allclose(curvature[3:], 1, atol=0.15)
    assert np.median(curvature[3:]) == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(("period", "waves"), [(150, 2), (120, 3), (90, 4)])
def test_inflections_of_a_wave(shapes, period, waves):
    mask, length = shapes.wave(16, period, 5.0)
    values = found(mask)
    assert values["inflections"] == 2 * waves - 1
    chord = period * (360 // period)
    assert values["tortuosity"] == pytest.approx(length / chord, rel=0.01)
    assert values["inflection_tortuosity"] == pytest.approx(2 * waves * length / chord, rel=0.01)
    # Integral of the curvature: the direction swings between the two slopes, four times in a wave.
    slope = np.arctan(16 * 2 * np.pi / period)
    assert values["total_curvature"] == pytest.approx(4 * waves * slope, rel=0.06 if period < 100 else 0.02)
    assert values["tortuosity_density"] > 0


def test_long_segments_count_more(shapes):
    straight, bent = shapes.line(0, 4.0, length=320, center=(360, 200)), shapes.semicircle(40, 4.0)
    values = found(straight | bent)
    assert values["tortuosity"] == pytest.approx((1 + np.pi / 2) / 2, rel=0.02)
    arc = 40 * np.pi
    assert values["tortuosity_weighted"] == pytest.approx((320 + arc * np.pi / 2) / (320 + arc), rel=0.02)


def test_graphs_together_have_the_segments_of_both(shapes):
    parts = [winding(vessel_graph(m)) for m in (shapes.line(0, 4.0), shapes.semicircle(80, 4.0))]
    both = joined(parts)
    assert len(both.arc) == 2
    assert tortuosities(joined([winding(vessel_graph(np.zeros((5, 5))))]))["tortuosity"].failure == "vessels.none"


def test_rings_and_stumps_are_left_out(shapes):
    rows, cols = np.ogrid[:200, :200]
    r = np.hypot(rows - 100, cols - 100)
    assert len(winding(vessel_graph((r < 63) & (r > 57))).arc) == 0
    assert len(winding(vessel_graph(shapes.line(0, 4.0, length=6.0))).arc) == 0
