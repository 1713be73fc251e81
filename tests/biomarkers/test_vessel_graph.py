"""The correctness gate on figures whose measures are known, and the eight positions of a mask."""

import numpy as np
import pytest

from fundusion.biomarkers.vessel_graph import vessel_graph
from fundusion.core.errors import InvalidInput


def main_line(mask):
    """Return arc length, arc by chord and width of the longest segment."""
    graph = vessel_graph(mask)
    s = int(np.argmax(graph.lengths_px))
    a, b = graph.points[graph.starts[s]], graph.points[graph.starts[s + 1] - 1]
    return graph.lengths_px[s], graph.lengths_px[s] / np.hypot(*(a - b)), graph.segment_widths_px[s]


@pytest.mark.parametrize("width", [1.5, 3.0, 7.0, 12.0])
@pytest.mark.parametrize("angle", range(0, 180, 13))
def test_a_straight_line_is_straight_at_any_angle(shapes, angle, width):
    length, ratio, found = main_line(shapes.line(angle, width))
    assert ratio == pytest.approx(1.0, abs=0.01)
    assert length == pytest.approx(240, abs=2.5)
    if angle:
        assert found == pytest.approx(width, abs=0.25)


@pytest.mark.parametrize("angle", [0, 45, 90, 135])
def test_widths_on_the_grid_are_right_on_average_over_places(shapes, angle):
    # Along rows, columns and diagonals a mask can hold few widths only; which one depends on where the line lies.
    places = [(200 + k * 0.17, 200 + k * 0.29) for k in range(12)]
    found = [main_line(shapes.line(angle, 6.0, center=c))[2] for c in places]
    assert np.mean(found) == pytest.approx(6.0, abs=0.25)


@pytest.mark.parametrize("radius", [40, 80, 150])
@pytest.mark.parametrize("width", [2.0, 5.0, 10.0])
def test_half_a_circle(shapes, radius, width):
    _, ratio, found = main_line(shapes.semicircle(radius, width))
    assert ratio == pytest.approx(np.pi / 2, rel=0.01)
    assert found == pytest.approx(width, abs=0.25)


@pytest.mark.parametrize(("amplitude", "period"), [(10, 80), (20, 100), (15, 60)])
@pytest.mark.parametrize("width", [2.0, 4.0, 6.0])
def test_length_of_a_wave(shapes, amplitude, period, width):
    mask, length = shapes.wave(amplitude, period, width)
    found, _, wide = main_line(mask)
    assert found == pytest.approx(length, rel=0.01)
    assert wide == pytest.approx(width, abs=0.25)


def test_turning_and_mirroring_change_nothing(shapes, drawn):
    mask = drawn[1]["vein"]
    base = vessel_graph(mask)
    for k, flip in shapes.EIGHT:
        graph = vessel_graph(shapes.turned(mask, k, flip))
        np.testing.assert_array_equal(graph.widths_px, base.widths_px)
        np.testing.assert_allclose(graph.lengths_px, base.lengths_px, rtol=1e-9)
        np.testing.assert_array_equal(graph.arms, base.arms)
        assert len(graph.skeleton_px) == len(base.skeleton_px)


def test_points_come_back_to_where_the_mask_was(shapes):
    mask = shapes.line(30, 5.0)
    mask[:, 300:] = False
    for k, flip in shapes.EIGHT:
        turned = shapes.turned(mask, k, flip)
        graph = vessel_graph(turned)
        rows, cols = np.rint(graph.points).astype(int).T
        assert turned[rows, cols].all()
        assert turned.ravel()[graph.skeleton_px].all()


def test_a_symmetric_mask_is_the_same_in_all_positions(shapes):
    mask = np.zeros((61, 61), bool)
    mask[28:33] = True
    mask[:, 28:33] = True
    lengths = [np.sort(vessel_graph(shapes.turned(mask, k, f)).lengths_px) for k, f in shapes.EIGHT]
    for other in lengths[1:]:
        np.testing.assert_allclose(other, lengths[0], rtol=1e-12)


@pytest.mark.parametrize(
    "mask", [np.zeros((9, 9)), np.eye(1), np.pad(np.ones((1, 1)), 4), np.ones((40, 40)), np.zeros((1, 1))]
)
def test_small_and_empty_masks(mask):
    graph = vessel_graph(mask)
    assert np.isfinite(graph.points).all()
    assert np.isfinite(graph.widths_px).all()
    assert graph.area_px == mask.sum()


def test_a_mask_has_two_dimensions():
    with pytest.raises(InvalidInput, match="shape"):
        vessel_graph(np.zeros((3, 3, 3)))


def test_noise_of_any_grain_and_density_is_traced_safely():
    # Compiled code has no check of its bounds: what does not fit would overwrite memory.
    import cv2

    generator = np.random.default_rng(0)
    for _ in range(60):
        grain = cv2.GaussianBlur(generator.random((90, 110)).astype(np.float32), (0, 0), generator.uniform(0.5, 4))
        graph = vessel_graph(grain > np.quantile(grain, generator.uniform(0.2, 0.9)))
        assert np.isfinite(graph.points).all()
        assert np.isfinite(graph.widths_px).all()
        assert graph.starts[-1] == len(graph.points) == len(graph.widths_px) == len(graph.curvature)
        assert (np.diff(graph.spans, axis=1) > 0).all()
        assert (graph.spans[:, 0] >= graph.starts[:-1]).all()
        assert (graph.spans[:, 1] <= graph.starts[1:]).all()
