"""What only the whole table shows: label spellings with counts, two units in one column, old ages."""

from fundusion.core.study import StudyRecord
from fundusion.core.units import KNOWN_COLUMNS
from fundusion.readers.manifest.schema import read_schema
from fundusion.readers.manifest.tally import Tally, only_unit


def test_labels_outside_their_set_are_listed_with_counts():
    schema = read_schema({"columns": {"G": {"to": "label.dr_grade", "type": "category", "map": {"none": "0"}}}})
    tally = Tally(schema)
    for value in ["0", "none", "5", "5", "2.0", " 2", None, "", 3, 7.0]:
        tally.see_row({"G": value})
    assert tally.label_problems() == [
        "label.dr_grade: outside its set ['0', '1', '2', '3', '4']: '5' (2 rows), '2.0' (1 row), ' 2' (1 row), '7' (1 row)"
    ]


def test_one_value_in_several_spellings():
    tally = Tally()
    for value in ["2", "2.0", " 2", "3", "yes", "Yes"]:
        tally.see_row({"label.x": value, "meta.y": value})
    assert tally.label_problems() == [
        "label.x writes one value in several ways: '2' (1 row), '2.0' (1 row), ' 2' (1 row)",
        "label.x writes one value in several ways: 'yes' (1 row), 'Yes' (1 row)",
    ]


def test_quantities_as_labels_are_not_spellings():
    tally = Tally()
    for i in range(1000):
        tally.see_row({"label.thickness": f"{i}.0" if i % 2 else str(i - 1)})
    assert tally.label_problems() == []


def test_notes_on_units_ages_and_conversions():
    tally = Tally()
    for i, (age, glucose) in enumerate([(95.0, 5.5), (90.0, 126.0), (89.0, 7.0), (None, None)]):
        tally.see_record(
            StudyRecord(study_id=str(i), metadata={"age": age, "glucose": glucose}, notes=("meta.va: 20/40 -> 0.3",))
        )
    notes = tally.notes()
    assert "meta.va: 4 cells were converted; each record says how" in notes
    assert any("2 only in mmol/L and 1 only in mg/dL" in n for n in notes)
    assert any(n.startswith("meta.age: 2 ages above 89") for n in notes)
    assert Tally().notes() == []


def test_a_unit_is_named_only_when_it_is_the_only_one():
    assert only_unit(KNOWN_COLUMNS["glucose"], 33) is None
    assert only_unit(KNOWN_COLUMNS["glucose"], 100) == "mg/dL"
    assert only_unit(KNOWN_COLUMNS["height"], 170) == "cm"
