"""Thinning: one pixel wide, of the same connected parts, and no line is lost."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fundusion.biomarkers.skeleton import skeletonize, thin


def parts(mask, connectivity=8):
    return cv2.connectedComponents(np.ascontiguousarray(mask).astype(np.uint8), connectivity=connectivity)[0] - 1


@given(arrays(bool, (13, 17), elements=st.booleans()))
def test_topology_is_kept(mask):
    skeleton = skeletonize(mask)
    assert not (skeleton & ~mask).any()
    assert parts(skeleton) == parts(mask)
    # Holes: parts of the background by 4-neighbours, with a border around.
    assert parts(~np.pad(skeleton, 1), 4) == parts(~np.pad(mask, 1), 4)


@given(arrays(bool, (20, 20), elements=st.booleans()))
def test_no_square_of_four_stays_in_a_smooth_mask(mask):
    smooth = cv2.medianBlur(mask.astype(np.uint8), 3)
    skeleton = skeletonize(smooth).astype(int)
    squares = skeleton[1:, 1:] + skeleton[1:, :-1] + skeleton[:-1, 1:] + skeleton[:-1, :-1]
    assert (squares == 4).sum() <= 1


@pytest.mark.parametrize("angle", [0, 20, 45, 90, 135])
@pytest.mark.parametrize("width", [1.5, 2.0, 5.0])
def test_a_slanting_thin_line_does_not_vanish(shapes, angle, width):
    mask = shapes.line(angle, width, length=100, center=(70.3, 69.6), shape=(140, 140))
    rows, cols = np.nonzero(skeletonize(mask))
    assert np.hypot(np.ptp(rows), np.ptp(cols)) > 95 - width


def test_nothing_one_pixel_and_all():
    assert not skeletonize(np.zeros((5, 5))).any()
    single = np.zeros((5, 5))
    single[2, 2] = 1
    assert skeletonize(single).sum() == 1
    assert 1 <= skeletonize(np.ones((31, 31))).sum() < 80
    skeleton, pixels = thin(np.eye(6))
    assert sorted(pixels) == np.flatnonzero(skeleton).tolist()
