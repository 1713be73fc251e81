import dataclasses

import pytest

from fundusion.knowledge import Finding, Knowledge, LabelSet


def test_nothing_in_a_finding_can_be_changed():
    definitions = {"en": ("round yellow spots",)}
    finding = Finding(id="drusen", name={"en": "drusen"}, definitions=definitions)
    definitions["en"] = ("other",)
    assert finding.definitions["en"] == ("round yellow spots",)
    with pytest.raises(TypeError):
        finding.definitions["zh"] = ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        finding.id = "x"


def test_names_of_a_language_that_is_not_there_are_none():
    finding = Finding(id="drusen", name={"en": "drusen"}, synonyms={"en": ("soft drusen",)})
    assert finding.names() == ("drusen", "soft drusen")
    assert finding.names("zh") == ()


def test_a_set_becomes_a_question():
    several = LabelSet(name="s", title="S", kind="multilabel", labels={"D": "drusen"}, task="disease")
    one = LabelSet(name="s", title="S", kind="multiclass", labels={"0": "drusen", "1": "naevus"}, task="grade")
    assert several.as_task({"D": "drusen"}).kind == "multilabel"
    assert one.as_task({}).outputs == 2
    assert several.as_task({"D": "drusen"}).title("D") == "drusen"


def test_the_labels_of_sets_are_those_of_the_public_sets():
    from fundusion.core.tasks import STANDARD_TASKS
    from fundusion.datasets.rfmid import FINDINGS

    sets = Knowledge.read().sets
    assert list(sets["rfmid"].labels) == list(FINDINGS)
    assert len(set(sets["rfmid"].labels.values())) == 45
    assert list(sets["odir"].labels) == list(STANDARD_TASKS["disease"].labels)
    assert list(sets["icdr"].labels) == list(STANDARD_TASKS["dr_grade"].labels)
