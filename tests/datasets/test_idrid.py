"""IDRiD grading: names of the two parts collide, headers have a trailing space."""

from pathlib import Path

import pytest

from fundusion.core.errors import ReadError
from fundusion.datasets.idrid import idrid


def as_downloaded(tmp_path):
    base = tmp_path / "B. Disease Grading"
    for part in ("a. Training Set", "b. Testing Set"):
        folder = base / "1. Original Images" / part
        folder.mkdir(parents=True)
        (folder / "IDRiD_001.jpg").write_bytes(part.encode())
    (base / "2. Groundtruths").mkdir()
    head = "Image name,Retinopathy grade,Risk of macular edema ,,,\n"
    truths = base / "2. Groundtruths"
    (truths / "a. IDRiD_Disease Grading_Training Labels.csv").write_text(head + "IDRiD_001,3,2,,,\n,,,,,\n")
    (truths / "b. IDRiD_Disease Grading_Testing Labels.csv").write_text(head + "IDRiD_001,0,0,,,\n")
    return tmp_path


def test_equal_names_of_the_parts_stay_apart(tmp_path):
    records = idrid(as_downloaded(tmp_path))
    assert [(r.study_id, r.split, r.labels["dr_grade"], r.labels["dme_risk"]) for r in records] == [
        ("train_IDRiD_001", "train", 3.0, 2.0),
        ("test_IDRiD_001", "test", 0.0, 0.0),
    ]
    contents = [Path(r.images["cfp"][0]).read_bytes() for r in records]
    assert contents == [b"a. Training Set", b"b. Testing Set"]
    assert [r.study_id for r in idrid(tmp_path, split="test")] == ["test_IDRiD_001"]


def test_a_grade_says_of_other_diseases_only_what_it_says(tmp_path):
    sick, well = (r.labels["disease"] for r in idrid(as_downloaded(tmp_path)))
    assert sick == {"D": 1.0, "N": 0.0}
    # No retinopathy is not yet a normal eye.
    assert well == {"D": 0.0}


def test_another_folder_is_refused(tmp_path):
    with pytest.raises(ReadError, match="IDRiD") as caught:
        idrid(tmp_path)
    assert caught.value.code == "dataset.layout"


def test_the_real_set(data_root):
    records = idrid(data_root / "idrid_grading")
    assert len({r.study_id for r in records}) == len(records) > 300
    assert {r.labels["dr_grade"] for r in records} == {0.0, 1.0, 2.0, 3.0, 4.0}
