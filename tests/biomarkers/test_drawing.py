"""Pictures show lines, zones and the fovea where they are."""

import numpy as np

from fundusion.biomarkers.drawing import COLORS, draw_measured
from fundusion.biomarkers.eye import measure_eye


def test_lines_and_zones(drawn):
    _, masks, facts = drawn
    found = measure_eye(masks, facts)
    picture = draw_measured(found, masks)
    assert picture.shape == (512, 512, 3)
    near = np.abs(picture.astype(int) - COLORS["vein"]).max(-1) < 40
    rows, cols = np.nonzero(near)
    assert len(rows) > 300
    assert masks["vein"][rows, cols].mean() > 0.9
    assert (picture[int(found.fovea[0]), int(found.fovea[1])] > 100).all()


def test_a_photograph_lies_below_and_one_of_another_size_does_not(drawn):
    _, masks, facts = drawn
    found = measure_eye(masks, facts)
    bright = np.full((512, 512, 3), 200, np.uint8)
    assert draw_measured(found, masks, background=bright)[0, 0].tolist() == [120, 120, 120]
    assert draw_measured(found, masks, background=bright[:100])[0, 0].tolist() == [0, 0, 0]
    nothing = {"vessels": np.zeros((30, 30), bool)}
    assert not draw_measured(measure_eye(nothing), nothing).any()
