"""Crossings are one node, branchings close to each other stay two, and walls part where the geometry says."""

import cv2
import numpy as np
import pytest

from fundusion.biomarkers.junctions import part
from fundusion.biomarkers.skeleton import TABLES, thin
from fundusion.biomarkers.tracing import trace
from fundusion.biomarkers.vessel_graph import vessel_graph


@pytest.mark.parametrize("widths", [(2, 2), (3, 3), (3, 6), (5, 5), (8, 8), (8, 4)])
@pytest.mark.parametrize("angle", [30, 40, 55, 70, 90])
def test_straight_vessels_that_cross_make_one_node_of_four_arms(shapes, angle, widths):
    for turn in range(0, 180, 13):
        mask = shapes.line(turn, widths[0]) | shapes.line(turn + angle, widths[1], length=220)
        assert sorted(vessel_graph(mask).arms.tolist()) == [1, 1, 1, 1, 4]


@pytest.mark.parametrize("widths", [(3, 2), (4, 3), (8, 5)])
@pytest.mark.parametrize("apart", [10, 15, 22, 30])
@pytest.mark.parametrize("side", [1, -1])
def test_branches_close_to_each_other_are_no_crossing(shapes, widths, apart, side):
    for turn in range(0, 180, 17):
        middle = np.array([200.3, 199.6])
        way = np.array([-np.sin(np.radians(turn)), np.cos(np.radians(turn))])
        mask = shapes.tube([middle - 120 * way, middle + 120 * way], widths[0])
        for place, sign in ((-apart / 2, 1), (apart / 2, side)):
            a = np.radians(turn + sign * 55)
            start = middle + place * way
            mask |= shapes.tube([start, start + 90 * np.array([-np.sin(a), np.cos(a)])], widths[1])
        assert sorted(vessel_graph(mask).arms.tolist()) == [1, 1, 1, 1, 3, 3]


def test_walls_part_later_at_wider_vessels_and_never_at_a_free_end(shapes):
    found = []
    for width in (3.0, 6.0, 12.0):
        mask = shapes.line(20, width) | shapes.line(110, width)
        skeleton, kept = thin(mask)
        inside = np.pad(mask, 1).astype(np.uint8)
        distance = cv2.distanceTransform(inside, cv2.DIST_L2, 5).ravel()
        pieces = trace(skeleton.ravel(), kept, inside.shape[1], TABLES)
        near = part(distance, inside.shape[1], pieces)
        _, arms, _, _, ends = pieces
        assert (near[arms[ends] == 1] == 0).all()
        assert (near[arms[ends] > 2] > 0).all()
        found.append(int(near.max()))
    # From the middle of a right angle the walls part after half a width, and some more until there is room between them.
    assert all(width / 2 <= near <= width / 2 + 5 for near, width in zip(found, (3.0, 6.0, 12.0), strict=True))


def test_a_hole_of_one_pixel_is_no_way_around(shapes):
    mask = shapes.line(31, 7.0)
    whole = vessel_graph(mask)
    mask[200, 200] = False
    holed = vessel_graph(mask)
    assert holed.arms.tolist() == whole.arms.tolist() == [1, 1]
    assert holed.area_px == whole.area_px - 1
