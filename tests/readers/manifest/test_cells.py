"""Single cells: identifiers byte for byte, numbers in one notation, words for missing (T2, T4, T7)."""

import re
from datetime import date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.bound import Bound
from fundusion.core.errors import InvalidInput
from fundusion.readers.manifest.cells import identifier, is_missing_word, parse_number, plain_cell, text_of


def code(call, *args, **options):
    with pytest.raises(InvalidInput) as error:
        call(*args, **options)
    return error.value.code


@pytest.mark.parametrize(
    "text", ["00123", "0123", "123456789012345678", "NA", "null", "1e5x", "007.0", "患者-01", "12E", "#024"]
)
def test_identifiers_are_kept_byte_for_byte(text):
    assert identifier(text, "patient_id") == text


def test_typed_identifiers():
    assert identifier(123456789012345678, "p") == "123456789012345678"
    assert identifier(123.0, "p") == "123"
    assert identifier(None, "p") == identifier(float("nan"), "p") == identifier("", "p") == identifier("  ", "p") == ""


@pytest.mark.parametrize("value", ["1.23457E+17", "1,23E+17", "9E5", 1.2345678901234568e17, 12.5])
def test_identifiers_that_lost_digits_are_refused(value):
    assert code(identifier, value, "patient_id") == "table.id_precision"


@pytest.mark.parametrize("text", [" 7", "7 ", "7\u00a0", "a\u200bb", "a\tb", "7\ufeff", "a\ufffdb", "a\u202eb", "a\0b"])
def test_characters_that_do_not_show_are_refused(text):
    assert code(identifier, text, "patient_id") == "table.id_character"


def test_spaces_are_taken_off_when_a_schema_says_so():
    assert identifier(" 7 ", "p", strip=True) == "7"
    assert code(identifier, "a\u200bb", "p", strip=True) == "table.id_character"


@given(st.text(st.characters(exclude_categories=("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")), min_size=1))
def test_any_visible_identifier_is_kept(text):
    lost = re.fullmatch(r"[+-]?\d+([.,]\d+)?[eE]\+?\d+", text) is not None
    if lost or "\ufffd" in text:
        assert code(identifier, text, "p") in ("table.id_precision", "table.id_character")
    else:
        assert identifier(text, "p") == text


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "number"),
    [
        ("14,5", ",", None, 14.5),
        ("14.5", ".", None, 14.5),
        ("1,450", ",", None, 1.45),
        ("1,450", ".", ",", 1450.0),
        ("1.450,5", ",", ".", 1450.5),
        ("12'345.5", ".", "'", 12345.5),
        ("1 450", ".", " ", 1450.0),
        ("-0,5", ",", None, -0.5),
        ("−2.5", ".", None, -2.5),
        ("１４.５", ".", None, 14.5),
        ("+3", ".", None, 3.0),
    ],
)
def test_numbers_in_a_declared_notation(text, decimal, thousands, number):
    assert parse_number(text, "x", decimal=decimal, thousands=thousands) == number


@pytest.mark.parametrize(
    ("text", "decimal", "thousands", "why"),
    [
        ("14,5", ".", None, "table.decimal_comma"),
        ("14,5", ".", ",", "table.decimal_comma"),
        ("14.5", ",", None, "table.decimal_comma"),
        ("14.5", ",", ".", "table.decimal_comma"),
        ("1,4,5", ".", ",", "table.decimal_comma"),
        ("abc", ".", None, "table.not_a_number"),
        ("1e999", ".", None, "table.not_a_number"),
        ("12-14", ".", None, "table.not_a_number"),
        ("#VALUE!", ".", None, "table.formula"),
        ("5 6", ".", None, "table.not_a_number"),
    ],
)
def test_another_notation_is_refused_and_14_5_is_never_145(text, decimal, thousands, why):
    assert code(parse_number, text, "x", decimal=decimal, thousands=thousands) == why


def test_bounds_in_a_declared_notation():
    bound = parse_number("<0,5", "x", decimal=",")
    assert isinstance(bound, Bound)
    assert (bound, bound.value) == ("<0.5", 0.5)


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("0", 0.0), (0, 0.0), (True, 1.0), (Decimal("7.25"), 7.25), ("word", "word"), (date(2020, 1, 2), "2020-01-02"),
        (datetime(2020, 1, 2, 3, 4), "2020-01-02 03:04:00"), ("<0.5", "<0.5"), ("20/40", "20/40"), (float("nan"), None),
        ("未知", None), ("不详", None), (".", None), ("-", None), ("—", None), ("#N/A", None), ("999", 999.0), ("-1", -1.0),
    ],
)  # fmt: skip
def test_cells_without_a_schema(value, cell):
    assert plain_cell("meta.x", value) == cell
    assert type(plain_cell("meta.x", value)) is type(cell) or isinstance(cell, str)


def test_an_eye_called_na_is_no_missing_value():
    assert plain_cell("meta.eye", "NA") == "NA"
    assert plain_cell("meta.sex", "NA") is None


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (float("inf"), "table.not_a_number"),
        ("#REF!", "table.formula"),
        ("7,2%", "table.unit_in_cell"),
        ("a\0b", "table.character"),
    ],
)
def test_cells_that_are_refused_without_a_schema(value, why):
    assert code(plain_cell, "meta.x", value) == why


def test_missing_words_and_codes():
    assert all(is_missing_word(w) for w in ("", "NA", "n/a", "NaN", " 未查 ", "?"))
    assert not any(is_missing_word(w) for w in ("0", "no", "999", "无", "-1"))
    assert is_missing_word("999", frozenset({"999"}))


def test_text_of_times():
    assert text_of(datetime(2020, 1, 2)) == "2020-01-02"
