import pytest

from fundusion.core.errors import InvalidInput, UnknownName
from fundusion.core.tasks import STANDARD_TASKS, MultiClass
from fundusion.knowledge import Knowledge
from fundusion.knowledge.questions import prompts_of_labels, prompts_of_set, prompts_of_task


@pytest.fixture(scope="module")
def known():
    return Knowledge.read()


def test_a_set_gives_labels_titles_and_what_they_are_compared_with(known):
    asked = prompts_of_set(known, "odir")
    assert asked.task.kind == "multilabel"
    assert asked.task.labels == tuple("NDGCAHMO")
    assert asked.name == asked.label_in_tables == "disease"
    assert asked.prompts["G"] == known.prompts("glaucoma")
    assert asked.against == known.prompts("normal_fundus") == asked.prompts["N"]
    assert asked.task.title("M") == "pathological myopia"
    assert len(asked.groups) == 9


@pytest.mark.parametrize("name", sorted(Knowledge.read().sets))
@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("kind", ["prompt", "names", "definitions", "label"])
def test_every_set_can_be_asked_in_every_way(known, name, language, kind):
    asked = prompts_of_set(known, name, language=language, kind=kind)
    assert all(asked.prompts[k] for k in asked.task.labels)
    groups = [asked.prompts[k] for k in asked.task.labels]
    assert len(set(groups)) == len(groups)
    if kind == "label":
        assert all(len(g) == 1 for g in groups)


def test_labels_are_found_and_others_are_asked_as_they_are(known):
    asked = prompts_of_labels(known, "normal fundus, ERM，sea fan")
    assert asked.task.labels == ("normal fundus", "ERM", "sea fan")
    assert asked.prompts["ERM"] == known.prompts("epiretinal_membrane")
    assert asked.prompts["sea fan"] == ("A fundus photograph of sea fan",)
    assert asked.findings == {"normal fundus": "normal_fundus", "ERM": "epiretinal_membrane", "sea fan": None}
    assert asked.notes == ("'sea fan' is no known finding; it is asked in this word alone",)
    with pytest.raises(UnknownName, match="'sea fan'"):
        prompts_of_labels(known, "normal fundus, sea fan", known_only=True)
    near = prompts_of_labels(known, "normal fundus, maccular hole")
    assert "near are macular hole" in near.notes[0]


def test_own_words_are_taken_without_a_template(known):
    asked = prompts_of_labels(known, ["normal fundus", "hole = a red spot|a gap at the fovea"])
    assert asked.prompts["hole"] == ("a red spot", "a gap at the fovea")
    assert asked.findings["hole"] is None
    assert asked.notes == ()


def test_the_labels_as_they_are_typed(known):
    asked = prompts_of_labels(known, "normal, healthy, lesion in the macula", kind="label")
    assert [asked.prompts[k] for k in asked.task.labels] == [
        ("A fundus photograph of normal",), ("A fundus photograph of healthy",),
        ("A fundus photograph of lesion in the macula",),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        ("drusen", "config.labels"),
        ("drusen, drusen", "config.labels"),
        ("drusen, soft drusen", "config.labels"),
        (" , ", "config.labels"),
        ([], "config.labels"),
        (["drusen", ""], "text.empty"),
        (["drusen", "glau\u200bcoma"], "text.invisible"),
        (["drusen", "glaucoma\u202e"], "text.invisible"),
        (["drusen", "x" * 1_000_000], "text.too_long"),
        (["drusen", "a = b|"], "text.empty"),
        (["drusen", "= b"], "text.empty"),
        ("MH, drusen", "knowledge.ambiguous"),
        ([f"label {i}" for i in range(600)], "config.labels"),
    ],
)
def test_labels_that_cannot_be_asked_are_refused_with_the_reason(known, labels, code):
    with pytest.raises(InvalidInput) as caught:
        prompts_of_labels(known, labels)
    assert caught.value.code == code
    assert len(str(caught.value)) < 400


def test_one_label_is_enough_against_the_normal(known):
    asked = prompts_of_labels(known, "drusen", several=True)
    assert asked.task.kind == "multilabel"
    assert asked.against == known.prompts("normal_fundus")


def test_another_question_has_another_digest(known):
    asked = prompts_of_labels(known, "drusen, glaucoma")
    assert asked.digest() == prompts_of_labels(known, "drusen, glaucoma").digest()
    others = [
        prompts_of_labels(known, "glaucoma, drusen"),
        prompts_of_labels(known, "drusen, glaucoma", language="zh"),
        prompts_of_labels(known, "drusen, glaucoma", kind="names"),
        prompts_of_labels(known, "drusen, glaucoma", template=["{finding}"]),
        prompts_of_labels(known, "drusen, glaucoma", several=True),
    ]
    assert len({asked.digest(), *(o.digest() for o in others)}) == 6


def test_a_task_is_asked_by_its_set_else_by_its_titles(known):
    asked = prompts_of_task(known, "dr_grade", STANDARD_TASKS["dr_grade"])
    assert asked.prompts["1"] == known.prompts("mild NPDR")
    own = prompts_of_task(known, "vein", MultiClass(("none", "BRVO", "CRVO")))
    assert own.prompts["BRVO"] == known.prompts("branch_retinal_vein_occlusion")
    assert own.prompts["none"] == ("A fundus photograph of none",)
    assert own.task.labels == ("none", "BRVO", "CRVO")
    with pytest.raises(InvalidInput, match="prompts 'all'"):
        prompts_of_set(known, "odir", kind="all")
