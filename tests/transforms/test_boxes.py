"""Boxes around masks: inside the picture, wide enough, none where there is nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fundusion.core.errors import InvalidInput
from fundusion.transforms.boxes import box_around, boxes_around_regions


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20))),
    st.floats(0, 1),
    st.floats(0, 5),
)
def test_a_box_holds_the_mask_and_stays_in_the_picture(mask, margin, least):
    box = box_around(mask, margin=margin, least_margin_px=least)
    if not mask.any():
        assert box is None
        return
    x0, y0, x1, y1 = box
    assert 0 <= x0 <= x1 <= mask.shape[1] - 1
    assert 0 <= y0 <= y1 <= mask.shape[0] - 1
    rows, columns = np.nonzero(mask)
    assert x0 <= columns.min()
    assert x1 >= columns.max()
    assert y0 <= rows.min()
    assert y1 >= rows.max()
    # Without a margin it is the tight one, and it turns with the picture.
    assert box_around(mask, margin=0, least_margin_px=0) == (columns.min(), rows.min(), columns.max(), rows.max())
    turned = box_around(mask.T, margin=margin, least_margin_px=least)
    assert turned == (y0, x0, y1, x1)


def test_probabilities_are_cut_at_the_threshold():
    p = np.zeros((30, 30), np.float32)
    p[10:20, 10:20], p[12:15, 12:15] = 0.4, 0.9
    assert box_around(p, margin=0, least_margin_px=0) == (12, 12, 14, 14)
    assert box_around(p, threshold=0.3, margin=0.1, least_margin_px=0) == (9, 9, 20, 20)
    assert box_around(p, threshold=0.95) is None


def test_each_region_has_its_box_the_largest_first():
    mask = np.zeros((40, 40), bool)
    mask[2:5, 2:5], mask[20:30, 20:32], mask[38, 38] = True, True, True
    boxes = boxes_around_regions(mask, margin=0, least_margin_px=1)
    assert boxes == [(19, 19, 32, 30), (1, 1, 5, 5)]
    assert boxes_around_regions(mask, margin=0, least_margin_px=0, least_area_px=1)[-1] == (38, 38, 38, 38)
    assert len(boxes_around_regions(mask, most=1)) == 1
    assert boxes_around_regions(np.zeros((5, 5), bool)) == []


@pytest.mark.parametrize(
    ("mask", "options", "words"),
    [
        (np.zeros((2, 3, 4)), {}, "H, W"),
        (np.zeros((0, 4)), {}, "H, W"),
        (np.full((3, 3), np.nan), {}, "finite"),
        (np.zeros((3, 3)), {"margin": -0.1}, "negative"),
    ],
)
def test_what_is_no_map_is_refused(mask, options, words):
    with pytest.raises(InvalidInput, match=words):
        box_around(mask, **options)
