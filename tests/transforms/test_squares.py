"""All squares of a photograph show the same cut, and the frame knows where the field lies and how large a pixel is."""

import cv2
import numpy as np
import pytest

from fundusion.core.study import Image
from fundusion.transforms.field_of_view import find_field_of_view
from fundusion.transforms.squares import FRAME_PX, cut_squares


def cut(pixels, **facts):
    image = Image(pixels=pixels, modality="cfp", **facts)
    return cut_squares(image, find_field_of_view(pixels), [320, 768], name="cfp.0")


def test_squares_are_one_cut_at_several_scales(drawn_photograph):
    made = cut(drawn_photograph())
    assert sorted(made.pixels) == [320, 768, FRAME_PX]
    assert made.frame.shape == (FRAME_PX, FRAME_PX, 3)
    assert made.side_px == pytest.approx(701, abs=4)
    small = cv2.resize(made.frame, (320, 320), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - made.pixels[320]).mean() < 1.5
    # The field fills the square but for its corners.
    assert made.field.mean() == pytest.approx(np.pi / 4, abs=0.01)
    assert made.frame[~made.field].mean() < 4


def test_a_reduced_picture_gives_the_same_frame(drawn_photograph):
    pixels = cv2.resize(drawn_photograph(), (1520, 1440), interpolation=cv2.INTER_LINEAR)
    whole = cut(pixels)
    half = cv2.resize(pixels, (760, 720), interpolation=cv2.INTER_AREA)
    image = Image(pixels=half, modality="cfp", reduction=2, full_shape=(1440, 1520))
    reduced = cut_squares(image, find_field_of_view(pixels), [320], name="cfp.0")
    assert reduced.side_px == whole.side_px
    assert (reduced.field != whole.field).mean() < 0.003
    assert np.abs(reduced.frame.astype(int) - whole.frame).mean() < 3


@pytest.mark.parametrize(
    ("spacing", "expected"), [((10.0, 10.0), 10.0), (None, None), ((10.0, 12.0), None), ((10.0,), None)]
)
def test_a_spacing_is_brought_to_the_frame_and_never_invented(drawn_photograph, spacing, expected):
    made = cut(drawn_photograph(), spacing_um=spacing)
    wanted = None if expected is None else pytest.approx(expected * made.side_px / FRAME_PX)
    assert made.um_per_px == wanted
