"""Lesions by sector of the grid, in both eyes; areas add up."""

import numpy as np
import pytest

from fundusion.biomarkers.lesions import SECTORS, Grid, count_lesions, no_sectors, parts_at_waists


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


def discs(*places, size=160):
    rows, cols = np.mgrid[:size, :size]
    mask = np.zeros((size, size), bool)
    for row, col, radius in places:
        mask |= np.hypot(rows - row, cols - col) <= radius
    return mask


def test_lesions_that_touch_are_one_and_said_to_be_perhaps_more():
    alone = count_lesions(discs((30, 30, 9), (90, 90, 6)), None)["all"][0]
    assert (alone.value, alone.error, alone.flags) == (2, None, ())
    # A chain of three and a pair beside it.
    chain = count_lesions(discs((30, 30, 9), (30, 46, 9), (30, 60, 7), (90, 90, 6), (90, 101, 7)), None)["all"][0]
    assert (chain.value, chain.n, chain.error, chain.flags) == (2, 2, 3.0, ("lesions.touching",))


@pytest.mark.parametrize("radius", [1.0, 2.5, 6.0, 15.0])
@pytest.mark.parametrize("stretch", [1.0, 1.6, 3.0])
@pytest.mark.parametrize("turn", [0, 27, 45, 71])
def test_one_oval_lesion_has_no_waist(radius, stretch, turn):
    rows, cols = np.mgrid[:140, :140] - 69.6
    a = np.radians(turn)
    along, across = cols * np.cos(a) + rows * np.sin(a), rows * np.cos(a) - cols * np.sin(a)
    assert parts_at_waists(np.hypot(along / stretch, across) <= radius) == 1


@pytest.mark.parametrize("turn", range(0, 180, 15))
@pytest.mark.parametrize("apart", [1.5, 1.8])
def test_two_discs_that_overlap_a_little_are_two_parts_at_any_turn(turn, apart):
    a, reach = np.radians(turn), 10 * apart / 2
    way = reach * np.sin(a), reach * np.cos(a)
    mask = discs((70.3 + way[0], 70.1 + way[1], 10), (70.3 - way[0], 70.1 - way[1], 10))
    assert parts_at_waists(mask) == 2
    assert parts_at_waists(np.zeros((5, 5))) == 0
