"""A cohort is read as it is: bad rows are counted, bad tables refused with what is needed."""

import pytest

from fundusion.core.errors import InvalidInput, ReadError
from fundusion.readers.cohort import read_cohort


def write(folder, text, name="cohort.csv"):
    path = folder / name
    path.write_bytes(text.encode("utf-8") if isinstance(text, str) else text)
    return path


def test_rows_are_read_and_those_that_cannot_stand_for_others_counted(tmp_path):
    text = (
        "patient_id,laterality,age,sex,status,measured_with,scale_estimated,vcdr,width_vessels (um)\n"
        "007,OD,61,F,ok,tool,yes,0.4,80\n"
        "7,OS,62.5,male,ok,,no,0.5,\n"
        "8,OD,,male,ok,,,0.5,\n"
        ",OD,50,male,ok,,,0.5,\n"
        "9,OD,50,male,rejected,,,0.5,\n"
        "10,??,50,,ok,,,,\n"
        "'=1,OD,30,other,ok,,,0.2,\n"
    )
    cohort = read_cohort(write(tmp_path, text))
    assert [e.patient_id for e in cohort.eyes] == ["007", "7", "=1"]
    first, second, third = cohort.eyes
    assert dict(first.values) == {"vcdr": 0.4, "width_vessels (um)": 80.0}
    assert (first.sex, first.measured_with, first.scale_estimated) == ("female", "tool", True)
    assert (second.age, second.scale_estimated, second.measured_with) == (62.5, False, None)
    assert dict(second.values) == {"vcdr": 0.5}
    assert third.sex is None
    assert cohort.left_out == {"a rejected eye": 1, "no age": 1, "no number": 1, "no patient_id": 1}


@pytest.mark.parametrize("separator", [";", "\t"])
def test_other_separators(tmp_path, separator):
    text = "patient_id,age,vcdr\na,40,0.3\n".replace(",", separator)
    assert read_cohort(write(tmp_path, "\ufeff" + text)).eyes[0].values == {"vcdr": 0.3}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("age,vcdr\n40,0.3\n", "cohort.columns"),
        ("patient_id,vcdr\na,0.3\n", "cohort.columns"),
        ("patient_id,age\na,40\n", "cohort.columns"),
        ("patient_id,age,vcdr,vcdr\na,40,0.3,0.4\n", "cohort.columns"),
        ("", "cohort.columns"),
        ("patient_id,age,vcdr\n", "cohort.empty"),
        ("patient_id,age,vcdr\na,,0.3\nb,,0.4\n", "cohort.age"),
        ("patient_id,age,vcdr\na,40,wide\n", "cohort.number"),
        ("patient_id,age,vcdr\na,40,nan\n", "cohort.number"),
        ("patient_id,age,vcdr\na,forty,0.3\n", "cohort.number"),
        ("patient_id,age,vcdr\na,400,0.3\n", "cohort.age"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, text, code):
    with pytest.raises(InvalidInput) as caught:
        read_cohort(write(tmp_path, text))
    assert caught.value.code == code
    assert caught.value.hint


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(ReadError) as caught:
        read_cohort(tmp_path / "absent.csv")
    assert caught.value.code == "input.missing"
    assert str(tmp_path) not in str(caught.value)
    with pytest.raises(ReadError) as caught:
        read_cohort(write(tmp_path, b"patient_id,age,vcdr\n\xff\xfe,1,2\n"))
    assert caught.value.code == "cohort.encoding"
