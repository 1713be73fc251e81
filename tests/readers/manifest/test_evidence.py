"""Counts of what the cells of a column are, without keeping the cells."""

import sys

import pytest

from fundusion.readers.manifest.evidence import MOST_WORDS, ColumnEvidence, gather, notation_of


def seen(name, *cells):
    evidence = ColumnEvidence(name)
    for cell in cells:
        evidence.add(cell)
    return evidence


def test_kinds_of_cells_are_told_apart():
    e = seen(
        "x",
        "14.5",
        "14,5",
        "1,450",
        "<0.5",
        "2020-01-02",
        "3/4/50",
        "20/40",
        "130/80",
        "a.jpg",
        "OD",
        "word",
        "",
        "NA",
        None,
        7,
    )
    assert (e.cells, e.empty, e.known) == (15, 2, 12)
    assert dict(e.notation) == {"plain": 2, "comma": 1, "either": 1}
    assert (e.date_cells, e.short_years, e.fractions, e.pressures, e.files, e.eyes) == (1, 1, 1, 1, 1, 1)
    assert (dict(e.bounds), dict(e.missing)) == ({"<0.5": 1}, {"NA": 1})
    assert dict(e.odd) == {"OD": 1, "word": 1}


def test_units_that_a_number_can_be_in():
    e = seen("HbA1c", "7.1", "53", "17", "250", "8 %", "60 mmol/mol")
    assert dict(e.only) == {"%": 1, "mmol/mol": 1}
    assert dict(e.plausible) == {"%": 2, "mmol/mol": 2}
    assert dict(e.cell_units) == {"%": 1, "mmol/mol": 1}
    assert dict(e.outside) == {250.0: 1}


def test_codes_do_not_move_the_range():
    e = seen("age", "40", "70", "999", "-1", "-1")
    assert (e.low, e.high, dict(e.codes)) == (40, 70, {999: 1, -1: 2})


def test_headers():
    assert (seen("眼压(kPa)").quantity, seen("眼压(kPa)").stated_unit, seen("眼压(kPa)").is_named) == (
        "iop",
        "kPa",
        True,
    )
    assert (seen("perkins_iop").quantity, seen("perkins_iop").is_named) == ("iop", False)


def test_repeated_identifiers_are_counted():
    assert seen("ID", "1", "2", "1", "1").repeated == 2


def test_memory_does_not_grow_with_the_column():
    e = ColumnEvidence("note")
    for i in range(20_000):
        e.add(f"free text number {i}")
    assert len(e.words) == MOST_WORDS
    assert e.has_more_words
    assert len(e.odd) <= MOST_WORDS
    assert sum(sys.getsizeof(getattr(e, name)) for name in e.__dataclass_fields__) < 50_000


@pytest.mark.parametrize(
    ("text", "kind"),
    [("0.123", "plain"), ("1.450", "plain or group"), ("0,450", "comma"), ("1,45,0", None), ("1,2,3", None)],
)
def test_notations(text, kind):
    assert notation_of(text) == kind


def test_rows():
    columns = {"a": ColumnEvidence("a"), "b": ColumnEvidence("b")}
    gather(columns, {"a": "1"})
    assert (columns["a"].numbers, columns["b"].empty) == (1, 1)
