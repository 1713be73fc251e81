"""Whether a model was trained on what it is to be measured on."""

import pytest

from fundusion.audit.contamination import contaminated, overlap_by_name, training_sets
from fundusion.core.errors import UnknownName


def test_the_shipped_model_names_its_sets_and_is_told_on_them_only():
    assert len(training_sets("screen")) >= 2
    found = contaminated([("folder", "idrid"), ("other", "aptos"), ("eyes", "odir")], "screen")
    assert [p.code for p in found] == ["model.contamination"] * 2
    assert "folder (idrid)" in found[0].sentence


def test_an_overlap_that_names_do_not_tell_can_be_given():
    found = contaminated([("x", "messidor2")], "screen", overlap=lambda name, sets: sets[:1])
    assert len(found) == 1


def test_names_match_whole_words():
    assert overlap_by_name("odir", ["ODIRECT set", "ODIR-5K"]) == ("ODIR-5K",)


def test_an_unknown_model_is_refused():
    with pytest.raises(UnknownName):
        contaminated([("x", "idrid")], "scren")
