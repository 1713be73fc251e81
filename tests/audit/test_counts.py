"""Class and missingness tables by split."""

from fundusion.audit.counts import NO_SPLIT, class_tables, missing_table
from fundusion.core.study import StudyRecord


def test_classes_and_gaps_add_up_to_the_studies_of_each_split():
    records = [
        StudyRecord(study_id="1", split="train", labels={"g": "10"}, metadata={"age": 0.0}),
        StudyRecord(study_id="2", split="train", labels={"g": 2.0}, metadata={"age": None}),
        StudyRecord(study_id="3", split="test", images={"cfp": ("/a",)}, patient_id="p"),
        StudyRecord(study_id="4", labels={"g": "2"}, report=" "),
    ]
    (table,) = class_tables(records)
    assert table.columns == (("train", 2), ("test", 1), (NO_SPLIT, 1))
    assert table.rows == (("2", (1, 0, 1)), ("10", (1, 0, 0)), ("(not annotated)", (0, 1, 0)))
    gaps = dict(missing_table(records).rows)
    # An age of zero is a value; a blank report is none.
    assert gaps["meta.age"] == (1, 1, 1)
    assert gaps["cfp"] == (2, 0, 1)
    assert gaps["patient_id"] == (2, 0, 1)
    assert gaps["text"] == (2, 1, 1)


def test_numbers_make_no_class_table():
    records = [StudyRecord(study_id=str(i), labels={"iop": float(i)}) for i in range(60)]
    assert class_tables(records) == []
