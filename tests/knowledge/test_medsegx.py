"""The words of MedSegX and their numbers."""

import pytest

from fundusion.core.errors import UnknownName
from fundusion.knowledge.medsegx import (
    MODALITIES,
    ORGANS,
    PARTS,
    REGIONS,
    TASK_ROWS,
    TASKS,
    modality_number,
    task_place,
)


def place(task):
    p = task_place(task)
    return p.part, p.region, p.organ


def test_sizes_of_the_tables():
    assert (len(MODALITIES), len(PARTS), len(REGIONS), len(ORGANS), TASK_ROWS) == (10, 5, 12, 39, 112)
    assert len(set(ORGANS)) == 39


def test_places_that_are_published():
    assert place("OpticCup") == place("OpticDisc") == (0, 1, 3)
    assert place("RetinalVessel") == (3, 10, 37)
    assert place("Liver") == (1, 4, 17)
    assert place("CollarBone") == (2, 8, 32)
    assert [task_place(t).task for t in ("LeftCaudatum", "OpticCup", "OpticDisc", "Skin")] == [0, 15, 16, 110]
    assert modality_number("Fundus") == modality_number("cfp") == 6


def test_every_row_but_the_spare_one_has_one_task():
    own = [task_place(t).task for t in TASKS if task_place(t).has_own_row]
    assert own == list(range(111))
    spare = {t for t in TASKS if not task_place(t).has_own_row}
    assert spare == {
        "FNH", "HCC", "Hemangioma", "ICC", "InterstitialThickening", "PulmonaryLibrosis", "StomachCancer",
    }  # fmt: skip
    assert {task_place(t).task for t in spare} == {111}
    # Their organs are known all the same.
    assert place("StomachCancer") == place("Stomach")


def test_words_it_does_not_know_are_refused_with_those_it_knows():
    assert task_place("disc") == task_place("OpticDisc")
    with pytest.raises(UnknownName, match="disc, cup, vessel"):
        task_place("macula")
    with pytest.raises(UnknownName, match="Fundus"):
        modality_number("oct")
