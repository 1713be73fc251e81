"""Which eye: headings, prose, what stands before and after; nothing is guessed."""

import pytest

from fundusion.core.vocabulary import Laterality
from fundusion.readers.report import read_report
from fundusion.readers.report.laterality import BOTH, LEFT, RIGHT, EyeMention, eyes_of, find_mentions, place_mentions


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("OD: drusen. MA also seen. OS: ERM.", ["OD", "OD", "OS"]),
        ("The right eye shows drusen, the left eye an ERM.", ["OD", "OS"]),
        ("Drusen in the right eye and ERM in the left eye.", ["OD", "OS"]),
        ("Cataract OD, glaucoma OS.", ["OD", "OS"]),
        ("Cataract, both eyes.", ["OU"]),
        ("Drusen at both maculae.", ["OU"]),
        ("Both drusen and exudates.", ["", ""]),
        ("Left disc oedema; right macular hole.", ["OS", "OD"]),
        ("Cataract, worse in the left eye than the right.", ["OU"]),
        ("Drusen OD>OS", ["OU"]),
        ("He left the clinic with a cataract.", [""]),
        ("Exudates in the left eye. Cataract.", ["OS", ""]),
        ("OD margins blurred, drusen", [""]),
        ("OD: ERM. The fellow eye has drusen.", ["OD", "OS"]),
        ("右眼黄斑前膜，左眼玻璃膜疣。", ["OD", "OS"]),
        ("白内障（右眼），青光眼（左眼）。", ["OD", "OS"]),
        ("玻璃膜疣，双眼。", ["OU"]),
        ("双眼白内障，右重于左。", ["OU"]),
        ("右眼：黄斑前膜。可见出血。\n左眼：白内障", ["OD", "OD", "OS"]),
        ("白内障。", [""]),
    ],
)
def test_eyes(text, expected):
    assert [f.eye for f in read_report(text).findings] == expected


def test_a_heading_is_carried_over_lines_and_prose_is_not():
    assert [f.eye for f in read_report("OD:\n- drusen\n- ERM").findings] == ["OD", "OD"]
    assert [f.eye for f in read_report("The right eye shows drusen.\nERM").findings] == ["OD", ""]


def test_a_heading_of_a_part_keeps_the_eye_and_a_conclusion_begins_anew():
    text = "Right eye:\nFundus: drusen\nMacula: exudates\nImpression: ERM"
    assert [f.eye for f in read_report(text).findings] == ["OD", "OD", ""]


def test_the_other_eye_without_a_first_one_is_nobody():
    (mention,) = find_mentions("the fellow eye has drusen", chinese=False)
    assert mention.eyes == ()
    assert find_mentions("the fellow eye", chinese=False, before=RIGHT)[0].eyes == LEFT


def test_mentions_before_and_after():
    text = "drusen OD, ERM OS"
    placed = place_mentions(text, find_mentions(text, chinese=False), [(0, 6), (11, 14)], chinese=False)
    assert [m.leading for m in placed] == [False, False]
    assert eyes_of(text, (0, 6), placed, carried=()) == (Laterality.RIGHT,)
    assert eyes_of(text, (11, 14), placed, carried=()) == (Laterality.LEFT,)
    assert eyes_of("drusen", (0, 6), [], carried=BOTH) == BOTH
    assert eyes_of("drusen", (0, 6), [], carried=()) == ()
    assert EyeMention(start=0, end=2, eyes=RIGHT).leading
