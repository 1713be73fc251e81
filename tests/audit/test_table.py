"""What `check` finds in a table of studies."""

from fundusion.audit.table import check_records
from fundusion.core.study import StudyRecord
from fundusion.core.vocabulary import Laterality


def record(study_id, patient, path, **more):
    return StudyRecord(study_id=study_id, patient_id=patient, images={"cfp": (str(path),)}, **more)


def test_files_are_compared_by_content(tmp_path):
    for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2"), ("empty", b"")):
        (tmp_path / name).write_bytes(content)
    audit = check_records(
        [
            record("1", "p", tmp_path / "a", split="train"),
            record("2", "q", tmp_path / "b", split="test"),
            record("3", "r", tmp_path / "c", split="train"),
            record("4", "r", tmp_path / "empty"),
            record("5", "s", tmp_path / "gone"),
        ]
    )
    assert (audit.studies, audit.patients, audit.files) == (5, 4, 5)
    assert audit.repeated == audit.content_leaks == (("1", "2"),)
    assert [s for s, _ in audit.empty] == ["4"]
    assert [s for s, _ in audit.missing] == ["5"]
    assert len(audit.problems()) == 3


def test_patients_eyes_and_labels(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    same = {"laterality": Laterality.RIGHT, "visit": "1"}
    audit = check_records(
        [
            record("1", "p", tmp_path / "a", split="train", labels={"disease": "N|D"}, **same),
            record("2", "p", tmp_path / "a", split="val", labels={"disease": {"N": 1.0, "D": 0.0}}, **same),
            record("3", "q", tmp_path / "a", split="train", labels={"dr_grade": 2.0, "disease": "none"}),
            record("4", "q", tmp_path / "a", split="train", labels={"dr_grade": 9}),
        ]
    )
    assert audit.leaks == {"p": ("train", "val")}
    assert audit.twins == {"patient p, visit 1, OD": ("1", "2")}
    assert audit.labels["disease"] == {"(not annotated)": 1, "D": 1, "N": 2, "none": 1}
    assert audit.labels["dr_grade"] == {"(not annotated)": 2, "2": 1, "9": 1}
    assert [(s, t) for s, t, _ in audit.strange] == [("4", "dr_grade")]


def test_nothing_wrong_is_nothing_to_say(tmp_path):
    records = []
    for i in range(12):
        (tmp_path / str(i)).write_bytes(bytes([i]))
        records.append(record(str(i), f"p{i}", tmp_path / str(i), labels={"grade": i % 2}, metadata={"age": i}))
    seen = []
    audit = check_records(records, progress=lambda done, total: seen.append((done, total)))
    assert audit.problems() == []
    assert seen[-1] == (12, 12)
    assert dict(audit.modalities) == {"cfp": 12, "table": 12}
    assert audit.to_dict()["labels"] == {"grade": {"0": 6, "1": 6}}


def test_studies_that_name_no_patient_are_no_patients():
    records = [StudyRecord(study_id="a", patient_id="7"), StudyRecord(study_id="b"), StudyRecord(study_id="c")]
    audit = check_records(records, contents={})
    assert (audit.studies, audit.patients, audit.unnamed) == (3, 1, 2)
