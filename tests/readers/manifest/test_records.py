"""Tables of clinics end to end: what each trap does to a whole table. The rows T1 to T12 of the reliability list."""

import json
import resource
import sys

import openpyxl
import polars
import pytest

from fundusion.core.errors import ExhaustedResource, FundusionError, InvalidInput
from fundusion.core.study import StudyRecord
from fundusion.readers.manifest import RejectedRow, TableOptions, read_manifest, stream_manifest
from fundusion.readers.manifest.seen import SeenStudies


def table(tmp_path, text, name="t.csv", encoding="utf-8"):
    (tmp_path / name).write_bytes(text.encode(encoding) if isinstance(text, str) else text)
    return tmp_path / name


def refused(path, **options):
    with pytest.raises(FundusionError) as caught:
        read_manifest(path, **options)
    return caught.value


def collected(path, **options):
    return read_manifest(path, on_bad_row="collect", **options)


# T1: encodings.
def test_t1_identifiers_come_back_as_the_bytes_they_were(tmp_path):
    for codec in ("utf-8", "utf-8-sig", "gb18030", "utf-16"):
        names = ["患者张伟", "患者李娜", "患者王芳"]
        path = table(tmp_path, "patient_id,report\n" + "".join(f"{n},左眼未见出血\n" for n in names), encoding=codec)
        assert [r.patient_id.encode(codec) for r in read_manifest(path)] == [n.encode(codec) for n in names]
    latin = table(tmp_path, "patient_id\nMüller\n", encoding="latin-1")
    assert refused(latin).code == "table.encoding"
    assert read_manifest(latin, options=TableOptions(encoding="latin-1"))[0].patient_id == "Müller"


# T2: NUL bytes, ragged rows, a first row longer than the header.
def test_t2_damaged_rows_shift_and_cut_nothing(tmp_path):
    found = collected(table(tmp_path, "study_id,meta.age,meta.iop\n1,50,14,9\n2,60\n3,70,15\n"))
    assert [(r.study_id, dict(r.metadata)) for r in found] == [("3", {"age": 70.0, "iop": 15.0})]
    assert [(r.code, r.origin) for r in found.rejected] == [
        ("manifest.ragged", "t.csv:2"),
        ("manifest.ragged", "t.csv:3"),
    ]
    assert refused(table(tmp_path, b"study_id,report\n1,left\x00right\n")).code == "table.encoding"
    nul = table(
        tmp_path, json.dumps({"study_id": "1", "report": "a\0b"}) + "\n" + json.dumps({"study_id": "a\0b"}), "t.jsonl"
    )
    assert [r.code for r in collected(nul).rejected] == ["table.character", "table.id_character"]


# T3: duplicates.
def test_t3_equal_rows_are_one_and_conflicting_rows_name_both_lines(tmp_path):
    text = "study_id,meta.age\n1,50\n2,60\n1,50\n2,61\n"
    found = collected(table(tmp_path, text))
    assert found.notes == ("t.csv:4 repeats t.csv:2 and was left out",)
    assert [(r.code, r.origin) for r in found.rejected] == [("manifest.duplicate", "t.csv:5")]
    assert "t.csv:3 and t.csv:5" in found.rejected[0].message
    assert refused(table(tmp_path, text)).code == "manifest.duplicate"


# T4: notations.
@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("14,5", "table.decimal_comma"),
        ("1,450", "table.decimal_comma"),
        ("7,2%", "table.unit_in_cell"),
        ("<0.5", "<0.5"),
        (">200", ">200"),
    ],
)
def test_t4_numbers_of_two_readings(tmp_path, cell, value):
    found = collected(table(tmp_path, f"study_id;meta.x\n1;{cell}\n2;145\n"))
    got = [r.metadata["x"] for r in found] + [r.code for r in found.rejected]
    assert sorted(map(str, got)) == sorted(map(str, [value, 145.0]))
    schema = {
        "columns": {
            "study_id": {"to": "study_id", "type": "identifier"},
            "meta.x": {"to": "meta.x", "type": "number", "decimal": ","},
        }
    }
    if cell == "14,5":
        assert [r.metadata["x"] for r in collected(tmp_path / "t.csv", schema=schema)] == [14.5, 145.0]


# T5: units.
def test_t5_two_units_in_one_column_are_said_and_no_value_changes(tmp_path):
    found = read_manifest(table(tmp_path, "study_id,meta.glucose\n1,5.5\n2,126\n3,7\n"))
    assert [r.metadata["glucose"] for r in found] == [5.5, 126.0, 7.0]
    assert all(not r.notes for r in found)
    assert "two units in one column" in found.notes[0]


