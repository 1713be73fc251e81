"""What is said about a study: reports, words, grades, letters; knowledge files and what they refuse."""

import json

import pytest

from fundusion.core.errors import InvalidInput, ReadError
from fundusion.core.study import StudyRecord
from fundusion.train.study_texts import StudyTexts, read_knowledge


def study(report=None, **labels):
    return StudyRecord(study_id="a", report=report, labels=labels)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"findings": ("Macular Hole", "drusen")}, ["macular hole", "drusen"]),
        ({"diagnoses": ("drusen",), "dr_grade": 4}, ["drusen"]),
        ({"dr_grade": 2, "dme_risk": "0"}, ["moderate diabetic retinopathy", "no referable diabetic macular edema"]),
        ({"disease": {"G": 1.0, "N": 0.0, "C": float("nan")}}, ["glaucoma"]),
        ({"disease": "G|C"}, ["glaucoma", "cataract"]),
        ({"dr_grade": "1", "disease": "D"}, ["mild diabetic retinopathy"]),
        ({"systemic": "retinal_tear|glaucoma", "dr_grade": 0}, ["retinal tear", "glaucoma"]),
        ({"dr_grade": float("nan"), "referable": 1, "gradable": "yes", "note": ""}, []),
        ({"dr_grade": 7}, []),
        ({"dr_grade": 1.5}, []),
        ({}, []),
    ],
)
def test_findings_of_labels(labels, expected):
    assert StudyTexts().findings_of(study(**labels)) == expected


def test_spellings_of_one_finding_are_one_finding_with_all_its_texts():
    source = StudyTexts({"Drusens": ["yellow deposits"]}, {"drusen": "drusens", "Drusen, large": "drusens"})
    assert source.findings_of(study(findings=("drusen", "drusen, large"))) == ["drusens"]
    assert source.texts_for("drusens") == ["drusens", "drusen", "drusen, large", "yellow deposits"]
    assert source.texts_for("nothing known") == ["nothing known"]


def test_asking_twice_gives_the_same_answer():
    knowledge = {"drusen": ["yellow deposits"]}
    source = StudyTexts(knowledge)
    first = source.texts_for("drusen")
    first.append("changed by the caller")
    assert source.texts_for("drusen") == ["drusen", "yellow deposits"]
    assert knowledge == {"drusen": ["yellow deposits"]}


def test_a_report_is_the_text_and_its_denials_are_known():
    said = study("No macular oedema.  Drusen at the macula. ", findings=("cataract",))
    source = StudyTexts()
    assert source.texts_of(said) == ["No macular oedema.  Drusen at the macula."]
    assert source.mentions(said) == {"cataract": 1, "drusen": 1, "macular oedema": -1}
    assert source.texts_of(study(" \n", findings=("cataract", "drusen"))) == ["cataract, drusen"]
    assert source.texts_of(study()) == []


def test_knowledge_files(tmp_path):
    file = tmp_path / "k.json"
    file.write_text(json.dumps({"definitions": {"Macular  Hole": ["a gap"]}, "datasets": []}))
    known, digest = read_knowledge(file)
    assert known == {"macular hole": ("a gap",)}
    assert len(digest) == 64
    file.write_text(json.dumps({"drusen": ["x"]}))
    assert read_knowledge(file)[0] == {"drusen": ("x",)}


@pytest.mark.parametrize(
    ("content", "error", "code"),
    [
        (b"{", ReadError, "knowledge.syntax"),
        (b"\xff\xfe", ReadError, "knowledge.syntax"),
        (b"[]", InvalidInput, "knowledge.layout"),
        (b"{}", InvalidInput, "knowledge.layout"),
        (b'{"a": "b"}', InvalidInput, "knowledge.layout"),
        (b'{"a": [""]}', InvalidInput, "knowledge.layout"),
        (b" " * (17 << 20), InvalidInput, "knowledge.size"),
        (None, ReadError, "knowledge.missing"),
    ],
)
def test_files_that_are_no_knowledge(tmp_path, content, error, code):
    if content is not None:
        (tmp_path / "k.json").write_bytes(content)
    with pytest.raises(error) as caught:
        read_knowledge(tmp_path / "k.json")
    assert caught.value.code == code


def test_the_definitions_of_flair_are_read_whole(data_root):
    known, _ = read_knowledge(data_root / "text" / "flair_definitions.json")
    assert len(known) == 109
    assert "only few microaneurysms" in StudyTexts(known).texts_for("mild diabetic retinopathy")
