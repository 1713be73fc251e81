"""Harvard FairVision: volumes inside archives, words of the table, words inside the archive."""

from fundusion.datasets.fairvision import fairvision


def test_volumes_are_named_inside_their_archive(read):
    records, _ = read("fairvision")
    record = records["amd_train_00001"]
    assert record.images["oct"][0].endswith("data_00001.npz#oct_bscans")
    assert record.images["slo"][0].endswith("slo_fundus_00001.jpg")
    assert record.metadata == {
        "age": 61.5, "sex": "male", "race": "asian", "ethnicity": None, "language": None, "maritalstatus": "married",
    }  # fmt: skip
    assert record.patient_id is None


def test_labels_of_the_three_diseases(read):
    records, _ = read("fairvision")
    assert records["amd_test_07001"].labels == {"amd_stage": "early"}
    assert records["dr_val_06001"].labels == {"vision_threatening_dr": 1.0}
    assert records["glaucoma_train_00001"].labels == {"glaucoma": 1.0}


def test_without_a_table_the_archive_tells(fake_of):
    base = fake_of("fairvision").base
    for table in base.glob("*.csv"):
        table.unlink()
    labels = {r.study_id: dict(r.labels) for r in fairvision(base)}
    assert labels["amd_train_00001"] == {"amd_stage": "early"}
    assert labels["dr_train_00001"] == {"vision_threatening_dr": 1.0}
    assert labels["glaucoma_train_00001"] == {"glaucoma": 1.0}


def test_a_picture_without_its_volume_is_missing_one(fake_of):
    base = fake_of("fairvision").base
    (base / "DR" / "Test" / "data_07001.npz").unlink()
    reading = fairvision(base)
    assert "DR/Test/data_07001.npz" in reading.missing
