import json

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.knowledge import Knowledge
from fundusion.knowledge.flair import flair_findings
from fundusion.knowledge.questions import prompts_of_set


def test_the_published_definitions_are_imported_whole(data_root, golden_root):
    known = Knowledge.read(data_root / "text" / "flair_definitions.json")
    counts = json.loads((golden_root / "flair" / "definition_counts.json").read_text())
    assert len(known) == 109
    assert {f.name["en"]: len(f.definitions["en"]) for f in known} == counts
    assert sum(counts.values()) == 163
    # HR is hypertensive and haemorrhagic retinopathy there too.
    with pytest.raises(InvalidInput, match="several"):
        known.find("HR")


def test_prompts_are_the_strings_and_the_name_but_no_grade_numbers(data_root):
    known = Knowledge.read(data_root / "text" / "flair_definitions.json")
    assert set(known.prompts("macular hole")) == {
        "A fundus photograph of macular hole",
        "A fundus photograph of lesion in the macula",
        "A fundus photograph of grayish fovea",
    }
    # The list of a class that repeats its name counts it twice, as the original does.
    assert known.texts("no diabetic retinopathy").count("no diabetic retinopathy") == 2
    assert known.texts("myopic maculopathy grade two") == ("diffuse chorioretinal atrophy",)
    # In the original, asking makes the list grow; here the second answer is the first.
    assert known.prompts("macular hole") == known.prompts("macular hole")


def test_its_experiments_are_sets(data_root):
    known = Knowledge.read(data_root / "text" / "flair_definitions.json")
    assert list(known.sets) == ["messidor", "refuge", "fives", "20x3", "odir200x3", "mmac"]
    asked = prompts_of_set(known, "mmac")
    assert asked.prompts["4"] == ("A fundus photograph of macular atrophy",)
    assert len(prompts_of_set(known, "messidor").prompts["2"]) == 7
    # A file that lacks a class of an experiment lacks the experiment.
    assert flair_findings({"definitions": {"glaucoma": [], "no glaucoma": []}}, name="f")[1].keys() == {"refuge"}


@pytest.mark.parametrize(
    "raw", [{}, {"definitions": []}, {"definitions": {"a": "b"}}, {"definitions": {"a b": ["x"], "a-b": ["y"]}}]
)
def test_another_form_is_refused(raw):
    with pytest.raises(InvalidInput):
        flair_findings(raw, name="f.json")