def test_t5_conversion_is_in_the_record_and_in_the_summary(tmp_path):
    schema = {
        "columns": {
            "p": {"to": "patient_id", "type": "identifier"},
            "A": {"to": "meta.age", "type": "number", "unit": "days"},
        }
    }
    found = read_manifest(table(tmp_path, "p,A\n1,36525\n"), schema=schema)
    assert found[0].metadata["age"] == 100.0
    assert found[0].notes == ("meta.age: 36525 days -> 100 years",)
    assert found.notes == (
        "meta.age: 1 cells were converted; each record says how",
        "meta.age: 1 ages above 89; a de-identified export pools them to 90 and more",
    )


# T6: dates.
def test_t6_one_declared_format_and_lives_that_are_possible(tmp_path):
    rows = "p,B,E\n1,25/12/1950,03/04/2020\n2,12/25/1950,03/04/2020\n3,01/01/2020,31/12/2019\n4,01/01/2950,01/01/2020\n"
    schema = {
        "columns": {
            "p": {"to": "patient_id", "type": "identifier"},
            "B": {"to": "meta.birth_date", "type": "date", "format": "%d/%m/%Y"},
            "E": {"to": "visit", "type": "date", "format": "%d/%m/%Y"},
        }
    }
    found = collected(table(tmp_path, rows), schema=schema)
    assert [(r.study_id, r.visit, r.metadata["birth_date"]) for r in found] == [
        ("1_2020-04-03", "2020-04-03", "1950-12-25")
    ]
    assert [r.code for r in found.rejected] == ["table.date", "table.date_order", "table.date_future"]


# T7: missing values.
def test_t7_missing_words_and_codes_are_missing_and_zero_is_a_value(tmp_path):
    cells = ["", "NA", ".", "-", "未知", "不详", "NaN"]
    rows = "".join(f"{i},{c},0\n" for i, c in enumerate(cells))
    found = read_manifest(table(tmp_path, "study_id,meta.x,meta.y\n" + rows))
    assert {r.metadata["x"] for r in found} == {None}
    assert {r.metadata["y"] for r in found} == {0.0}
    schema = {
        "columns": {
            "s": {"to": "study_id", "type": "identifier"},
            "x": {"to": "meta.x", "type": "number", "missing": ["999"]},
        }
    }
    assert [r.metadata["x"] for r in read_manifest(table(tmp_path, "s,x\n1,999\n2,-1\n"), schema=schema)] == [
        None,
        -1.0,
    ]


# T8: identifiers and eye codes that other readers change.
@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "parquet", "xlsx"])
def test_t8_no_identifier_changes_in_any_format(tmp_path, kind):
    ids = [
        "00123",
        "0123",
        "123456789012345678",
        "123456789012345679",
        "NA",
        "1e5x",
        "TRUE",
        "2020-01-02",
        "007.0",
        "=1+1",
    ]
    rows = [{"study_id": x, "patient_id": None if x == "00123" else x} for x in ids]
    path = tmp_path / f"t.{kind}"
    if kind == "jsonl":
        path.write_text("\n".join(json.dumps(r) for r in rows))
    elif kind == "xlsx":
        book = openpyxl.Workbook()
        book.active.append(list(rows[0]))
        for row in rows:
            book.active.append(list(row.values()))
            for cell in book.active[book.active.max_row]:
                cell.data_type = "s" if cell.value is not None else cell.data_type
        book.save(path)
    else:
        frame = polars.DataFrame(rows)
        frame.write_parquet(path) if kind == "parquet" else frame.write_csv(
            path, separator="\t" if kind == "tsv" else ","
        )
    found = read_manifest(path)
    assert [r.study_id for r in found] == ids
    assert [r.patient_id for r in found] == [None, *ids[1:]]


def test_t8_long_identifiers_that_a_program_rounded_are_refused(tmp_path):
    polars.DataFrame({"study_id": [123456789012345678.0, None], "patient_id": ["a", "b"]}).write_parquet(
        tmp_path / "t.parquet"
    )
    found = collected(tmp_path / "t.parquet")
    assert [r.code for r in found.rejected] == ["table.id_precision"]
    assert refused(table(tmp_path, "study_id\n1.23457E+17\n")).code == "table.id_precision"
    exact = polars.DataFrame({"study_id": [123456789012345678, 123456789012345679]})
    exact.write_parquet(tmp_path / "e.parquet")
    assert [r.study_id for r in read_manifest(tmp_path / "e.parquet")] == ["123456789012345678", "123456789012345679"]


