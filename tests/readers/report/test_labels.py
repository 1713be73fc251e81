"""Weak labels: what is not said is empty, contradictions are empty and listed, the other eye is never used."""

import pytest

from fundusion.core.vocabulary import Laterality
from fundusion.readers.report import label_report, label_rows, read_report

OD, OS = Laterality.RIGHT, Laterality.LEFT


def labels(text, eye=None):
    return label_report(read_report(text), eye)


@pytest.mark.parametrize(
    ("text", "letter", "value"),
    [
        ("Glaucoma.", "G", 1),
        ("No glaucoma.", "G", 0),
        ("Possible glaucoma.", "G", None),
        ("History of glaucoma.", "G", None),
        ("Mother has glaucoma.", "G", None),
        ("Monitor for glaucoma.", "G", None),
        ("Cataract.", "G", None),
        ("No PDR.", "D", None),
        ("No retinopathy.", "D", 0),
        ("No retinopathy.", "H", 0),
        ("Normal fundus.", "N", 1),
        ("Normal fundus.", "D", 0),
        ("Normal fundus.", "C", None),
        ("Drusen.", "N", 0),
        ("No haemorrhage.", "N", None),
        ("No epiretinal membrane.", "O", None),
        ("Epiretinal membrane.", "O", 1),
    ],
)
def test_letters(text, letter, value):
    assert labels(text).disease[letter] == value


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Mild NPDR.", "1"),
        ("No diabetic retinopathy.", "0"),
        ("Normal fundus.", "0"),
        ("Possible mild NPDR.", None),
        ("NPDR.", None),
        ("Severe NPDR. PDR.", None),
        ("Previously severe NPDR.", None),
        ("No PDR, mild NPDR.", "1"),
        ("R1 M0", None),
    ],
)
def test_grades(text, grade):
    assert labels(text).dr_grade == grade


def test_contradictions_are_empty_and_listed():
    found = labels("Glaucoma. No glaucoma.")
    assert found.disease["G"] is None
    assert found.conflicts == ("glaucoma: said to be present and absent",)
    assert "glaucoma" not in found.findings
    assert labels("Severe NPDR. PDR.").conflicts == ("retinopathy grades 3, 4",)
    both = labels("Normal fundus. Epiretinal membrane.")
    assert both.disease["N"] is None
    assert both.conflicts


def test_an_eye_uses_only_its_own_statements():
    text = "OD: mild NPDR. OS: no diabetic retinopathy, cataract OS."
    assert (labels(text, OD).dr_grade, labels(text, OS).dr_grade) == ("1", "0")
    assert labels(text, OD).disease["C"] is None
    assert labels("Glaucoma OU.", OD).disease["G"] == 1
    # A statement without an eye in a report of both eyes is of neither.
    unknown = labels("Drusen OD. Glaucoma.", OS)
    assert unknown.disease["G"] is None
    assert unknown.notes == ("laterality.not_named",)
    assert labels("Glaucoma.", OS).disease["G"] == 1
    # A row without an eye does not take what is said of one.
    assert labels("Glaucoma OD.").disease["G"] is None
    assert labels("Glaucoma OD.").notes == ("laterality.unknown",)


def test_rows_add_up_and_a_stranger_is_rejected():
    rows = [
        {"report": "Mild NPDR", "laterality": "OD", "patient_id": "7"},
        {"report": None, "laterality": "OD", "patient_id": "7"},
        {"report": "MRN 0099. Glaucoma", "laterality": "OD", "patient_id": "7"},
        {"report": "Glaucoma", "laterality": "both", "patient_id": "7"},
    ]
    seen = []
    table = label_rows(rows, progress=lambda i, n: seen.append((i, n)))
    assert [(i, code) for i, code, _ in table.rejected] == [(2, "identity.other_patient"), (3, "laterality.unknown")]
    assert [r is None for r in table.rows] == [False, False, True, True]
    assert set(table.rows[1].values()) == {""}
    assert table.rows[0]["label.dr_grade"] == "1"
    assert table.rows[0]["label.findings.nonproliferative_diabetic_retinopathy"] == "1"
    assert seen[-1] == (4, 4)
    assert all(p + n + e == 2 for _, p, n, e in table.counts())
