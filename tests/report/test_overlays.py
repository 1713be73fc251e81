"""Structures drawn on a photograph."""

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.report.overlays import COLOURS, artery_vein_map, draw_masks


def test_areas_are_tinted_and_outlines_leave_the_inside_alone():
    pixels = np.full((80, 90, 3), 100, np.uint8)
    mask = np.zeros((80, 90), bool)
    mask[20:60, 30:70] = True
    tinted = draw_masks(pixels, {"artery": mask}, opacity=0.5)
    assert tinted[40, 50].tolist() == [round(50 + c / 2) for c in COLOURS["artery"]]
    outlined = draw_masks(pixels, {"disc": mask})
    assert outlined[40, 50].tolist() == [100, 100, 100]
    assert outlined[20, 50].tolist() != [100, 100, 100]
    assert (pixels == 100).all()
    assert draw_masks(pixels[..., :1], {}).shape == (80, 90, 3)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(InvalidInput, match="mask of cup is 5 x 4 px, the picture 9 x 8"):
        draw_masks(np.zeros((8, 9, 3), np.uint8), {"cup": np.zeros((4, 5), bool)})


def test_artery_vein_map_follows_the_colours_of_the_field():
    shown = artery_vein_map(np.array([[True, False, True]]), np.array([[False, True, True]]))
    assert shown[0].tolist() == [[255, 0, 0], [0, 0, 255], [255, 0, 255]]