@pytest.mark.parametrize("cell", ["NA", "nan", "both", "OU", "1", "双眼"])
def test_t8_an_eye_that_is_no_eye_is_refused(tmp_path, cell):
    assert refused(table(tmp_path, f"study_id,laterality\n1,{cell}\n")).code == "laterality.unknown"


# T9: labels.
def test_t9_labels_outside_their_set_are_listed_with_counts(tmp_path):
    schema = {
        "columns": {"s": {"to": "study_id", "type": "identifier"}, "g": {"to": "label.dr_grade", "type": "category"}}
    }
    path = table(tmp_path, "s,g\n1,2\n2,5\n3,5\n4,2.0\n5, 2\n6,-100\n7,\n")
    error = refused(path, schema=schema)
    assert error.code == "label.unknown"
    for part in ("'5' (2 rows)", "'2.0' (1 row)", "' 2' (1 row)", "'-100' (1 row)", "first at t.csv:3"):
        assert part in error.message
    found = collected(path, schema=schema)
    assert [(r.study_id, dict(r.labels)) for r in found] == [("1", {"dr_grade": "2"}), ("7", {})]
    assert len(found.rejected) == 5
    assert any("'5' (2 rows)" in n for n in found.notes)


def test_t9_without_a_schema(tmp_path):
    error = refused(table(tmp_path, "study_id,label.x\n1,2\n2,2.0\n3, 2\n"))
    assert "'2' (1 row), '2.0' (1 row), ' 2' (1 row)" in error.message
    assert refused(table(tmp_path, "study_id,label.x\n1,-100\n")).code == "label.unknown"
    assert refused(table(tmp_path, "study_id,label.disease\n1,N|D\n")).code == "label.conflict"
    assert refused(table(tmp_path, "study_id,label.disease.N,label.disease.D\n1,1,1\n")).code == "label.conflict"
    assert (
        read_manifest(table(tmp_path, "study_id,label.disease.N,label.disease.D\n1,1,0\n"))[0].labels["disease"]["N"]
        == 1.0
    )


def test_t9_typed_labels_have_one_spelling(tmp_path):
    polars.DataFrame({"study_id": ["1", "2", "3"], "label.dr_grade": [2.0, None, 3.0]}).write_parquet(
        tmp_path / "t.parquet"
    )
    assert [dict(r.labels) for r in read_manifest(tmp_path / "t.parquet")] == [{"dr_grade": "2"}, {}, {"dr_grade": "3"}]
    lines = '{"study_id": "1", "label": {"dr_grade": 2, "disease": ["D", "G"]}}\n{"study_id": "2", "label": {"disease": {"N": 1}}}\n'
    assert [dict(r.labels) for r in read_manifest(table(tmp_path, lines, "t.jsonl"))] == [
        {"dr_grade": "2", "disease": "D|G"}, {"disease": {"N": 1.0}},
    ]  # fmt: skip


# T10 concerns splits: it is tested with the check of a whole table. T11: paths.
@pytest.mark.parametrize(
    "cell",
    ["../x.jpg", "/etc/passwd", "a\\b.jpg", "file:///etc/passwd", "http://h/x.jpg", "NUL", "C:/x.jpg", "~/x.jpg"],
)
def test_t11_paths_that_leave_the_folder(tmp_path, cell):
    found = collected(table(tmp_path, f"study_id,cfp\n1,{cell}\n2,a.jpg\n"))
    assert [r.code for r in found.rejected] == ["manifest.path"]
    assert [r.images["cfp"] for r in found] == [(str(tmp_path / "a.jpg"),)]


def test_t11_another_root_is_the_limit(tmp_path):
    (tmp_path / "images").mkdir()
    path = table(tmp_path, "study_id,cfp\n1,a.jpg\n")
    assert read_manifest(path, root=tmp_path / "images")[0].images["cfp"] == (str(tmp_path / "images" / "a.jpg"),)


# T12: cells that are too large, control characters, formulas of other programs.
def test_t12_large_and_active_cells(tmp_path):
    big = "x" * 2_000_000
    found = collected(table(tmp_path, f"study_id,report\n1,{big}\n2,{'y' * 100_001}\n3,ok\n"))
    assert [r.study_id for r in found] == ["3"]
    assert {r.code for r in found.rejected} == {"manifest.damaged", "report.too_long"}
    assert all(len(r.message) < 300 for r in found.rejected)
    active = read_manifest(table(tmp_path, 'study_id,report\n"=HYPERLINK(""x"")","@SUM(A1)"\n'))[0]
    assert (active.study_id, active.report) == ('=HYPERLINK("x")', "@SUM(A1)")
    assert refused(table(tmp_path, "study_id,meta.x\n1,#DIV/0!\n")).code == "table.formula"


