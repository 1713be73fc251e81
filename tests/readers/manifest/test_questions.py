"""What cells decide is written; what can be two things is asked, with both choices (T4, T5, T6, T7)."""

import tomllib

import pytest

from fundusion.readers.manifest.evidence import ColumnEvidence
from fundusion.readers.manifest.questions import Draft, date_lines, number_lines, serial_lines, toml


def draft_of(name, cells, write=number_lines):
    evidence = ColumnEvidence(name)
    for cell in cells:
        evidence.add(cell)
    draft = Draft(name)
    write(draft, evidence)
    return draft


def decided(draft):
    return tomllib.loads(draft.text)["columns"][draft.source]


def choices(draft, key):
    """Return the values a person may take the comment sign off."""
    found = []
    for line in draft.lines:
        if line.startswith(f"# {key} = "):
            found.append(tomllib.loads(line[2:])[key])
    return found


GOOD = [str(5 + i / 10) for i in range(50)]


@pytest.mark.parametrize(
    ("name", "cells", "unit"),
    [
        ("HbA1c", GOOD, "%"),
        ("HbA1c", [str(x) for x in range(30, 90)], "mmol/mol"),
        ("HbA1c (IFCC)", [str(x) for x in range(30, 90)], "mmol/mol"),
        ("glucose", [str(x) for x in range(70, 300, 5)], "mg/dL"),
        ("血糖", ["5.1", "7.3", "11.0"], "mmol/L"),
        ("IOP", [str(x) for x in range(10, 30)], "mmHg"),
        ("pachymetry", ["0.545", "0.510"], "mm"),
        ("creatinine", ["70", "88", "120"], "umol/L"),
        ("axial_length", ["23.1", "24"], "mm"),
        ("年龄", ["20", "45", "90"], "years"),
        ("age (months)", ["3", "14"], "months"),
        ("VA", ["20/20", "20/40", "CF"], "Snellen"),
        ("height", ["1.62", "1.80"], "m"),
    ],
)
def test_one_unit_that_fits(name, cells, unit):
    draft = draft_of(name, cells)
    assert not draft.open_keys, draft.reasons
    assert decided(draft)["unit"] == unit


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("HbA1c", [*GOOD, "53", "48"]),
        ("HbA1c (%)", ["53", "48", "60"]),
        ("glucose", ["5.5", "7.1", "126", "140"]),
        ("glucose", ["31", "33", "34"]),
        ("IOP", ["6", "7", "8"]),
        ("age", ["3", "9", "14", "30"]),
        ("duration", ["3", "9", "14", "30"]),
        ("VA", ["0.1", "0.5", "1.0"]),
        ("VA", ["20/40", "0.5"]),
        ("weight", ["60", "80", "95"]),
        ("cholesterol", ["5.2", "200"]),
    ],
)
def test_units_that_are_not_certain_are_asked_for(name, cells):
    draft = draft_of(name, cells)
    assert draft.open_keys == ["unit"]
    assert "unit" not in decided(draft)
    assert len(choices(draft, "unit")) >= 2


def test_a_mixture_says_how_many_cells_are_which():
    assert (
        "50 numbers are usual only in % and 2 numbers are usual only in mmol/mol"
        in draft_of("HbA1c", [*GOOD, "53", "48"]).reasons[0]
    )


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["14,5", "12,25", "9"], {"decimal": ","}),
        (["14,5", "1,450"], {"decimal": ","}),
        (["1.234,5", "14,5"], {"decimal": ",", "thousands": "."}),
        (["1,234.5", "999"], {"thousands": ","}),
        (["14.5", "9"], {}),
        (["1.450", "14.5"], {}),
    ],
)
def test_notations_that_are_certain(cells, expected):
    draft = draft_of("x", cells)
    assert not draft.open_keys
    assert {k: v for k, v in decided(draft).items() if k != "type"} == expected


@pytest.mark.parametrize(
    ("cells", "key"),
    [
        (["1,450", "2,300"], "decimal"),
        (["14,5", "14.5"], "decimal"),
        (["14,5", "1.450"], "thousands"),
        (["14,5", "1,234.5"], "decimal"),
    ],
)
def test_notations_that_are_two_things(cells, key):
    draft = draft_of("x", cells)
    assert draft.open_keys == [key]
    assert len(choices(draft, key)) == 2


@pytest.mark.parametrize(
    ("name", "cells", "codes"),
    [
        ("age", [*map(str, range(30, 80)), "999"], ["999"]),
        ("IOP", [*map(str, range(10, 30)), "-1", "0"], ["-1", "0"]),
        ("x", ["1", "2", "3", "-1"], ["-1"]),
        ("x", ["1", "2", "3", "99"], ["99"]),
        ("age", [*map(str, range(30, 80)), "99", "99", "99"], ["99"]),
        ("VF MD", ["-2.5", "-1", "-30.1", "-99"], ["-99"]),
    ],
)
def test_codes_that_may_be_values_are_asked_for(name, cells, codes):
    draft = draft_of(name, cells)
    assert "missing" in draft.open_keys
    assert choices(draft, "missing") == [codes, []]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("VF MD", ["-12.5", "-1", "-9", "0"]),
        ("age", ["88", "90", "70"]),
        ("x", ["0", "1", "9", "12"]),
        ("IOP", ["9", "14", "20"]),
    ],
)
def test_values_that_only_look_like_codes(name, cells):
    assert "missing" not in draft_of(name, cells).open_keys


def test_bounds_are_kept_and_said():
    draft = draft_of("crp", ["1.5", "<0.5"])
    assert decided(draft)["censored"] == "keep"
    assert any("network needs a rule" in line for line in draft.lines)


@pytest.mark.parametrize(
    ("cells", "layout"),
    [
        (["03/04/1950", "25/12/1950"], "%d/%m/%Y"),
        (["03/04/1950", "12/25/1950"], "%m/%d/%Y"),
        (["1950-03-04"], "%Y-%m-%d"),
        (["1950年3月4日"], "%Y年%m月%d日"),
    ],
)
def test_one_date_order_that_reads_all(cells, layout):
    assert decided(draft_of("dob", cells, date_lines))["format"] == layout


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["03/04/1950", "05/06/1960"], "reads in 2 ways"),
        (["25/12/1950", "12/25/1950"], "two orders are mixed"),
        (["3/4/50"], "two digits"),
    ],
)
def test_date_orders_that_are_not_certain(cells, words):
    draft = draft_of("dob", cells, date_lines)
    assert draft.open_keys == ["format"]
    assert words in draft.reasons[0]


def test_serial_days_of_two_systems_are_asked_for():
    draft = draft_of("dob", ["18326", "20000"], lambda d, e: serial_lines(d, e, "excel1904"))
    assert choices(draft, "format") == ["excel", "excel1904"]
    assert "The workbook says excel1904" in draft.reasons[0]
    assert "1954-10-03" in draft.text
    assert "1958-10-04" in draft.text


@pytest.mark.parametrize("value", [["a", 'b"c'], {"1": "OD", "二": "x"}, 1.5, 2.0, True, "\\", [], {}])
def test_values_are_written_as_toml(value):
    assert tomllib.loads(f"x = {toml(value)}")["x"] == value
