"""CHASE_DB1: the two eyes of a child stay together."""

from fundusion.datasets.chase_db1 import chase_db1


def test_the_eyes_of_a_child_are_one_patient(read):
    records, _ = read("chase_db1")
    left, right = records["Image_01L"], records["Image_01R"]
    assert left.patient_id == right.patient_id == "01"
    assert (left.laterality.value, right.laterality.value) == ("OS", "OD")
    assert left.masks["vessels"][0].endswith("Image_01L_1stHO.png")
    assert left.masks["vessels_2nd"][0].endswith("Image_01L_2ndHO.png")


def test_truth_is_no_photograph(fake_of):
    reading = chase_db1(fake_of("chase_db1").base)
    assert not [p for r in reading for p in r.images["cfp"] if "HO" in p]


def test_real(real):
    reading = real("chase_db1", "chase_db1")
    assert (len(reading), len({r.patient_id for r in reading})) == (20, 10)
    assert reading.counts()["mask"] == {"fov": 20, "vessels": 20, "vessels_2nd": 20}
    assert reading.missing == reading.unlisted == ()
