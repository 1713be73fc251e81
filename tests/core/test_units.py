"""Conversions against published pairs and their own inverse; names in two languages; the table of the guide."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import InvalidInput
from fundusion.core.table import KNOWN_COLUMNS as KNOWN_IN_TABLE
from fundusion.core.units import (
    KNOWN_COLUMNS,
    convert,
    recognise,
    recognise_within,
    split_pressure,
    unit_of,
    units_table,
)

PAIRS = [(c, u.name) for c, k in KNOWN_COLUMNS.items() for u in k.units]


@pytest.mark.parametrize(
    ("column", "value", "unit", "to", "expected", "tolerance"),
    [
        # Rounded pairs of laboratories and standards, written down by hand.
        ("hba1c", 48, "mmol/mol", "%", 6.5, 0.05),
        ("hba1c", 42, "mmol/mol", "%", 6.0, 0.05),
        ("hba1c", 10, "%", "mmol/mol", 86, 0.5),
        ("glucose", 7.0, "mmol/L", "mg/dL", 126, 0.2),
        ("glucose", 200, "mg/dL", "mmol/L", 11.1, 0.01),
        ("iop", 21, "mmHg", "kPa", 2.8, 0.001),
        ("sbp", 16, "kPa", "mmHg", 120.01, 0.01),
        ("cholesterol", 200, "mg/dL", "mmol/L", 5.17, 0.005),
        ("hdl", 40, "mg/dL", "mmol/L", 1.03, 0.005),
        ("ldl", 2.6, "mmol/L", "mg/dL", 100.5, 0.1),
        ("triglycerides", 150, "mg/dL", "mmol/L", 1.69, 0.005),
        ("creatinine", 1.0, "mg/dL", "umol/L", 88.4, 0.01),
        ("weight", 150, "lb", "kg", 68.0388555, 1e-6),
        ("height", 70, "in", "cm", 177.8, 1e-9),
        ("height", 1.75, "m", "cm", 175, 1e-9),
        ("age", 18, "months", "years", 1.5, 1e-9),
        ("age", 36525, "days", "years", 100, 1e-9),
        ("pachymetry", 0.545, "mm", "um", 545, 1e-6),
        ("va", 0.5, "decimal", "logMAR", 0.30103, 1e-5),
        ("va", 55, "letters", "logMAR", 0.6, 1e-9),
        ("va", 4.7, "five-grade", "logMAR", 0.3, 1e-9),
        ("va", 5.0, "five-grade", "decimal", 1.0, 1e-9),
        ("va", 85, "letters", "decimal", 1.0, 1e-9),
    ],
)
def test_conversions_agree_with_published_pairs(column, value, unit, to, expected, tolerance):
    assert convert(value, column, unit=unit, to=to) == pytest.approx(expected, abs=tolerance)


def test_triglycerides_and_cholesterol_do_not_share_a_factor():
    assert convert(1, "triglycerides", unit="mmol/L", to="mg/dL") > 2 * convert(1, "hdl", unit="mmol/L", to="mg/dL")


@pytest.mark.parametrize(("column", "unit"), PAIRS)
@given(share=st.floats(0, 1))
def test_there_and_back_is_the_same(column, unit, share):
    found = unit_of(column, unit)
    value = found.low + share * (found.high - found.low)
    back = convert(convert(value, column, unit=unit), column, unit=KNOWN_COLUMNS[column].unit, to=unit)
    assert math.isclose(back, value, rel_tol=1e-9, abs_tol=1e-8)


@pytest.mark.parametrize("column", KNOWN_COLUMNS)
def test_the_ranges_of_all_units_are_one_range(column):
    """A range that was typed in the wrong unit would be far off the converted one."""
    known = KNOWN_COLUMNS[column]
    assert known.low < known.high
    for unit in known.units:
        assert unit.low <= unit.usual[0] < unit.usual[1] <= unit.high
        if column == "va":
            continue
        ends = sorted((unit.forward(unit.low), unit.forward(unit.high)))
        assert ends[0] == pytest.approx(known.low, rel=0.15, abs=0.15)
        assert ends[1] == pytest.approx(known.high, rel=0.15)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ("HbA1c (mmol/mol)", ("hba1c", "mmol/mol")),
        ("糖化血红蛋白(%)", ("hba1c", "%")),
        ("年龄", ("age", None)),
        ("年龄（岁）", ("age", "years")),
        ("眼压 mmHg", ("iop", "mmHg")),
        ("IOP_kPa", ("iop", "kPa")),
        ("视力", ("va", None)),
        ("BCVA (logMAR)", ("va", "logMAR")),
        ("收缩压", ("sbp", None)),
        ("Glucose mg/dL", ("glucose", "mg/dL")),
        ("meta.axial_length", ("axial_length", None)),
        ("pachymetry [µm]", ("pachymetry", "um")),
        ("age group", (None, None)),
        ("dosage", (None, None)),
    ],
)
def test_headers_in_two_languages(header, found):
    assert recognise(header) == found


def test_a_part_of_a_header_names_a_kind_of_a_quantity():
    assert recognise_within("pneumatic_iop") == "iop"
    assert recognise_within("sbp and dbp") is None


def test_no_name_means_two_quantities():
    owners = {}
    for column, known in KNOWN_COLUMNS.items():
        for name in (column, *known.names):
            assert owners.setdefault(name.casefold().replace(" ", "").replace("_", ""), column) == column


@pytest.mark.parametrize("text", ["80/130", "130", "130/80/60", "a/b", "130/130"])
def test_what_is_no_blood_pressure(text):
    with pytest.raises(InvalidInput) as error:
        split_pressure(text)
    assert error.value.code == "table.pressure"


def test_unknown_units_and_quantities_are_refused():
    for call in (lambda: convert(1, "hba1c", unit="mg/dL"), lambda: convert(1, "mood", unit="%")):
        with pytest.raises(InvalidInput) as error:
            call()
        assert error.value.code == "unit.unknown"


def test_every_conversion_names_its_source():
    assert all(k.source for k in KNOWN_COLUMNS.values() if len(k.units) > 1)


def test_there_is_one_place():
    assert KNOWN_IN_TABLE is KNOWN_COLUMNS


def test_the_guide_shows_this_table():
    guide = Path(__file__).parents[2] / "docs" / "guides" / "tables.md"
    assert units_table() in guide.read_text("utf-8"), "write fundusion.core.units.units_table() into the guide"
