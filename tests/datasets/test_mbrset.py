"""mBRSET: blank grades, a file that is listed and missing."""

from fundusion.datasets.mbrset import mbrset


def test_a_blank_grade_is_no_grade(read):
    records, _ = read("mbrset")
    assert records["1.1"].labels["dr_grade"] == 2.0
    assert dict(records["1.2"].labels) == {"gradable": "ungradable", "artifact": 0.0}
    assert records["1.1"].patient_id == "1"
    assert (records["1.1"].laterality.value, records["1.2"].laterality.value) == ("OD", "OS")


def test_the_known_missing_file_is_reported(fake_of, trees):
    base = fake_of("mbrset").base
    head = ["patient", "age", "sex", "file", "laterality", "final_quality", "final_icdr", "final_edema"]
    trees.table(
        base / "labels_mbrset.csv",
        [head, [1, 66, 0, "1.1.jpg", "right", "yes", 0, "no"], [985, 50, 1, "985.1.jpg", "left", "yes", 1, "no"]],
    )
    reading = mbrset(base)
    assert reading.missing == ("images/985.1.jpg",)
    assert reading.unlisted == ("images/1.2.jpg",)
    assert len(reading) == 1


def test_a_file_of_another_patient_is_contradictory(fake_of, trees):
    base = fake_of("mbrset").base
    trees.table(base / "labels_mbrset.csv", [["patient", "file", "final_icdr"], [2, "1.1.jpg", 0], [1, "1.2.jpg", 0]])
    reading = mbrset(base)
    assert [r.study_id for r in reading] == ["1.2"]
    assert "patient 2" in reading.contradictory[0][1]
