"""Conditions: what they accept, what they refuse, and that missing cells and hostile texts never slip through."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.retrieval.condition import Column, compile_condition

NUMBER, TEXT, BOTH = frozenset({"number"}), frozenset({"text"}), frozenset({"number", "text"})
COLUMNS = {
    "age": Column(sql="age", kinds=NUMBER),
    "sex": Column(sql="sex", kinds=TEXT),
    "stage": Column(sql="stage", kinds=BOTH),
    "HbA1c (%)": Column(sql="hba1c", kinds=NUMBER),
}
ROWS = [
    (61.0, "female", 3.0, 7.5),
    (40.0, "male", "unknown", None),
    (None, "Female", None, 9.0),
    (80.0, None, "3", 6.0),
]


def chosen(text):
    base = sqlite3.connect(":memory:")
    base.create_function("fold", 1, lambda v: None if v is None else str(v).casefold())
    base.execute("create table t (age, sex, stage, hba1c)")
    base.executemany("insert into t values (?, ?, ?, ?)", ROWS)
    sql, values = compile_condition(text, COLUMNS)
    return [bool(v) for (v,) in base.execute(f"select {sql} from t", values)]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("age > 60", [0, 3]),
        ("age >= 61.0 and age <= 80", [0, 3]),
        ("sex = female", [0]),
        ("sex contains FEMALE", [0, 2]),
        ("not age > 60", [1]),
        ("age != 61", [1, 3]),
        ("age is missing", [2]),
        ("age is not missing and sex is missing", [3]),
        ("age in (40, 80)", [1, 3]),
        ("age not in (40, 80)", [0]),
        ("age < 50 or sex = 'female' and age > 60", [0, 1]),
        ("(age < 50 or sex = 'female') and age > 60", [0]),
        ("stage = 3", [0]),
        ('stage = "3"', [3]),
        ('"HbA1c (%)" > 7', [0, 2]),
        ("NOT (age > 60 OR age < 0)", [1]),
        ("age > -1e2", [0, 1, 3]),
    ],
)
def test_what_is_chosen(text, rows):
    assert [i for i, v in enumerate(chosen(text)) if v] == rows


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "where.syntax"),
        ("age", "where.syntax"),
        ("age >", "where.syntax"),
        ("age > 60)", "where.syntax"),
        ("(age > 60", "where.syntax"),
        ("age > 60; drop table item", "where.syntax"),
        ("age > 60 and", "where.syntax"),
        ("> 60", "where.syntax"),
        ("age is there", "where.syntax"),
        ("age in 3", "where.syntax"),
        ("not " * 50 + "age > 1", "where.syntax"),
        ("(" * 50 + "age > 1" + ")" * 50, "where.syntax"),
        ("age > 1 " * 1000, "where.syntax"),
        ("agee > 60", "where.column"),
        ("age = old", "where.type"),
        ("age contains 6", "where.type"),
    ],
)
def test_what_is_refused(text, code):
    with pytest.raises(InvalidInput) as refused:
        compile_condition(text, COLUMNS)
    assert refused.value.code == code


def test_an_unknown_column_lists_those_there_are():
    with pytest.raises(InvalidInput, match="Did you mean 'age'") as refused:
        compile_condition("ages > 3", COLUMNS)
    assert "HbA1c (%), age, sex, stage" in refused.value.hint


def test_numbers_in_a_text_column_are_compared_byte_for_byte():
    assert compile_condition("sex = 007", COLUMNS)[1] == ["007"]


@given(st.text(max_size=60))
def test_any_text_is_understood_or_refused_and_never_becomes_sql(text):
    try:
        sql, values = compile_condition(f"sex = {text}", COLUMNS)
    except InvalidInput:
        return
    assert sql.count("?") == len(values)
    chosen(f"sex = {text}")


@given(st.integers(-100, 100), st.sampled_from(["<", "<=", ">", ">=", "=", "!="]))
def test_a_missing_cell_fulfils_neither_a_comparison_nor_its_negation(number, sign):
    yes, no = chosen(f"age {sign} {number}"), chosen(f"not age {sign} {number}")
    assert [a + b for a, b in zip(yes, no, strict=True)] == [1, 1, 0, 1]
