"""Harvard-GF: -1 is missing, a mean deviation may be negative."""

import numpy as np

from fundusion.datasets.harvard_gf import harvard_gf


def test_minus_one_is_missing(read):
    records, _ = read("harvard_gf")
    known, unknown = records["train_0001"], records["test_2401"]
    assert known.metadata == {
        "age": 61.0,
        "sex": "male",
        "race": "2",
        "language": "0",
        "maritalstatus": None,
        "ethnicity": "0",
    }
    assert unknown.metadata["age"] is None
    assert unknown.labels == {"glaucoma": 1.0, "mean_deviation_db": -3.5}


def test_the_volume_is_named_inside_its_archive(read):
    records, _ = read("harvard_gf")
    assert records["val_2101"].images["oct"][0].endswith("data_2101.npz#oct_bscans")


def test_an_archive_without_a_volume_is_contradictory(fake_of):
    base = fake_of("harvard_gf").base
    np.savez(base / "Training" / "data_0002.npz", rnflt=np.zeros(3))
    reading = harvard_gf(base)
    assert any("data_0002" in where for where, _ in reading.contradictory)
    assert "data_0002.npz" in reading.unlisted


def test_one_flat_folder(tmp_path):
    np.savez(tmp_path / "data_1.npz", rnflt=0, oct_bscans=np.zeros((2, 8, 8), np.uint8), glaucoma=0)
    (record,) = harvard_gf(tmp_path)
    assert (record.study_id, record.split, record.labels) == ("1", None, {"glaucoma": 0.0})
