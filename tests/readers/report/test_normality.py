"""A whole eye that is normal, and what is repeated for the other eye."""

import pytest

from fundusion.readers.report import read_report


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OD: ERM. OS normal.", [("epiretinal_membrane", "present", "OD"), ("normal_fundus", "present", "OS")]),
        ("The left eye is unremarkable.", [("normal_fundus", "present", "OS")]),
        ("Both discs normal.", []),
        ("Left eye normal except for drusen.", [("drusen", "present", "OS")]),
        ("MA OD, none OS.", [("microaneurysm", "present", "OD"), ("microaneurysm", "absent", "OS")]),
        ("右眼底正常，左眼出血。", [("normal_fundus", "present", "OD"), ("haemorrhage", "present", "OS")]),
        ("除右眼玻璃膜疣外未见异常。", [("drusen", "present", "OD")]),
        ("右眼出血，左眼未见。", [("haemorrhage", "present", "OD"), ("haemorrhage", "absent", "OS")]),
        ("双眼眼压正常。", []),
        ("双眼：视盘、黄斑、血管未见明显异常。", [("normal_fundus", "present", "OU")]),
    ],
)
def test_normal_and_repeated(text, expected):
    assert [(f.code, f.status, f.eye) for f in read_report(text).findings] == expected
