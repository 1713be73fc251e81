"""Cells by the rules of a schema: units, bounds, dates, words; every conversion is written down (T4 to T9)."""

from datetime import date, datetime

import pytest

from fundusion.core.bound import Bound
from fundusion.core.errors import InvalidInput
from fundusion.readers.manifest.convert import convert_row
from fundusion.readers.manifest.schema import read_schema

TODAY = date(2024, 6, 1)


def one(value, *, row=None, **keys):
    """Return what one cell becomes and the notes."""
    schema = read_schema({"columns": {"X": keys}})
    answer, notes = convert_row(schema, {"X": value, **(row or {})}, today=TODAY)
    values = list(answer.values())
    return (values[0] if len(values) == 1 else tuple(values)), notes


def code(value, **keys):
    with pytest.raises(InvalidInput) as error:
        one(value, **keys)
    return error.value.code


HBA1C = {"to": "meta.hba1c", "type": "number", "unit": "mmol/mol"}
VA = {"to": "meta.va", "type": "number"}
NUMBER = {"to": "meta.x", "type": "number"}


def test_a_declared_unit_converts_with_a_record():
    value, notes = one("53", **HBA1C)
    assert value == pytest.approx(7.0, abs=0.01)
    assert notes == [f"meta.hba1c: 53 mmol/mol -> {value:.6g} %"]
    assert one("7.2", to="meta.hba1c", type="number", unit="%") == (7.2, [])
    assert one("7,2 %", **HBA1C, decimal=",")[0] == 7.2
    assert one("150", to="meta.glucose", type="number", unit="mg/dL", to_unit="mg/dL") == (150.0, [])


def test_the_unit_of_another_column_goes_per_row():
    keys = {"to": "meta.glucose", "type": "number", "unit_column": "U"}
    assert one("126", row={"U": "mg/dL"}, **keys)[0] == pytest.approx(6.99, abs=0.01)
    assert one("7", row={"U": "mmol/L"}, **keys) == (7.0, [])
    assert one("", row={"U": ""}, **keys) == (None, [])
    for unit, why in (("", "table.unit"), ("stones", "unit.unknown")):
        with pytest.raises(InvalidInput) as error:
            one("7", row={"U": unit}, **keys)
        assert error.value.code == why


@pytest.mark.parametrize(
    ("value", "keys", "why"),
    [
        ("5", HBA1C, "table.range"),
        ("53 stones", HBA1C, "table.unit"),
        ("14,5", NUMBER, "table.decimal_comma"),
        ("-1", {**NUMBER, "range": [0, 10]}, "table.range"),
        ("0", {"to": "meta.iop", "type": "number", "unit": "mmHg"}, "table.range"),
        ("121", {"to": "meta.age", "type": "number", "unit": "years"}, "table.range"),
        (float("inf"), NUMBER, "table.not_a_number"),
        ("20/40", {**VA, "unit": "decimal"}, "table.unit"),
        ("0.5", {**VA, "unit": "Snellen"}, "table.acuity"),
        ("1.8", {**VA, "unit": "five-grade"}, "table.range"),
    ],
)
def test_cells_that_contradict_their_rule(value, keys, why):
    assert code(value, **keys) == why


@pytest.mark.parametrize(
    ("value", "unit", "logmar"),
    [
        ("20/40", "Snellen", 0.30103),
        ("6/12", "Snellen", 0.30103),
        ("0.5", "decimal", 0.30103),
        ("70", "letters", 0.3),
        ("4.7", "five-grade", 0.3),
    ],
)
def test_acuity_becomes_logmar(value, unit, logmar):
    got, notes = one(value, **VA, unit=unit)
    assert got == pytest.approx(logmar, abs=1e-5)
    assert notes[0].startswith(f"meta.va: {value} {unit} -> 0.3")


def test_words_below_the_chart_stay_words_unless_asked():
    assert one("CF/30cm", **VA, unit="decimal") == ("counting fingers", [])
    value, notes = one("HM", **VA, unit="decimal", low_vision="schulze-bonsel")
    assert value == pytest.approx(2.301, abs=1e-3)
    assert "schulze-bonsel" in notes[0]
    assert one("无光感", **VA, unit="decimal", low_vision="holladay") == ("no light perception", [])


def test_bounds_are_kept_or_follow_a_rule():
    value, notes = one("<0,5", **NUMBER, decimal=",")
    assert (value, type(value), notes) == ("<0.5", Bound, [])
    assert one("<0.5", **NUMBER, censored="half")[0] == 0.25
    assert one(">200", **NUMBER, censored="bound")[1] == ["meta.x: >200 -> 200 (rule 'bound')"]
    assert one("<0.5", **NUMBER, censored="missing")[0] is None
    assert code(">200", **NUMBER, censored="half") == "table.censored"


def test_bounds_are_converted_and_turn_where_the_scale_turns():
    value, notes = one("<42", **HBA1C)
    assert value.relation == "<"
    assert value.value == pytest.approx(5.994, abs=1e-3)
    assert notes[0].startswith("meta.hba1c: <42 mmol/mol -> <5.99")
    worse, _ = one("<0.05", **VA, unit="decimal")
    assert (worse.relation, worse.value) == (">", pytest.approx(1.301, abs=1e-3))


