"""Centre lines follow the middle of the mask, and curvature is that of the curve."""

import numpy as np
import pytest

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