def test_a_schema_and_a_column_map_are_not_given_together(tmp_path):
    path = table(tmp_path, "study_id\n1\n")
    assert (
        refused(
            path, schema={"columns": {"study_id": {"to": "study_id", "type": "identifier"}}}, columns={"a": "b"}
        ).code
        == "schema.value"
    )
    (tmp_path / "s.toml").write_text('[columns.study_id]\nto = "study_id"\ntype = "identifier"\n')
    # What takes a column map takes a schema: training, evaluation and analysis need no option of their own.
    assert len(read_manifest(path, columns=tmp_path / "s.toml")) == 1
    assert refused(path, columns=tmp_path / "s.toml", schema=tmp_path / "s.toml").code == "schema.value"
    assert len(read_manifest(path, schema=tmp_path / "s.toml")) == 1


def test_json_lines_may_leave_out_keys_but_not_invent_columns(tmp_path):
    lines = '{"study_id": "1"}\n{"study_id": "2", "cfp": ["a.jpg"]}\n'
    assert [dict(r.images) for r in read_manifest(table(tmp_path, lines, "t.jsonl"))] == [
        {},
        {"cfp": (str(tmp_path / "a.jpg"),)},
    ]
    assert refused(table(tmp_path, lines + '{"study_id": "3", "cpf": "a.jpg"}\n', "t.jsonl")).code == "manifest.columns"


def test_a_full_disk_is_no_bad_row(tmp_path, monkeypatch):
    def full(*_):
        raise ExhaustedResource("full", code="disk.full")

    monkeypatch.setattr(SeenStudies, "add", full)
    with pytest.raises(ExhaustedResource):
        collected(table(tmp_path, "study_id\n1\n"))


def big_table(path, rows):
    with path.open("w", encoding="utf-8") as stream:
        stream.write("study_id,patient_id,laterality,cfp,meta.age,meta.hba1c,meta.sex,label.dr_grade,split\n")
        for i in range(rows):
            eye = "both" if i % 300 == 7 else "OD" if i % 2 else "OS"
            age = '"14,5"' if i % 300 == 107 else str(20 + i % 70)
            more = ",x" if i % 300 == 207 else ""
            stream.write(
                f"{i:08d},{i // 2:07d},{eye},img/{i}.jpg,{age},{5 + i % 70 / 10:.1f},{'男' if i % 2 else '女'},{i % 5},train{more}\n"
            )


def resident_mb():
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * resource.getpagesize() / 2**20


def stream_through(path, rows):
    stream = stream_manifest(path)
    counts = {StudyRecord: 0, RejectedRow: 0}
    marks = []
    for n, item in enumerate(stream, 1):
        counts[type(item)] += 1
        if n % (rows // 10) == 0:
            marks.append(resident_mb())
    bad = 3 * (rows // 300) + sum(rows % 300 > x for x in (7, 107, 207))
    assert counts == {StudyRecord: rows - bad, RejectedRow: bad}
    assert stream.counts == {"rows": rows, "records": rows - bad, "rejected": bad, "repeated": 0}
    return marks


def test_counts_add_up_with_one_bad_row_in_a_hundred(tmp_path):
    big_table(tmp_path / "t.csv", 3000)
    stream_through(tmp_path / "t.csv", 3000)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
def test_a_million_rows_in_flat_memory(tmp_path):
    big_table(tmp_path / "t.csv", 1_000_000)
    marks = stream_through(tmp_path / "t.csv", 1_000_000)
    assert max(marks[1:]) - marks[0] < 60, marks


def test_progress_is_told(tmp_path):
    big_table(tmp_path / "t.csv", 4500)
    seen = []
    collected(tmp_path / "t.csv", progress=seen.append)
    assert seen == [2000, 4000]


def test_readers_of_manifests_take_streams_apart_from_lists(tmp_path):
    items = list(stream_manifest(table(tmp_path, "study_id\n1\n1\n")))
    assert [i.study_id for i in items] == ["1"]
    with pytest.raises(InvalidInput):
        read_manifest(tmp_path / "t.csv", on_bad_row="skip")