@pytest.mark.parametrize("value", [None, "", " ", "NA", ".", "未知", float("nan")])
def test_missing_is_missing_and_never_zero(value):
    assert one(value, **NUMBER) == (None, [])
    assert one("0", **NUMBER) == (0.0, [])


@pytest.mark.parametrize(
    ("value", "codes"),
    [("999", ["999"]), ("999.0", ["999"]), (999, ["999"]), (999.0, ["999"]), ("-1", ["-1", "x"]), ("x", ["x"])],
)
def test_codes_of_a_column_are_missing_there_only(value, codes):
    assert one(value, **NUMBER, missing=codes) == (None, [])
    if value != "x":
        assert one(value, **NUMBER)[0] is not None


def test_identifiers_have_no_words_for_missing():
    keys = {"to": "patient_id", "type": "identifier"}
    assert one("NA", **keys)[0] == "NA"
    assert one("0123", **keys)[0] == "0123"
    assert one("NA", **keys, missing=["NA"])[0] is None
    assert code("7 ", **keys) == "table.id_character"
    assert one("7 ", **keys, strip=True)[0] == "7"


def test_an_eye_called_na_is_asked_for():
    keys = {"to": "laterality", "type": "category", "levels": ["OD", "OS"], "map": {"1": "OD", "2": "OS"}}
    assert one("1", **keys) == ("OD", ["laterality: 1 -> OD"])
    assert one(2.0, **keys)[0] == "OS"
    assert code("NA", **keys) == "table.level"
    assert one("NA", **keys, missing=["NA"])[0] is None


@pytest.mark.parametrize("value", ["5", "2.0", " 2", "-100", "R2", "2|3"])
def test_labels_outside_their_set(value):
    keys = {"to": "label.dr_grade", "type": "category"}
    if value == "2|3":
        keys = {"to": "label.x", "type": "category", "levels": ["0", "1"]}
    assert code(value, **keys) == "label.unknown"


def test_labels_that_a_map_explains_and_conflicts():
    keys = {"to": "label.dr_grade", "type": "category", "map": {"2.0": "2"}}
    assert one("2.0", **keys) == ("2", ["label.dr_grade: 2.0 -> 2"])
    assert one(2, **keys)[0] == "2"
    disease = {"to": "label.disease", "type": "category"}
    assert one("D|G", **disease)[0] == "D|G"
    assert code("N|D", **disease) == "label.conflict"
    assert code("D|X", **disease) == "label.unknown"


DATE = {"to": "meta.exam_date", "type": "date"}


def test_dates_become_iso():
    assert one("03/04/1950", **DATE, format="%d/%m/%Y") == ("1950-04-03", [])
    assert one(18326, **DATE, format="excel")[0] == "1950-03-04"
    assert one(datetime(1950, 3, 4, 5), **DATE, format="iso")[0] == "1950-03-04"
    assert one("未知", **DATE, format="iso")[0] is None
    assert code("25/12/1950", **DATE, format="%m/%d/%Y") == "table.date"


def test_days_ahead_and_long_ago():
    assert code("2024-06-02", **DATE, format="iso") == "table.date_future"
    assert one("2024-06-02", **DATE, format="iso", allow_future=True)[0] == "2024-06-02"
    assert code("0195-03-04", **DATE, format="iso") == "table.date"


def history(birth, exam, age=""):
    schema = read_schema(
        {
            "columns": {
                "B": {"to": "meta.birth_date", "type": "date", "format": "iso"},
                "E": {"to": "meta.exam_date", "type": "date", "format": "iso"},
                "A": {"to": "meta.age", "type": "number", "unit": "years"},
            }
        }
    )
    return convert_row(schema, {"B": birth, "E": exam, "A": age}, today=TODAY)[0]


@pytest.mark.parametrize(
    ("birth", "exam", "age", "why"),
    [
        ("2000-01-01", "1999-12-31", "", "table.date_order"),
        ("1880-01-01", "2020-01-01", "", "table.date_order"),
        ("1950-01-01", "2020-01-01", "50", "table.age_conflict"),
        ("2030-01-01", "2020-01-01", "", "table.date_future"),
    ],
)
def test_dates_of_a_life(birth, exam, age, why):
    with pytest.raises(InvalidInput) as error:
        history(birth, exam, age)
    assert error.value.code == why
    assert history("1950-01-01", "2020-06-01", "70")["meta.age"] == 70.0
    assert history("", "2020-06-01", "70")["meta.birth_date"] is None


def test_blood_pressure_is_divided():
    keys = {"to": ["meta.sbp", "meta.dbp"], "type": "blood_pressure"}
    assert one("130/80 mmHg", **keys)[0] == (130.0, 80.0)
    assert one("17.3/10.7", **keys, unit="kPa")[0] == (pytest.approx(129.8, abs=0.1), pytest.approx(80.3, abs=0.1))
    assert one("", **keys)[0] == (None, None)
    assert code("80/130", **keys) == "table.pressure"
    assert code("130/80", **keys, unit="kPa") == "table.range"
    assert code("17/10", **keys) == "table.range"
