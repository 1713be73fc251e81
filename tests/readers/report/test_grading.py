"""Graded words -> scales; two grades give none."""

import pytest

from fundusion.readers.report import read_report
from fundusion.readers.report.grading import find_grades, severity_of


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("mild NPDR", ("icdr", "1")),
        ("moderate non-proliferative diabetic retinopathy", ("icdr", "2")),
        ("severe NPDR", ("icdr", "3")),
        ("NPDR (mild)", ("icdr", "1")),
        ("双眼NPDR（中度）", ("icdr", "2")),
        ("NPDR, mild", ("icdr", "1")),
        ("PDR", ("icdr", "4")),
        ("mild to moderate NPDR", None),
        ("NPDR", None),
        ("no diabetic retinopathy", ("icdr", "0")),
        ("DR grade 0", ("icdr", "0")),
        ("ICDR grade 3", ("icdr", "3")),
        ("R3 M0", ("icdr", "4")),
        ("R1", ("nhs", "R1")),
        ("糖尿病视网膜病变Ⅳ期", ("icdr", "4")),
        ("糖网VI期", ("icdr", "4")),
        ("轻度非增殖期糖尿病视网膜病变", ("icdr", "1")),
        ("early AMD", ("beckman", "early")),
        ("晚期年龄相关性黄斑变性", ("beckman", "late")),
        ("AMD, AREDS category 3", ("areds", "3")),
        ("AREDS category 3", ("areds", "3")),
        ("advanced glaucoma", ("glaucoma", "advanced")),
        ("META-PM category 2", ("meta_pm", "2")),
        ("Grade 2 hypertensive retinopathy", ("hypertensive", "2")),
        ("hypertensive retinopathy Scheie grade 2", ("scheie", "2")),
    ],
)
def test_grades(text, grade):
    assert read_report(text).findings[0].grade == grade


def test_a_grade_of_zero_says_absent():
    assert [(f.code, f.status) for f in read_report("DR grade 0, DME grade 0.").findings] == [
        ("diabetic_retinopathy", "absent"),
        ("diabetic_macular_oedema", "absent"),
    ]
    assert [g.absent for g in find_grades("R0 M0")] == [True, True]


def test_one_grade_per_eye():
    found = read_report("ICDR分级：右眼2级，左眼3级。").findings
    assert [(f.eye, f.grade) for f in found] == [("OD", ("icdr", "2")), ("OS", ("icdr", "3"))]


def test_a_severity_belongs_to_its_own_finding():
    text = "severe cataract, NPDR"
    assert severity_of(text, 7, 15) == "severe"
    assert severity_of(text, 17, 21) is None
