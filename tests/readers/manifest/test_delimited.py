"""Delimiters are found or asked for; a damaged row does not take its neighbours along (T2, T4)."""

import json

import pytest

from fundusion.core.errors import FundusionError, InvalidInput
from fundusion.readers.manifest.delimited import find_delimiter, open_delimited, open_json_lines


def write(tmp_path, text, name="t.csv"):
    (tmp_path / name).write_text(text, "utf-8", newline="")
    return tmp_path / name


def split(rows):
    good, bad = {}, {}
    for line, row in rows:
        (bad if isinstance(row, FundusionError) else good)[line] = row
    return good, bad


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_each_delimiter_is_found_and_noted(tmp_path, delimiter):
    text = "id,va,note\n1,20/40,a\n2,14.5,b\n".replace(",", delimiter)
    header, rows, facts = open_delimited(write(tmp_path, text))
    assert header == ["id", "va", "note"]
    assert facts == {"encoding": "utf-8-sig", "delimiter": delimiter}
    assert [r["va"] for _, r in rows] == ["20/40", "14.5"]


def test_decimal_commas_do_not_win_over_semicolons():
    assert find_delimiter("id;iop;va\n1;14,5;0,8\n2;15,0;0,9\n", "t") == ";"
    assert find_delimiter('id,paths,x\n1,"a|b",2\n', "t") == ","
    assert find_delimiter("one\ntwo\n", "t") == ","


def test_two_delimiters_that_fit_are_asked_for(tmp_path):
    text = "a;b,c\n1;2,3\n4;5,6\n"
    with pytest.raises(InvalidInput) as caught:
        open_delimited(write(tmp_path, text))
    assert caught.value.code == "table.delimiter"
    header, _, _ = open_delimited(write(tmp_path, text), delimiter=";")
    assert header == ["a", "b,c"]
    with pytest.raises(InvalidInput):
        open_delimited(write(tmp_path, text), delimiter="x")


def test_the_first_line_of_excel_states_the_delimiter(tmp_path):
    header, rows, facts = open_delimited(write(tmp_path, "sep=;\r\nid;x\r\n1;2,5\r\n"))
    assert (header, facts["delimiter"], list(rows)) == (["id", "x"], ";", [(3, {"id": "1", "x": "2,5"})])


def test_ragged_rows_are_bad_one_by_one(tmp_path):
    """A first row that is longer than the header shifts no column."""
    path = write(tmp_path, "id,a,b\n1,2,3,4\n5,6,7\n8,9\n10,11,12,\n,,\n\n13,14,15\n")
    good, bad = split(open_delimited(path)[1])
    assert good == {
        3: {"id": "5", "a": "6", "b": "7"},
        5: {"id": "10", "a": "11", "b": "12"},
        8: {"id": "13", "a": "14", "b": "15"},
    }
    assert {line: e.code for line, e in bad.items()} == {2: "manifest.ragged", 4: "manifest.ragged"}
    assert "4 cells, the header 3" in bad[2].message


def test_quotes(tmp_path):
    path = write(tmp_path, 'id,r\n1,"a ""b"", c\nd"\n2,"x"y\n3,z\n4,"open\n')
    good, bad = split(open_delimited(path)[1])
    assert good[2]["r"] == 'a "b", c\nd'
    assert good[5]["r"] == "z"
    assert sorted(bad) == [4, 6]
    assert "never closed" in bad[6].message


@pytest.mark.parametrize("text", ["a,,b\n1,2,3\n", "a,b,a\n1,2,3\n", 'a,"b\n'])
def test_headers_that_cannot_be_used(tmp_path, text):
    with pytest.raises(InvalidInput):
        open_delimited(write(tmp_path, text), delimiter=",")


def test_names_without_a_column_at_the_end_are_left_out(tmp_path):
    header, rows, _ = open_delimited(write(tmp_path, "a, b ,,\n1,2,,\n"))
    assert (header, list(rows)) == (["a", "b"], [(2, {"a": "1", "b": "2"})])


def test_json_lines(tmp_path):
    lines = [
        '{"study_id": "1", "meta": {"age": 5, "sex": null}, "label": {"dr_grade": 2, "disease": {"D": 1, "G": 0}}}',
        "",
        '{"study_id": "2", "study_id": "3"}',
        '{"x": Infinity}',
        '{"study_id": 18446744073709551617, "meta.age": NaN}',
        "[1]",
        "{broken",
        '{"other": {"a": 1}}',
        '{"a":' * 100_000,
    ]
    good, bad = split(open_json_lines(write(tmp_path, "\n".join(lines), "t.jsonl"))[0])
    assert good[1] == {
        "study_id": "1",
        "meta.age": 5,
        "meta.sex": None,
        "label.dr_grade": 2,
        "label.disease.D": 1,
        "label.disease.G": 0,
    }
    assert good[5] == {"study_id": 18446744073709551617, "meta.age": None}
    assert sorted(bad) == [3, 4, 6, 7, 8, 9]
    assert "'study_id' stands there twice" in bad[3].message
    assert json.dumps(bad[9].message)
