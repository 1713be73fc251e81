"""Cells stay text, headers are found under titles, marks and spaces go."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fundusion.core.errors import ReadError
from fundusion.datasets._tables import Row, grid, has_columns, name_of, number_of, rows


def test_a_title_line_a_mark_and_empty_columns(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(
        "\ufeffMarkups of the set,,\n,,\nImage No , X- Coordinate,,\nIDRiD_001,2924,,\n,,,\n007,1e3\n".encode()
    )
    found = list(rows(path, needs=["image no"]))
    assert [(r["Image No"], r["x coordinate"], r.origin) for r in found] == [
        ("IDRiD_001", "2924", "t.csv:4"), ("007", "1e3", "t.csv:6"),
    ]  # fmt: skip
    assert found[1].number("x coordinate") == 1000.0


def test_identifiers_of_a_workbook_keep_their_digits(tmp_path, trees):
    path = trees.table(tmp_path / "t.xlsx", [["Title"], [], ["ID", "v"], ["007", 1], [12345678901234567, None]])
    assert next((r["id"], r.known("v"), r.origin) for r in rows(path, needs=["id"])) == ("007", "1", "t.xlsx:4")
    assert len(list(rows(path, needs=["id"]))) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_encodings(tmp_path, encoding):
    # Chinese without a mark needs some common characters to be certain.
    (tmp_path / "t.csv").write_bytes("id,诊断\n1,右眼白内障，左眼未见明显异常\n".encode(encoding))
    assert next(iter(rows(tmp_path / "t.csv", needs=["id"])))["诊断"] == "右眼白内障，左眼未见明显异常"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_separators(tmp_path, separator):
    (tmp_path / "t.csv").write_text(separator.join(["id", "b"]) + "\n" + separator.join(["1", "2"]))
    assert has_columns(tmp_path / "t.csv", "id", ("b", "c"))
    assert next(iter(rows(tmp_path / "t.csv", needs=["id"])))["b"] == "2"


def test_what_is_no_table_is_an_error(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"no workbook")
    (tmp_path / "t.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ReadError) as caught:
        grid(tmp_path / "t.xlsx")
    assert caught.value.code == "dataset.table"
    with pytest.raises(ReadError, match="no header"):
        list(rows(tmp_path / "t.csv", needs=["image"]))
    with pytest.raises(ReadError):
        grid(tmp_path / "gone.csv")
    assert not has_columns(tmp_path / "t.xlsx", "a")
    assert not has_columns(None, "a")


def test_a_cell_that_says_nothing_is_not_known():
    row = Row({"a": "NaN", "b": "0", "c": ""}, "t:1")
    assert (row.known("a"), row.known("b"), row.known("c"), row["gone"]) == (None, "0", None, "")
    assert "a" in row
    assert "gone" not in row


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_written(value):
    assert number_of(repr(value)) == value


@given(st.text())
@example("ὐ")
def test_a_name_is_stable(text):
    assert name_of(name_of(text)) == name_of(text)


@pytest.mark.parametrize("text", ["14,5", "1.2.3", "inf", "nan", "<5", "0x10", "١"])
def test_what_is_no_number_is_none(text):
    assert number_of(text) is None or text == "١"


def test_a_line_with_more_cells_than_the_header_is_marked(tmp_path):
    (tmp_path / "t.csv").write_text("id,grade\n1,2,,\n2,mild, with exudates\n")
    assert [r.too_long for r in rows(tmp_path / "t.csv", needs=["id"])] == [False, True]
