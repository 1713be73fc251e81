"""UK Biobank: the field number is the eye, the instance the visit."""

from fundusion.datasets.uk_biobank import uk_biobank


def test_eye_visit_and_participant_come_from_the_name(read):
    records, _ = read("uk_biobank")
    left, right, later = (records[n] for n in ("1000012_0_OS", "1000012_0_OD", "1100045_1_OD"))
    assert (left.laterality.value, left.visit, left.patient_id) == ("OS", "instance 0", "1000012")
    assert right.metadata == {"age": 58.0, "sex": "female"}
    assert later.visit == "instance 1"
    # The participant has no row: nothing is known, and that is said.
    assert dict(later.metadata) == {}


def test_pictures_without_a_row_are_counted(read):
    _, reading = read("uk_biobank")
    assert "1 eyes have no row in the table of fields" in reading.notes
    assert reading.missing == ()


def test_flat_folders_and_volumes(tmp_path, trees):
    trees.picture(tmp_path / "1000012_21015_0_0.png")
    (tmp_path / "1000012_21011_0_0.fda").write_bytes(b"FOCT")
    (record,) = uk_biobank(tmp_path)
    assert set(record.images) == {"cfp", "oct"}
