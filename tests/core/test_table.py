"""Cells become numbers with a mask; wrong units, words and ranges are refused, missing is never zero."""

import json

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.table import Column, TableSchema

ROWS = [{"age": 40, "sex": "F"}, {"age": 60, "sex": "male"}, {"age": None, "sex": ""}, {"age": "50", "sex": "女"}]


def test_fit_uses_known_cells_only():
    schema = TableSchema.fit(ROWS)
    age, sex = schema.columns
    assert (age.kind, age.unit, age.mean) == ("number", "years", 50.0)
    assert sex.levels == ("female", "male")


def test_missing_cells_are_masked_and_do_not_enter_as_a_value():
    values, known = TableSchema.fit(ROWS).encode({"age": None, "sex": "M"})
    assert known.tolist() == [False, True]
    assert values.tolist() == [0.0, 1.0]
    _, none = TableSchema.fit(ROWS).encode({})
    assert not none.any()


def test_standardised_value():
    schema = TableSchema.fit(ROWS)
    values, _ = schema.encode({"age": 60})
    assert values[0] == pytest.approx((60 - 50) / np.std([40, 60, 50]))


@pytest.mark.parametrize(
    ("cell", "code"),
    [(20_000, "table.range"), (-1, "table.range"), ("forty", "table.not_a_number"), ("14,5", "table.not_a_number")],
)
def test_implausible_numbers_are_refused(cell, code):
    with pytest.raises(InvalidInput) as error:
        TableSchema.fit(ROWS).encode({"age": cell})
    assert error.value.code == code


def test_unknown_level_is_refused_and_named():
    with pytest.raises(InvalidInput, match="'other'") as error:
        TableSchema.fit(ROWS).encode({"sex": "other"})
    assert error.value.code == "table.level"


def test_round_trip_through_json():
    schema = TableSchema.fit(ROWS)
    assert TableSchema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema


def test_constant_column_does_not_divide_by_zero():
    schema = TableSchema.fit([{"iop": 15}, {"iop": 15}])
    assert schema.columns[0].std == 1.0


def test_free_text_is_not_a_category():
    with pytest.raises(InvalidInput) as error:
        TableSchema.fit([{"note": f"word {i}"} for i in range(100)])
    assert error.value.code == "table.too_many_levels"


def test_bad_columns_are_refused():
    with pytest.raises(InvalidInput):
        Column(name="a", kind="category")
    with pytest.raises(InvalidInput):
        Column(name="a", std=0.0)
    with pytest.raises(InvalidInput):
        TableSchema(columns=(Column(name="a"), Column(name="a")))
    with pytest.raises(InvalidInput):
        TableSchema.fit([{"age": None}], names=["age"])


BOUNDS = [{"crp": 1.0}, {"crp": "<0.5"}, {"crp": 3.0}, {"crp": ">200"}]


def test_bounds_are_refused_without_a_rule_and_never_make_words_of_a_column():
    with pytest.raises(InvalidInput) as error:
        TableSchema.fit(BOUNDS)
    assert error.value.code == "table.censored"
    with pytest.raises(InvalidInput) as error:
        Column(name="crp").encode("<0.5")
    assert error.value.code == "table.censored"


def test_a_rule_makes_numbers_of_bounds_and_travels_with_the_schema():
    schema = TableSchema.fit(BOUNDS, censored={"crp": "bound"})
    column = TableSchema.from_dict(json.loads(json.dumps(schema.to_dict()))).columns[0]
    assert (column.kind, column.mean) == ("number", pytest.approx((1 + 0.5 + 3 + 200) / 4))
    assert column.encode(">200") == column.encode(200)
    missing = TableSchema.fit(BOUNDS, censored={"crp": "missing"})
    assert missing.columns[0].mean == 2.0
    assert missing.columns[0].encode("<0.5") is None
    with pytest.raises(InvalidInput):
        Column(name="crp", censored="guess")


def test_a_column_of_bounds_only_is_no_column():
    with pytest.raises(InvalidInput) as error:
        TableSchema.fit([{"crp": "<1"}], censored={"crp": "missing"})
    assert error.value.code == "table.empty_column"


def test_known_units_apply_without_a_schema():
    schema = TableSchema.fit([{"glucose": 5.0}, {"glucose": 9.0}])
    assert schema.columns[0].unit == "mmol/L"
    with pytest.raises(InvalidInput) as error:
        schema.encode({"glucose": 126})
    assert error.value.code == "table.range"
