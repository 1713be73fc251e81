"""OLIVES: paths with a leading slash, weeks and visits, biomarkers of few visits, blank acuity."""

from pathlib import Path

from fundusion.core.registry import datasets


def test_a_record_is_an_eye_at_a_visit(read):
    records, _ = read("olives")
    first = records["TREX DME_GILA_0201GOD_V1_OD"]
    assert (first.patient_id, first.laterality.value, first.visit) == ("201", "OD", "V1")
    assert [Path(p).name for p in first.images["oct"]] == ["TREXJ_000000.tif", "TREXJ_000001.tif"]
    assert first.metadata == {"bcva_letters": 70.0, "cst_um": 310.0}
    week = records["Prime_FULL_01-001_W0_OS"]
    assert [Path(p).name for p in week.images["slo"]] == ["fundus_W0_OS.png"]
    assert len(week.images["oct"]) == 2
    assert week.metadata == {"bcva_letters": None, "cst_um": None}


def test_biomarkers_are_any_of_the_graded_scans_and_absent_elsewhere(read):
    records, _ = read("olives")
    flags = records["TREX DME_GILA_0201GOD_V1_OD"].labels["olives"]
    assert (flags["irf"], flags["srf"]) == (1.0, 0.0)
    assert "olives" not in records["TREX DME_GILA_0201GOD_V2_OD"].labels


def test_a_record_per_graded_scan(fake_of):
    reading = datasets.create("olives", root=fake_of("olives").base, per_scan=True)
    assert [r.labels["olives"]["irf"] for r in reading] == [0.0, 1.0]
    assert all(len(r.images["oct"]) == 1 for r in reading)
    assert len({r.patient_id for r in reading}) == 1
