"""Dimensions of figures that are known, and what a picture's size and position do not change."""

import math

import numpy as np
import pytest

from fundusion.biomarkers.complexity import count_boxes, density, fractal_dimension, lacunarity


def dimension(mask):
    return fractal_dimension(count_boxes(mask)).value


@pytest.mark.parametrize("levels", [5, 6])
@pytest.mark.parametrize("border", [(0, 0), (37, 100), (11, 3)])
def test_sierpinski_carpet(shapes, levels, border):
    assert dimension(np.pad(shapes.carpet(levels), border)) == pytest.approx(math.log(8) / math.log(3), rel=0.02)


@pytest.mark.parametrize("side", [64, 100, 233, 500, 777])
def test_a_filled_square_and_a_line(side):
    assert dimension(np.pad(np.ones((side, side)), 7)) == pytest.approx(2.0, rel=0.02)
    line = np.zeros((side, side))
    line[side // 2] = 1
    assert dimension(line) == pytest.approx(1.0, rel=0.02)


def test_turning_and_shifting_change_nothing(shapes, drawn):
    mask = drawn[1]["vein"]
    base = count_boxes(mask)
    for k, flip in shapes.EIGHT:
        found = count_boxes(np.pad(shapes.turned(mask, k, flip), ((3, 0), (0, 19))))
        assert fractal_dimension(found).value == pytest.approx(fractal_dimension(base).value, abs=2e-3)
        assert lacunarity(found).value == pytest.approx(lacunarity(base).value, rel=5e-3)


def test_lacunarity_of_an_even_and_a_clustered_figure():
    rows, cols = np.mgrid[:256, :256]
    even = (rows % 4 == 0) & (cols % 4 == 0)
    clustered = (rows < 64) & (cols < 64) | (rows > 250) & (cols > 250)
    assert lacunarity(count_boxes(even)).value == pytest.approx(1.0, abs=0.05)
    assert lacunarity(count_boxes(clustered)).value > 5


def test_too_little_has_no_dimension():
    assert fractal_dimension(count_boxes(np.zeros((9, 9)))).failure == "vessels.too_small"
    assert fractal_dimension(count_boxes(np.eye(1))).failure == "vessels.too_small"
    assert lacunarity(count_boxes(np.ones((8, 8)))).failure == "vessels.too_small"
    assert density(5, 0).failure == "mask.size"
