"""Tables of measured eyes: nothing is lost, a cell without a value is empty, and what is written as a cohort is read as one."""

import csv

import polars
import pytest

from fundusion.batch.measurement_tables import eyes_of_result, measurement_row, write_measurement_tables
from fundusion.core.results import Measurement
from fundusion.readers.cohort import read_cohort


def eye(name, patient="p", side="OD", age=50.0, value=0.4, **facts):
    rows = [
        Measurement(name="vcdr", value=value, unit="1", region="disc"),
        Measurement(name="width_vessels", value=80.123456789, unit="um", region="field", flags=("scale.estimated",)),
        Measurement(name="disc_area", value=None, unit="um^2", region="disc", failure="scale.circular"),
    ]
    return {
        "name": name, "image": "cfp.0", "patient_id": patient, "laterality": side, "age": age, "sex": "male", "status": "ok", "code": "ok",
        "message": "", "hint": "", "measured_with": "tool", "scale": {"um_per_px": 9.5, "estimated": True},
        "measurements": [measurement_row(m) for m in rows], **facts,
    }  # fmt: skip


def rejected(name):
    return {
        "name": name,
        "status": "rejected",
        "code": "mask.empty",
        "message": "The mask is empty.",
        "hint": "Look.",
        "measurements": [],
    }


def read(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_row_for_each_measurement_eye_and_patient(tmp_path):
    rows = [
        eye("a"),
        eye("b", side="OS", value=0.6),
        eye("c", value=0.5),
        rejected("d"),
        eye("e", patient=None),
        eye("f", age=None),
    ]
    write_measurement_tables(tmp_path, lambda: iter(rows))
    long = read(tmp_path / "measurements.csv")
    assert len(long) == 5 * 3 + 1
    failed = [r for r in long if r["failure"]]
    assert {r["value"] for r in failed} == {""}
    assert "scale was taken from the disc" in failed[0]["reason"]
    assert [r["reason"] for r in long if r["status"] == "rejected"] == ["The mask is empty. Look."]
    eyes = read(tmp_path / "eyes.csv")
    assert [r["name"] for r in eyes] == list("abcdef")
    assert (eyes[0]["vcdr"], eyes[0]["width_vessels (um)"], eyes[0]["scale_estimated"]) == ("0.4", "80.1235", "yes")
    assert eyes[3]["vcdr"] == ""
    # A measurement that failed in every eye has no column.
    assert not [c for c in eyes[0] if c.startswith("disc_area")]
    patients = read(tmp_path / "patients.csv")
    by_id = {r["patient_id"]: r for r in patients}
    assert set(by_id) == {"p"}
    assert (by_id["p"]["vcdr OD"], by_id["p"]["vcdr OS"]) == ("0.433333", "0.6")
    assert (by_id["p"]["eyes"], by_id["p"]["photographs"]) == ("OD|OS", "4")


def test_the_cohort_that_is_written_is_read(tmp_path):
    rows = [
        eye("a"),
        eye("b", patient="=x"),
        eye("c", age=None),
        eye("d", patient=None),
        rejected("e"),
        eye("f", measurements=[]),
    ]
    write_measurement_tables(tmp_path, lambda: iter(rows))
    cohort = read_cohort(tmp_path / "cohort.csv")
    assert [e.patient_id for e in cohort.eyes] == ["p", "=x"]
    assert cohort.eyes[0].values == {"vcdr": 0.4, "width_vessels (um)": 80.1235}
    assert (cohort.eyes[0].measured_with, cohort.eyes[0].scale_estimated, cohort.eyes[0].sex) == ("tool", True, "male")
    assert cohort.left_out == {}


def test_a_run_without_eyes_writes_tables_without_rows(tmp_path):
    write_measurement_tables(tmp_path, lambda: iter(()))
    for name in ("measurements", "eyes", "cohort", "patients"):
        assert read(tmp_path / f"{name}.csv") == []


@pytest.mark.parametrize("kind", ["parquet", "json"])
def test_other_forms_hold_the_same(tmp_path, kind):
    write_measurement_tables(tmp_path, lambda: iter([eye("a"), rejected("b")]), table=kind)
    path = tmp_path / f"eyes.{kind}"
    frame = polars.read_parquet(path) if kind == "parquet" else polars.read_json(path)
    assert frame["vcdr"].to_list() == [0.4, None]
    assert (tmp_path / "cohort.csv").is_file()


def line(**changes):
    row = {
        "study_id": "s", "patient_id": "p", "laterality": "OD", "status": "ok", "code": "ok", "message": "", "hint": "", "notes": [],
        "measurements": [{**measurement_row(Measurement(name="vcdr", value=0.4, unit="1", region="disc")), "image": "cfp.0"}],
        "provenance": {"measuring": {"photographs": {"cfp.0": {"um_per_px": 9.0, "scale": "stated"}}}},
    }  # fmt: skip
    return row | changes


def test_each_photograph_of_a_study_is_one_row_and_each_refusal_too():
    rows = list(
        eyes_of_result(line(notes=["cfp.1.not_measured.quality.ungradable", "cfp.1.not_used"]), {"age": 60}, "tool")
    )
    assert [(r["image"], r["status"], r["code"]) for r in rows] == [
        ("cfp.0", "ok", "ok"), ("cfp.1", "rejected", "quality.ungradable")
    ]  # fmt: skip
    assert rows[0]["scale"] == {"um_per_px": 9.0, "estimated": False}
    assert rows[0]["age"] == 60
    assert "ungradable" in rows[1]["message"]
    refused = list(eyes_of_result(line(status="rejected", code="quality.dark", message="Dark."), {}, "tool"))
    assert [(r["status"], r["code"], r["message"]) for r in refused] == [("rejected", "quality.dark", "Dark.")]
    none = list(eyes_of_result(line(provenance={}, measurements=[]), {}, "tool"))
    assert [r["code"] for r in none] == ["study.no_photograph"]
