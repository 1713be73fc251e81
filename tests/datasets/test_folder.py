"""Whatever a person points at becomes records in a fixed order with names of their own."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from fundusion.core.errors import FundusionError
from fundusion.core.vocabulary import Laterality
from fundusion.datasets import folder
from fundusion.datasets.folder import discover


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((64, 64, 3), 90, np.uint8))
    return path


def test_a_folder_is_searched_in_depth_and_equal_names_stay_apart(tmp_path):
    for name in ("b/eye_OD.png", "a/eye_OD.png", "a/left.jpg", "a/.hidden.png", "a/notes.txt"):
        picture(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).write_text("x")
    records = discover([tmp_path])
    assert len(records) == 3
    assert len({r.study_id for r in records}) == 3
    assert [r.study_id for r in records] == [r.study_id for r in discover([tmp_path])]
    eyes = {r.images["cfp"][0].rsplit("/", 2)[-2] + "/" + r.study_id[-4:]: r.laterality for r in records}
    assert sorted(e.value for e in eyes.values() if e) == ["OD", "OD", "OS"]


@pytest.mark.parametrize(
    ("name", "eye"),
    [
        ("12_left.jpg", Laterality.LEFT),
        ("12-OD.jpg", Laterality.RIGHT),
        ("copyright.jpg", None),
        ("model.jpg", None),
        ("x r.png", Laterality.RIGHT),
    ],
)
def test_an_eye_is_read_from_a_name_only_where_it_stands_alone(tmp_path, name, eye):
    assert discover([picture(tmp_path / name)])[0].laterality is eye


def test_tables_files_and_sets_in_one_call(tmp_path, cohort):
    single = picture(tmp_path / "one.png")
    found = discover([cohort, single])
    assert len(found) == 25
    assert found[-1].study_id == "one"


def test_a_given_file_that_is_no_picture_is_kept_to_be_rejected_later(tmp_path):
    (tmp_path / "page.jpg").write_text("<html>")
    assert [r.study_id for r in discover([tmp_path / "page.jpg"])] == ["page"]


def test_nothing_usable_is_an_error_with_a_way_out(tmp_path):
    for inputs, code in (([], "input.empty"), ([tmp_path], "input.empty"), ([tmp_path / "none"], "input.missing")):
        with pytest.raises(FundusionError) as caught:
            discover(inputs)
        assert caught.value.code == code
        assert caught.value.hint


def test_a_public_set_is_recognised_by_its_layout(data_root):
    records = discover([data_root / "idrid_grading"])
    assert all("dr_grade" in r.labels for r in records)


def test_a_set_is_read_with_its_labels_and_what_does_not_fit_is_said(fake_of, trees):
    tree = fake_of("idrid")
    trees.picture(tree.stray)
    tree.listed.unlink()
    found = discover([tree.base.parent])
    assert {r.study_id for r in found} == {"train_IDRiD_001", "train_IDRiD_002"}
    assert [r.code for r in found.rejected] == ["file.missing"]
    notes = " ".join(found.notes)
    for text in (
        "was read as idrid",
        "1 listed files are missing",
        "1 files that no table lists",
        "FLAIR",
        "saw this set in training",
    ):
        assert text in notes


def test_drawn_truth_is_not_taken_for_photographs(fake_of):
    tree = fake_of("chase_db1")
    assert len(discover([tree.base])) == tree.records


def test_a_folder_of_two_sets_is_not_guessed(fake_of):
    fake_of("hrf")
    base = fake_of("fives").base.parent
    found = discover([base])
    assert all(not r.labels for r in found)
    assert "fits several sets (fives, hrf)" in " ".join(found.notes)


def test_a_set_whose_table_is_damaged_gives_its_pictures(fake_of):
    tree = fake_of("airogs")
    (tree.base / "train_labels.csv").write_bytes(b"challenge_id,class\nTRAIN000000,NRG\n" + b"\0")
    found = discover([tree.base])
    assert len(found) == 2
    assert all(not r.labels for r in found)
    assert "cannot be read as that" in " ".join(found.notes)


def test_other_parts_of_the_same_set_are_named(trees, tmp_path):
    for name in ("idrid", "idrid.segmentation"):
        trees.build(name, tmp_path)
    found = discover([tmp_path])
    assert len(found) == 3
    assert "it also holds idrid.segmentation" in found.notes


def test_a_vendor_file_with_both_eyes_is_one_study_per_eye(tmp_path, monkeypatch):
    (tmp_path / "scan.E2E").write_bytes(b"content is read by the reader")
    (tmp_path / "broken.vol").write_bytes(b"nothing of that kind")
    real = folder.eyes_of
    both = (Laterality.RIGHT, Laterality.LEFT, Laterality.RIGHT)
    monkeypatch.setattr(folder, "eyes_of", lambda path: both if Path(path).suffix == ".E2E" else real(path))
    found = discover([tmp_path])
    assert [(r.study_id, r.laterality) for r in found] == [
        ("scan.E2E_OD", Laterality.RIGHT),
        ("scan.E2E_OS", Laterality.LEFT),
    ]
    assert all(r.images == {"oct": (str(tmp_path / "scan.E2E"),)} for r in found)
    assert [(r.study_id, r.code) for r in found.rejected] == [("broken.vol", "oct.damaged")]
