"""Tables: identifiers byte for byte, nothing guessed, no path outside the folder."""

import json
import os

import polars
import pytest

from fundusion.core.errors import FundusionError, InvalidInput
from fundusion.core.vocabulary import Laterality
from fundusion.readers.manifest import decode_text, read_manifest

CSV = "study_id,patient_id,laterality,cfp,report,meta.hba1c,meta.sex,label.dr_grade,split\n"


def table(tmp_path, text, name="t.csv", encoding="utf-8"):
    (tmp_path / name).write_bytes(text.encode(encoding))
    return tmp_path / name


def code_of(path, **options):
    with pytest.raises(FundusionError) as caught:
        read_manifest(path, **options)
    return caught.value.code


def test_a_row_becomes_a_record(tmp_path):
    row = '007,0123,OD,a.jpg|b.jpg,"no DR, dry macula",7.5,female,2,train\n'
    record = read_manifest(table(tmp_path, CSV + row))[0]
    assert (record.study_id, record.patient_id, record.laterality) == ("007", "0123", Laterality.RIGHT)
    assert record.images == {"cfp": (str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg"))}
    assert record.report == "no DR, dry macula"
    assert record.metadata == {"hba1c": 7.5, "sex": "female"}
    assert record.labels == {"dr_grade": "2"}
    assert record.split == "train"
    assert record.origin == "t.csv:2"


def test_formats_give_the_same_records(tmp_path):
    rows = [
        {
            "study_id": "001",
            "patient_id": "p",
            "laterality": "OS",
            "cfp": "a.png",
            "meta.age": "61",
            "label.disease": "D|G",
        },
        {
            "study_id": "18446744073709551617",
            "patient_id": "NA",
            "laterality": "",
            "cfp": "b.png",
            "meta.age": "",
            "label.disease": "",
        },
    ]
    frame = polars.DataFrame(rows)
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_csv(tmp_path / "t.csv")
    frame.write_csv(tmp_path / "t.tsv", separator="\t")
    (tmp_path / "t.jsonl").write_text("\n".join(json.dumps(r) for r in rows))
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(list(rows[0]))
    for r in rows:
        book.active.append([v or None for v in r.values()])
    book.save(tmp_path / "t.xlsx")
    seen = []
    for suffix in ("parquet", "csv", "tsv", "jsonl", "xlsx"):
        records = read_manifest(tmp_path / f"t.{suffix}")
        seen.append(
            [
                (r.study_id, r.patient_id, r.laterality, dict(r.images), dict(r.metadata), dict(r.labels))
                for r in records
            ]
        )
    assert all(s == seen[0] for s in seen[1:])
    assert [r[0] for r in seen[0]] == ["001", "18446744073709551617"]
    assert seen[0][1][1] == "NA"
    assert seen[0][1][4]["age"] is None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_certain_encodings_are_read(tmp_path, encoding):
    path = table(tmp_path, "study_id,report\n1,左眼视网膜未见出血及渗出\n", encoding=encoding)
    assert read_manifest(path)[0].report == "左眼视网膜未见出血及渗出"


def test_an_uncertain_encoding_is_refused():
    with pytest.raises(FundusionError) as caught:
        decode_text("name,größe\nMüller,é".encode("latin-1"), "t.csv")
    assert caught.value.code == "table.encoding"
    with pytest.raises(FundusionError):
        decode_text(b"a\0b", "t.csv")


@pytest.mark.parametrize(
    ("cell", "code"),
    [
        ("14,5", "table.decimal_comma"),
        ("1,450", "table.decimal_comma"),
        ("1 450", "table.decimal_comma"),
        ("1e999", "table.not_a_number"),
        ("#DIV/0!", "table.formula"),
    ],
)
def test_numbers_that_read_two_ways_are_refused(tmp_path, cell, code):
    assert code_of(table(tmp_path, f'study_id;meta.hba1c\n1;"{cell}"\n')) == code


@pytest.mark.parametrize("cell", ["", " ", "NA", "nan", "-", ".", "未知"])
def test_a_missing_cell_is_missing_and_never_zero(tmp_path, cell):
    record = read_manifest(table(tmp_path, f"study_id,meta.hba1c,meta.age\n1,{cell},0\n"))[0]
    assert record.metadata == {"hba1c": None, "age": 0.0}


@pytest.mark.parametrize(
    "path", ["../x.jpg", "/etc/passwd", "a/../../x", "..\\x", "file:///x", "http://h/x.jpg", "~/x.jpg", "link/x.jpg"]
)
def test_paths_that_leave_the_folder(tmp_path, path):
    inside = tmp_path / "in"
    inside.mkdir()
    os.symlink(tmp_path, inside / "link")
    assert code_of(table(inside, f"study_id,cfp\n1,{path}\n")) == "manifest.path"


def test_equal_rows_are_one_and_different_rows_of_one_study_are_refused(tmp_path):
    rows = "study_id,patient_id,meta.age\n1,p,50\n1,p,50\n2,p,60\n"
    manifest = read_manifest(table(tmp_path, rows))
    assert [r.study_id for r in manifest] == ["1", "2"]
    assert len(manifest.notes) == 1
    path = table(tmp_path, rows.replace("1,p,50\n2", "1,p,51\n2"))
    assert code_of(path) == "manifest.duplicate"
    collected = read_manifest(path, on_bad_row="collect")
    assert [r.study_id for r in collected] == ["1", "2"]
    assert [(r.study_id, r.origin) for r in collected.rejected] == [("1", "t.csv:3")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("study_id,cpf\n1,a.jpg\n", "manifest.columns"),
        ("study_id,study_id\n1,2\n", "manifest.columns"),
        ("study_id,meta.age\n1,2,3\n", "manifest.ragged"),
        ("study_id,laterality\n1,both\n", "laterality.unknown"),
        ("study_id,split\n1,holdout\n", "manifest.split"),
        ("study_id,label.disease.D\n1,yes\n", "label.unknown"),
        ("laterality,cfp\nOD,a.jpg\n", "study.id"),
        ('study_id,report\n1,"never closed\n', "manifest.damaged"),
    ],
)
def test_tables_that_are_wrong_say_what_is_wrong(tmp_path, text, code):
    assert code_of(table(tmp_path, text)) == code


def test_a_misspelt_column_names_the_right_one(tmp_path):
    with pytest.raises(InvalidInput) as caught:
        read_manifest(table(tmp_path, "study_id,cpf\n1,a.jpg\n"))
    assert "'cfp'" in caught.value.hint


def test_a_column_map_renames_and_drops(tmp_path):
    (tmp_path / "map.toml").write_text(
        '[columns]\n"Left-Fundus" = "cfp"\nAge = "meta.age"\nID = "study_id"\nNote = ""\n'
    )
    path = table(tmp_path, "ID,Left-Fundus,Age,Note\n9,a.jpg,70,x\n")
    record = read_manifest(path, columns=tmp_path / "map.toml")[0]
    assert (record.study_id, record.metadata) == ("9", {"age": 70.0})
    assert code_of(path, columns={"Nope": "cfp"}) == "manifest.columns"


def test_multilabel_columns_keep_unknown_entries(tmp_path):
    record = read_manifest(table(tmp_path, "study_id,label.disease.D,label.disease.G,label.disease.A\n1,1,0,\n"))[0]
    labels = record.labels["disease"]
    assert (labels["D"], labels["G"]) == (1.0, 0.0)
    assert labels["A"] != labels["A"]


def test_a_table_without_rows_types_not_read_and_files_not_there(tmp_path):
    assert len(read_manifest(table(tmp_path, "study_id\n"))) == 0
    assert code_of(table(tmp_path, "x", name="t.doc")) == "manifest.type"
    assert code_of(tmp_path / "none.csv") == "file.missing"
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no")
    assert code_of(tmp_path / "t.parquet") == "manifest.damaged"


def test_drawn_truth_and_points(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(
        "study_id,cfp,mask.vessels,mask.disc,label.fovea_px\n1,a.jpg,m/v.gif|m/w.gif,,12.5|30\n2,b.jpg,,,\n"
    )
    first, second = read_manifest(path)
    assert dict(first.masks) == {"vessels": (str(tmp_path / "m/v.gif"), str(tmp_path / "m/w.gif"))}
    assert first.labels == {"fovea_px": (12.5, 30.0)}
    assert dict(second.masks) == dict(second.labels) == {}


@pytest.mark.parametrize("cell", ["12", "1|2|3", "a|b"])
def test_half_a_point_is_refused(tmp_path, cell):
    (tmp_path / "t.csv").write_text(f"study_id,cfp,label.fovea_px\n1,a.jpg,{cell}\n")
    with pytest.raises(InvalidInput, match="a point is") as caught:
        read_manifest(tmp_path / "t.csv")
    assert caught.value.code == "label.unknown"


def test_truth_outside_the_folder_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("study_id,cfp,mask.disc\n1,a.jpg,../x.png\n")
    with pytest.raises(InvalidInput) as caught:
        read_manifest(tmp_path / "t.csv")
    assert caught.value.code == "manifest.path"
