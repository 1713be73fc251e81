"""A schema says everything or is refused; open questions of a proposal are refused by name."""

import pytest

from fundusion.core.errors import FundusionError
from fundusion.readers.manifest.schema import read_schema


def code(content):
    with pytest.raises(FundusionError) as error:
        read_schema(content)
    return error.value.code


def column(**keys):
    return {"columns": {"X": keys}}


def test_a_file_and_its_content_are_the_same(tmp_path):
    text = """
[table]
encoding = "gb18030"
delimiter = ";"
decimal = ","
missing = ["888"]

[columns."眼压"]
to = "meta.iop"
type = "number"
unit = "kPa"
missing = ["999"]

[columns."note"]
drop = true
"""
    (tmp_path / "s.toml").write_text(text, "utf-8")
    schema = read_schema(tmp_path / "s.toml")
    iop, note = schema.columns
    assert (schema.options.encoding, schema.options.delimiter) == ("gb18030", ";")
    assert (iop.unit, iop.to_unit, iop.decimal, iop.missing) == ("kPa", "mmHg", ",", {"888", "999"})
    assert iop.high == pytest.approx(80 * 0.133322387415)
    assert note.to == ()
    assert read_schema(schema) is schema


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (column(to="meta.hba1c", type="number"), "schema.unit"),
        (column(to="meta.x", type="number", unit="%"), None),
        (column(to="meta.hba1c", type="number", unit="mg/dL"), "unit.unknown"),
        (column(to="meta.x", type="number", quantity="mood"), "schema.value"),
        (column(to="meta.x", type="number", decimal=";"), "schema.value"),
        (column(to="meta.x", type="number", decimal=",", thousands=","), "schema.value"),
        (column(to="meta.x", type="number", censored="guess"), "schema.value"),
        (column(to="meta.x", type="number", range=[5, 1]), "schema.value"),
        (column(to="meta.x", type="number", levels=["a"]), "schema.key"),
        (column(to="meta.x", type="num"), "schema.value"),
        (column(type="number"), "schema.value"),
        (column(to="meta.x", type="date"), "schema.value"),
        (column(to="meta.x", type="date", format="%d/%m/%y"), "schema.value"),
        (column(to="meta.sbp", type="blood_pressure"), "schema.value"),
        (column(to=["meta.sbp", "meta.dbp"], type="blood_pressure"), None),
        (column(to="meta.x", type="category", levels=["a"], map={"1": "b"}), "schema.value"),
        (column(to="meta.x", type="text", untis="mm"), "schema.key"),
        (column(to="meta.x", type="number", undecided=["missing"]), "schema.undecided"),
        (column(to="meta.x", type="number", undecided=["missing"], missing=[]), None),
        (column(undecided=["to"], drop=True), None),
        ({"columns": {}}, "schema.value"),
        ({"columns": {"Age": "meta.age"}}, "schema.value"),
        ({"column": {}}, "schema.key"),
        ({"table": {"code": "utf-8"}, "columns": {"a": {"drop": True}}}, "schema.key"),
    ],
)
def test_what_a_schema_may_not_be(content, why):
    if why is None:
        assert read_schema(content).columns
    else:
        assert code(content) == why


def test_two_columns_cannot_become_one():
    same = {"to": "meta.x", "type": "text"}
    assert code({"columns": {"A": same, "B": same}}) == "schema.value"


def test_a_misspelt_key_names_the_right_one():
    with pytest.raises(FundusionError) as error:
        read_schema(column(to="meta.x", type="number", unti="mm"))
    assert "'unit'" in error.value.hint


def test_files_that_are_no_schema(tmp_path):
    assert code(tmp_path / "none.toml") == "file.missing"
    (tmp_path / "s.toml").write_bytes(b"\xff\xfe")
    assert code(tmp_path / "s.toml") == "schema.value"


def test_a_table_of_other_columns_is_refused():
    schema = read_schema({"columns": {"A": {"drop": True}, "B": {"to": "visit", "type": "text"}}})
    schema.check_columns(["B", "A"])
    for names in (["A"], ["A", "B", "C"]):
        with pytest.raises(FundusionError) as error:
            schema.check_columns(names)
        assert error.value.code == "manifest.columns"
