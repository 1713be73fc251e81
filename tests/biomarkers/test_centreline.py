"""Centre lines follow the middle of the mask, and curvature is that of the curve."""

import numpy as np
import pytest

from fundusion.biomarkers.centreline import bend, span
from fundusion.biomarkers.vessel_graph import vessel_graph


@pytest.mark.parametrize("width", [2.0, 4.0, 7.0])
def test_the_line_lies_in_the_middle(shapes, width):
    mask = shapes.line(23, width)
    graph = vessel_graph(mask)
    inner = graph.points[10:-10]
    way = np.array([np.sin(np.radians(23)), np.cos(np.radians(23))])
    aside = (inner - (200.3, 199.6)) @ [way[1], -way[0]]
    assert abs(aside.mean()) < 0.05
    assert np.abs(aside).max() < 0.35


@pytest.mark.parametrize("radius", [50, 100])
def test_curvature_of_a_circle(shapes, radius):
    graph = vessel_graph(shapes.semicircle(radius, 5.0))
    inner = graph.curvature[25:-25]
    assert abs(inner.mean()) == pytest.approx(1 / radius, rel=0.03)
    # Up to the ends: no part of the line loses its bend to the smoothing.
    assert abs(graph.curvature.mean()) == pytest.approx(1 / radius, rel=0.03)
    assert np.sign(inner[np.abs(inner) > 0.5 / radius]).std() == 0


def test_widths_beside_a_branching_are_those_beyond_it(shapes):
    graph = vessel_graph(shapes.fork(70, (8.0, 6.0, 6.0)))
    assert graph.widths_px.max() < 8.6
    near = np.hypot(*(graph.points - (200.3, 199.7)).T) < 3
    assert near.any()


def test_neighbours_do_not_widen_a_vessel(shapes):
    one = shapes.line(0, 5.0, center=(200, 200))
    two = shapes.line(0, 5.0, center=(207, 200))
    graph = vessel_graph(one | two)
    assert len(graph) == 2
    np.testing.assert_allclose(graph.segment_widths_px, 5.0, atol=0.25)


@pytest.mark.parametrize("count", [8, 30, 90])
@pytest.mark.parametrize("side", [1, -1])
def test_curvature_of_points_on_an_arc(count, side):
    t = np.arange(count) / 80.0
    line = np.stack([-80.0 * np.sin(t), side * 80.0 * np.cos(t)], -1)
    out = np.full(count, np.nan)
    bend(line, (0, count), out)
    # Going up and over to the left is a turn to the left.
    np.testing.assert_allclose(out, side / 80.0, rtol=0.006)


def test_curvature_is_that_of_the_points_within_bounds_only():
    line = np.stack([np.zeros(80), np.arange(80.0)], -1)
    line[:20, 0] += np.arange(20, 0, -1)
    out = np.full(80, np.nan)
    bend(line, (20, 80), out)
    assert (out == 0).all()
    bend(line, (0, 80), out)
    assert np.abs(out).max() > 0.01
    bend(line, (30, 33), out)
    assert (out == 0).all()


def test_the_span_of_a_line_between_branchings_is_never_empty():
    assert span(100, (0.0, 0.0), 1.0) == (0, 100)
    assert span(100, (7.5, 20.0), 1.0) == (8, 79)
    for count in (1, 2, 3, 12):
        first, last = span(count, (30.0, 30.0), 1.0)
        assert 0 <= first < last <= count


def test_side_branches_leave_the_line_of_the_vessel_where_it_is(shapes):
    mask = shapes.line(0, 8.0, center=(200.0, 200.0))
    mask |= shapes.tube([(200.0, 200.0), (120.0, 260.0)], 6.0)
    graph = vessel_graph(mask)
    long = [s for s in range(3) if np.ptp(graph.points[graph.starts[s] : graph.starts[s + 1], 0]) < 12]
    assert len(long) == 2
    for s in long:
        rows = graph.points[graph.spans[s, 0] : graph.spans[s, 1], 0]
        # The vessel covers an odd or even number of rows, whose middle is up to half a pixel away; beside the branch it was a pixel more.
        assert np.ptp(rows) < 0.35
