"""A proposal can be read back; it decides what is certain, asks for the rest, and reads the table once that is answered."""

import re
import tomllib

import pytest

from fundusion.core.errors import FundusionError
from fundusion.readers.manifest import read_manifest, read_schema
from fundusion.readers.manifest.propose import _slug, propose_schema

CLINIC = """患者编号;眼别;出生日期;检查日期;年龄;性别;糖化血红蛋白(%);眼压;视力;血压;诊断;照片
00123;右;25/12/1950;03/04/2020;69;男;7,2;14;0,5;130/80;2;a.jpg
0123;左;01/02/1960;13/04/2020;60;女;8,1;21;0,8;142/91;0;b.jpg
00124;右;11/10/1955;03/04/2020;64;男;<4,0;18;CF;120/70;1;c.jpg
00125;左;07/08/1949;03/05/2020;70;女;未知;17;1,0;118/76;0;d.jpg
"""


def table(tmp_path, text, name="t.csv", encoding="utf-8"):
    (tmp_path / name).write_bytes(text.encode(encoding))
    return tmp_path / name


def columns_of(proposal):
    return tomllib.loads(proposal.text)["columns"]


def choose(text, column, line):
    """Take the comment sign off a choice, as a person does."""
    head, found, rest = text.partition(f'[columns."{column}"]\n')
    assert found
    section, border, tail = rest.partition("\n[columns")
    changed = re.sub(rf"^# ({re.escape(line)})", r"\1", section, count=1, flags=re.MULTILINE)
    assert changed != section, section
    return head + found + changed + border + tail


def test_a_clinic_table_from_proposal_to_records(tmp_path):
    path = table(tmp_path, CLINIC, encoding="gb18030")
    proposal = propose_schema(path)
    found = columns_of(proposal)
    assert tomllib.loads(proposal.text)["table"] == {"encoding": "gb18030", "delimiter": ";"}
    assert found["患者编号"] == {"to": "patient_id", "type": "identifier"}
    assert found["眼别"]["map"] == {"右": "OD", "左": "OS"}
    assert (found["出生日期"]["to"], found["出生日期"]["format"]) == ("meta.birth_date", "%d/%m/%Y")
    assert found["糖化血红蛋白(%)"]["unit"] == "%"
    assert found["糖化血红蛋白(%)"]["decimal"] == ","
    assert found["血压"]["to"] == ["meta.sbp", "meta.dbp"]
    assert {c for c, _ in proposal.refused} == {"视力", "血压", "诊断", "照片"}
    (tmp_path / "s.toml").write_text(proposal.text, "utf-8")
    with pytest.raises(FundusionError) as error:
        read_manifest(path, schema=tmp_path / "s.toml")
    assert error.value.code == "schema.undecided"
    assert all(c in error.value.message for c in ("视力: unit", "血压: unit", "诊断: to", "照片: to"))

    text = proposal.text
    for column, line in (
        ("视力", 'unit = "decimal"'),
        ("血压", 'unit = "mmHg"'),
        ("诊断", 'to = "label.'),
        ("照片", 'to = "cfp"'),
    ):
        text = choose(text, column, line)
    (tmp_path / "s.toml").write_text(text, "utf-8")
    manifest = read_manifest(path, schema=tmp_path / "s.toml")
    first = manifest[0]
    assert (first.study_id, first.patient_id, first.laterality) == ("00123_OD", "00123", "OD")
    assert first.metadata == {
        "birth_date": "1950-12-25", "exam_date": "2020-04-03", "age": 69.0, "sex": "male", "hba1c": 7.2, "iop": 14.0,
        "va": pytest.approx(0.30103, abs=1e-5), "sbp": 130.0, "dbp": 80.0,
    }  # fmt: skip
    assert any(n.startswith("meta.va: 0,5 decimal -> 0.30103 logMAR") for n in first.notes)
    assert first.labels == {"诊断": "2"}
    assert manifest[2].metadata["hba1c"] == "<4.0"
    assert manifest[2].metadata["va"] == "counting fingers"
    assert manifest[3].metadata["hba1c"] is None
    assert {r.patient_id for r in manifest} == {"00123", "0123", "00124", "00125"}


def test_every_proposal_is_toml_that_decides_or_asks(tmp_path):
    nasty = 'a "quoted" name,back\\slash,日期,[x],empty\n1,2,2020-01-02,x,\n2,3,2020-01-03,y,\n'
    proposal = propose_schema(table(tmp_path, nasty))
    found = columns_of(proposal)
    assert list(found) == ['a "quoted" name', "back\\slash", "日期", "[x]", "empty"]
    assert found["empty"] == {"drop": True}
    for column in proposal.columns:
        assert bool(found[column.source].get("undecided")) == bool(column.open_keys)


