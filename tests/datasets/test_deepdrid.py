"""DeepDRiD: back-slashes, grade 5, a picture of one eye with the grade of the other, two tables for one part."""

from fundusion.core.vocabulary import Laterality


def test_grade_five_is_ungradable_and_no_grade(read):
    records, _ = read("deepdrid")
    labels = records["train_1_r1"].labels
    assert labels["gradable"] == "ungradable"
    assert "dr_grade" not in labels
    assert (labels["clarity"], labels["artifact"], labels["field_definition"]) == (4.0, 8.0, 6.0)


def test_an_eye_that_contradicts_its_grade_is_not_stated(read):
    records, reading = read("deepdrid")
    odd = records["train_56_r1"]
    assert odd.laterality is None
    assert odd.labels["dr_grade"] == 2.0
    assert [w for w, _ in reading.contradictory] == ["regular-fundus-training.csv:4"]
    assert records["train_1_l1"].laterality is Laterality.LEFT


def test_two_tables_of_the_test_part_are_one_record(read):
    records, _ = read("deepdrid", split="test")
    labels = records["test_400_r1"].labels
    assert (labels["dr_grade"], labels["gradable"], labels["clarity"]) == (1.0, "gradable", 10.0)
    assert records["test_400_r1"].patient_id == "400"


def test_wide_pictures_are_another_modality(read):
    records, _ = read("deepdrid.uwf")
    assert set(records["train_1_l1"].images) == {"uwf"}
    assert dict(records["train_2_l1"].labels) == {"gradable": "ungradable"}


def test_a_copy_of_a_table_that_differs_is_contradictory(fake_of, trees):
    from fundusion.datasets.deepdrid import deepdrid

    base = fake_of("deepdrid").base / "regular_fundus_images" / "Online-Challenge1&2-Evaluation"
    trees.table(base / "Challenge1_upload.csv", [["image_id", "DR_Levels"], ["400_r1", 0]])
    assert deepdrid(base.parent, split="test")[0].labels["dr_grade"] == 1.0
    trees.table(base / "Challenge1_labels_old.csv", [["image_id", "DR_Levels"], ["400_r1", 3]])
    reading = deepdrid(base.parent, split="test")
    assert "dr_grade" not in reading[0].labels
    assert reading[0].labels["gradable"] == "gradable"
    assert any("dr_grade of 400_r1 differs" in what for _, what in reading.contradictory)
