"""How cues add up."""

import pytest

from fundusion.readers.report.context import EYE, TERM, Cue, add_up, compile_cues, find_cues, mask, reaching


def cue(kind, *, forward=True, start=0):
    return Cue(kind=kind, forward=forward, start=start, end=start + 1, text="x")


@pytest.mark.parametrize(
    ("kinds", "status"),
    [
        ([], "present"),
        (["absent"], "absent"),
        (["uncertain"], "uncertain"),
        (["absent", "uncertain"], "uncertain"),
        (["history"], "history"),
        (["absent", "history"], "absent"),
        (["affirmed", "absent"], "present"),
        (["conditional", "absent"], "conditional"),
        (["family"], "family"),
        (["family", "absent"], None),
    ],
)
def test_sums(kinds, status):
    assert add_up([cue(k) for k in kinds]) == status


def test_what_is_said_after_beats_doubt_before():
    assert add_up([cue("uncertain"), cue("absent", forward=False)]) == "absent"
    assert add_up([cue("conditional"), cue("absent", forward=False)]) == "absent"


def test_sections_and_plans():
    assert add_up([], section="family") == "family"
    assert add_up([], section="history") == "history"
    assert add_up([], section="plan", kind="treatment") == "conditional"
    assert add_up([], section="plan") == "present"


def test_mask_keeps_the_length():
    hidden = mask("No MA İ OD", [(3, 5)], [(8, 10)], [])
    assert len(hidden) == 10
    assert hidden[3:5] == TERM * 2
    assert hidden[8:] == EYE * 2


def test_a_reach_that_cannot_be_told_is_doubt_and_far_cues_are_not_asked():
    cues = [cue("absent", start=i) for i in range(40)]
    asked = []
    found = reaching(cues, (100, 101), lambda c, item, near: asked.append(c.start) or None)
    assert {c.kind for c in found} == {"uncertain"}
    assert len(asked) < 40
    assert max(asked) == 39


def test_the_longer_cue_wins():
    pattern = compile_cues({("absent", "forward"): ("no",), ("history", "forward"): ("no longer",)})
    assert [c.kind for c in find_cues(pattern, "no longer")] == ["history"]