@pytest.mark.parametrize(
    ("header", "cells", "key"),
    [
        ("sex", ["0", "1"], "map"),
        ("sex", ["M", "F", "x"], "map"),
        ("eye", ["1", "2"], "map"),
        ("eye", ["OD", "OS", "NA"], "missing"),
        ("ID", ["1", "2"], "to"),
        ("patient_id", ["7", "7 "], "strip"),
        ("diagnosis", ["0", "1", "2"], "to"),
        ("image", ["a.jpg", "b.jpg"], "to"),
        ("IOP left", ["12", "14"], "to"),
        ("keywords", [f"w {i}" for i in range(99)], "to"),
        ("label.dr_grade", ["2", "2.0"], "map"),
        ("label.x", ["0", "1", "-1"], "missing"),
        ("出生日期", ["18326", "20000"], "format"),
    ],
)
def test_questions(tmp_path, header, cells, key):
    path = table(tmp_path, "\n".join([f"{header},other", *(f"{c},x" for c in cells)]) + "\n")
    column = propose_schema(path).columns[0]
    assert key in column.open_keys, column
    assert column.reasons


def test_two_columns_for_one_target_are_asked_for(tmp_path):
    proposal = propose_schema(table(tmp_path, "HbA1c,糖化血红蛋白\n7.1,7.2\n6.5,6.6\n"))
    assert [c.open_keys for c in proposal.columns] == [("to",), ("to",)]
    assert columns_of(proposal)["HbA1c"]["unit"] == "%"
    assert columns_of(proposal)["HbA1c"]["quantity"] == "hba1c"


def test_a_table_of_patients_is_not_taken_for_one_of_eyes(tmp_path):
    words = "No column names an eye"
    assert words in propose_schema(table(tmp_path, "patient_id,age\n1,60\n")).text
    assert words not in propose_schema(table(tmp_path, "patient_id,eye\n1,OD\n")).text


def test_damaged_rows_are_said(tmp_path):
    proposal = propose_schema(table(tmp_path, "a,b\n1\n2,3\n"))
    assert proposal.rows == 1
    assert "line 2" in proposal.damaged[0]
    assert "1 rows are damaged" in proposal.text


def test_the_eight_letters_are_the_labels_of_odir(tmp_path):
    letters = "N,D,G,C,A,H,M,O"
    proposal = propose_schema(table(tmp_path, f"{letters}\n1,0,0,0,0,0,0,0\n0,1,0,0,0,0,0,1\n"))
    assert columns_of(proposal)["D"]["to"] == "label.disease.D"
    assert not proposal.refused
    assert columns_of(propose_schema(table(tmp_path, f"{letters}\n2,0,0,0,0,0,0,0\n")))["N"].get("to") is None


def test_json_lines_that_name_columns_late(tmp_path):
    proposal = propose_schema(
        table(tmp_path, '{"patient_id": "1"}\n{"patient_id": "2", "meta": {"age": 60}}\n', "t.jsonl")
    )
    assert columns_of(proposal)["meta.age"]["to"] == "meta.age"


def test_real_clinical_table(data_root):
    proposal = propose_schema(data_root / "papila_clinical" / "clinical.csv")
    found = columns_of(proposal)
    assert proposal.rows == 326
    assert found["pachymetry"]["unit"] == "um"
    assert (found["perkins_iop"]["quantity"], found["mean_defect"]["to"]) == ("iop", "meta.vf_md")
    assert {c for c, _ in proposal.refused} >= {"gender", "diagnosis"}
    # Placeholders such as 77 stand in the file; they are shown, not averaged.
    assert "outside and rejected, unless the range is wrong: 1, 3, 4, 5, 6, 77" in proposal.text
    assert read_schema({"columns": {c: v if not v.get("undecided") else {"drop": True} for c, v in found.items()}})


def test_labels_of_another_scale_are_said(tmp_path):
    text = propose_schema(table(tmp_path, "study_id,label.dr_grade\n1,2\n2,5\n3,7.0\n")).text
    assert "outside the set and rejected: '5', '7'" in text
    assert tomllib.loads(text)["columns"]["label.dr_grade"]["levels"] == ["0", "1", "2", "3", "4"]


def test_slugs():
    assert (_slug("HbA1c (%)"), _slug("眼压"), _slug("--")) == ("hba1c", "眼压", "column")
