"""EyePACS: patient and eye stand in the name; a table in a folder of its own name."""

from fundusion.core.vocabulary import Laterality


def test_patient_and_eye_come_from_the_name(read):
    records, _ = read("eyepacs")
    left, right, test = records["10_left"], records["10_right"], records["13_left"]
    assert (left.patient_id, left.laterality) == ("10", Laterality.LEFT)
    assert (right.patient_id, right.laterality, right.labels["dr_grade"]) == ("10", Laterality.RIGHT, 3.0)
    assert (test.split, test.labels["dr_grade"]) == ("test", 4.0)
    # No retinopathy is not yet a normal eye.
    assert left.labels["disease"] == {"D": 0.0}


def test_resized_copies_of_mirrors_are_read(tmp_path, trees):
    from fundusion.datasets.eyepacs import eyepacs

    trees.picture(tmp_path / "resized_train" / "resized_train" / "10_left.jpg")
    trees.table(tmp_path / "trainLabels_cropped.csv", [["", "image", "level"], [0, "10_left", 1]])
    assert [(r.study_id, r.labels["dr_grade"]) for r in eyepacs(tmp_path)] == [("10_left", 1.0)]


def test_pictures_without_their_table_are_said(fake_of):
    from fundusion.datasets.eyepacs import eyepacs

    base = fake_of("eyepacs").base
    (base / "retinopathy_solution.csv").unlink()
    reading = eyepacs(base)
    assert {r.split for r in reading} == {"train"}
    assert any("test pictures have no table" in note for note in reading.notes)
