"""AIROGS: RG and NRG."""

from fundusion.datasets.airogs import airogs


def test_letters_become_a_label(read):
    records, _ = read("airogs")
    assert {n: r.labels["glaucoma"] for n, r in records.items()} == {"TRAIN000000": 0.0, "TRAIN000001": 1.0}
    assert all(r.split == "train" for r in records.values())


def test_another_letter_is_said(fake_of, trees):
    base = fake_of("airogs").base
    trees.table(base / "train_labels.csv", [["challenge_id", "class"], ["TRAIN000000", "G"], ["TRAIN000001", "RG"]])
    reading = airogs(base)
    assert dict(reading[0].labels) == {}
    assert reading.contradictory == (("train_labels.csv:2", "class is 'G'; known are nrg, rg"),)
