"""Chinese: negation and where it ends, doubt, history, plans, relatives."""

import pytest

from fundusion.readers.report import read_report
from fundusion.readers.report.chinese import cues_of, treatment_status

P, A, U, H, C, F = "present", "absent", "uncertain", "history", "conditional", "family"


def said(text):
    return [f.status for f in read_report(text).findings]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("未见出血", [A]),
        ("无出血", [A]),
        ("未见明显渗出", [A]),
        ("未见出血、渗出及水肿", [A, A, A]),
        ("未见出血、渗出，黄斑区玻璃膜疣", [A, A, P]),
        ("未见出血，渗出", [A, A]),
        ("未见出血，青光眼", [A, P]),
        ("未见出血但可见渗出", [A, P]),
        ("未见出血，但有渗出", [A, P]),
        ("出血（-），渗出（+）", [A, P]),
        ("出血：无", [A]),
        ("分级0级：无明显糖尿病视网膜病变", [A]),
        ("可能没有糖尿病视网膜病变", [U]),
        ("糖尿病视网膜病变可能不存在", [U]),
        ("可能无出血", [U]),
        ("不存在出血", [A]),
        ("出血、渗出均未见", [A, A]),
        ("并非没有出血", [P]),
        ("出血未见增多", [P]),
        ("出血未吸收", [P]),
        ("水肿较前减轻", [P]),
        ("不除外青光眼", [U]),
        ("青光眼不除外", [U]),
        ("不能排除早期青光眼", [U]),
        ("考虑青光眼", [U]),
        ("可疑青光眼", [U]),
        ("青光眼可疑", [U]),
        ("青光眼待排", [U]),
        ("待排青光眼", [U]),
        ("建议排除青光眼", [U]),
        ("已排除青光眼", [A]),
        ("青光眼？", [U]),
        ("既往视网膜脱离", [H]),
        ("否认青光眼病史", [A]),
        ("出血已吸收", [H]),
        ("视网膜脱离复位术后，视网膜在位", [H, A]),
        ("有青光眼病史", [H]),
        ("母亲有青光眼", [F]),
        ("青光眼家族史", [F]),
        ("无青光眼家族史", []),
        ("如出现闪光感，及时就诊", [C]),
        ("糖网筛查", [C]),
        ("青光眼筛查：阴性", [A]),
        ("建议行激光治疗", [C]),
        ("全视网膜激光光凝术后", [H]),
        ("未行激光治疗", [A]),
    ],
)
def test_status(text, expected):
    assert said(text) == expected


def test_a_cue_at_the_end_of_its_clause_looks_back():
    assert [c.forward for c in cues_of("不除外\x01\x01,\x01\x01不除外")] == [True, False]


def test_treatments():
    assert treatment_status("拟行\x01\x01", (2, 4)) == "conditional"
    assert treatment_status("曾行\x01\x01", (2, 4)) == "history"
    assert treatment_status("\x01\x01", (0, 2)) is None
