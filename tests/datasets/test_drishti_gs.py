"""Drishti-GS1: soft maps, cup-to-disc ratios of four experts, a table with title lines."""

import pytest

from fundusion.datasets.drishti_gs import drishti_gs


def test_soft_maps_ratios_and_verdict_meet(read):
    records, _ = read("drishti_gs")
    record = records["drishtiGS_002"]
    assert record.masks["disc"][0].endswith("drishtiGS_002_ODsegSoftmap.png")
    assert record.masks["cup"][0].endswith("drishtiGS_002_cupsegSoftmap.png")
    assert record.labels["vcdr"] == pytest.approx(0.7675)
    assert record.labels["vcdr_expert2"] == 0.77
    # One expert said normal; the last column is the verdict of all.
    assert record.labels["glaucoma"] == 1.0
    assert records["drishtiGS_004"].labels["glaucoma"] == 0.0
    assert records["drishtiGS_001"].split == "test"


def test_a_copy_without_truth_of_the_test_part(fake_of):
    import shutil

    base = fake_of("drishti_gs").base
    shutil.rmtree(next(base.rglob("Test_GT")))
    reading = drishti_gs(base, split="test")
    assert dict(reading[0].masks) == {}
    assert "the test part has no drawn discs" in reading.notes
    assert reading.missing == ()


def test_real(real):
    reading = real("drishti_gs", "drishti_gs")
    assert reading.counts()["label glaucoma"] == {"0": 22, "1": 49}
    assert reading.counts()["mask"] == {"cup": 71, "disc": 71}
    assert reading.missing == reading.unlisted == ()
    assert all(0 < r.labels["vcdr"] < 1 for r in reading)
