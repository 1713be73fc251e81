"""DDR: tables without header, grade 5, a folder with a space."""

from fundusion.datasets.ddr import ddr


def test_grade_five_is_ungradable_and_no_grade(read):
    records, _ = read("ddr")
    assert dict(records["train_007-2847-100"].labels) == {"gradable": "ungradable"}
    assert records["val_007-0001-000"].labels["dr_grade"] == 4.0
    assert all(r.patient_id is None for r in records.values())


def test_the_validation_truth_lies_in_a_folder_with_a_space(read):
    records, _ = read("ddr.segmentation", split="val")
    assert "segmentation label" in records["val_007-valid-100"].masks["MA"][0]
    assert set(records["val_007-valid-100"].masks) == {"MA", "EX"}


def test_a_line_that_is_no_grade_is_contradictory(fake_of):
    base = fake_of("ddr").base
    (base / "DR_grading" / "train.txt").write_text("007-2846-100.jpg 0\n007-2847-100.jpg six\n")
    reading = ddr(base, split="train")
    assert len(reading) == 1
    assert reading.contradictory[0][0] == "train.txt:2"
    assert "'six'" in reading.contradictory[0][1]


def test_one_picture_with_two_grades_is_kept_with_neither(fake_of):
    base = fake_of("ddr").base
    (base / "DR_grading" / "train.txt").write_text("007-2846-100.jpg 0\n007-2847-100.jpg 1\n007-2846-100.jpg 3\n")
    reading = ddr(base, split="train")
    assert [r.study_id for r in reading] == ["train_007-2847-100"]
    assert "train.txt:1" in reading.contradictory[0][1]
    assert reading.contradictory[0][0] == "train.txt:3"
