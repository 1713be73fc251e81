"""Whether a model was trained on what it is to be measured on."""

import pytest

from fundusion.audit.contamination import contaminated, training_sets
from fundusion.core.errors import UnknownName


def test_the_shipped_model_names_its_sets_and_is_told_on_them_only():
    assert set(training_sets("screen")) == {"odir", "idrid"}
    found = contaminated([("folder", "idrid"), ("other", "aptos"), ("eyes", "odir")], "screen")
    assert [p.code for p in found] == ["model.contamination"] * 2
    assert found[0].sentence.startswith("folder, model 'screen': idrid is itself in the training data")


def test_a_set_inside_a_training_set_is_told_for_published_models_too():
    (problem,) = contaminated([("x", "EyeQ"), ("y", "drive")], "RETFound-CFP")
    assert "EyeQ is inside eyepacs" in problem.sentence


def test_an_overlap_that_names_do_not_tell_is_known():
    (problem,) = contaminated([("lesions", "idrid.segmentation")], "screen")
    assert "idrid" in problem.sentence


def test_an_unknown_model_is_refused():
    with pytest.raises(UnknownName):
        contaminated([("x", "idrid")], "scren")
