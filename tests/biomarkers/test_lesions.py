"""Lesions by sector of the grid, in both eyes; areas add up."""

import numpy as np
import pytest

from fundusion.biomarkers.lesions import SECTORS, Grid, count_lesions, no_sectors


@pytest.mark.parametrize(("nasal", "right"), [(1.0, "nasal"), (-1.0, "temporal")])
def test_sectors_of_known_places(nasal, right):
    grid = Grid(fovea=(100.0, 100.0), um_per_px=50.0, nasal=nasal)
    places = {
        (100, 105): "centre",
        (100, 120): f"inner {right}",
        (80, 100): "inner superior",
        (145, 100): "outer inferior",
        (100, 170): "outside",
    }
    for (row, col), name in places.items():
        assert SECTORS[int(grid.sectors(np.array(row), np.array(col)))] == name


def test_counts_and_areas():
    mask = np.zeros((200, 200), bool)
    mask[98:103, 98:103] = True
    mask[60:62, 100:104] = True
    mask[5, 5] = True
    found = count_lesions(mask, Grid(fovea=(100.0, 100.0), um_per_px=50.0, nasal=1.0))
    assert found["all"][0].value == 3
    assert found["centre"][0].value == found["outer superior"][0].value == found["outside"][0].value == 1
    assert found["centre"][1].value == 25
    assert sum(a.value for name, (_, a) in found.items() if name != "all") == found["all"][1].value == mask.sum()


def test_none_is_a_count_and_not_a_failure():
    found = count_lesions(np.zeros((20, 20)), Grid(fovea=(9.0, 9.0), um_per_px=100.0, nasal=1.0))
    assert all(n.value == a.value == 0 for n, a in found.values())
    assert set(no_sectors("fovea.absent")) == set(SECTORS)
