"""What pairs of pictures mean for splits, labels, patients and eyes."""

import numpy as np
import pytest

from fundusion.audit.problems import Member, find_problems, summary, to_dict
from fundusion.audit.scan import Scan
from fundusion.audit.twins import Twin
from fundusion.core.study import StudyRecord
from fundusion.core.vocabulary import Laterality


def empty(n, sides=()):
    zeros = np.zeros((n, 4), np.uint64)
    return Scan(
        files=[("cfp", f"/{i}") for i in range(n)],
        digests=np.zeros((n, 32), np.uint8),
        circle=zeros,
        box=zeros,
        sides=np.array([*sides, *([0] * (n - len(sides)))], np.int8),
        usable=np.ones(n, bool),
    )


def member(i, source="set", against=False, **more):
    return Member(
        record=StudyRecord(study_id=f"s{i}", images={"cfp": (f"/{i}",)}, **more), source=source, against=against
    )


def codes(one, two, twin=None, sides=()):
    twin = twin or Twin(first=0, second=1, kind="copy", similarity=0.95)
    return [p.code for p in find_problems([one, two], {0: [0], 1: [1]}, [twin], empty(2, sides))]


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        ({"split": "train"}, {"split": "test"}, "split.leak"),
        ({"labels": {"dr_grade": "3"}}, {"labels": {"dr_grade": 2.0}}, "label.contradiction"),
        ({"labels": {"d": {"N": 1.0, "D": 0.0}}}, {"labels": {"d": {"N": 0.0}}}, "label.contradiction"),
        ({"patient_id": "a"}, {"patient_id": "b"}, "patient.two_ids"),
        ({"laterality": Laterality.RIGHT}, {"laterality": Laterality.LEFT}, "laterality.conflict"),
    ],
)
def test_each_code(first, second, wanted):
    assert codes(member(0, **first), member(1, **second)) == [wanted, "duplicate.near"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"split": "train"}, {"split": "train"}),
        ({"split": "train"}, {}),
        ({"labels": {"dr_grade": "3"}}, {"labels": {"dr_grade": 3.0}}),
        ({"labels": {"dr_grade": "3"}}, {"labels": {"dr_grade": float("nan")}}),
        ({"labels": {"d": {"N": 1.0}}}, {"labels": {"d": {"N": float("nan"), "D": 1.0}}}),
        ({"patient_id": "a"}, {"patient_id": None}),
    ],
)
def test_what_agrees_or_is_not_known_is_no_contradiction(first, second):
    assert codes(member(0, **first), member(1, **second)) == ["duplicate.near"]


def test_a_mirrored_copy_under_the_other_eye_is_no_conflict_of_names():
    twin = Twin(first=0, second=1, kind="copy", variant="mirrored", similarity=0.95)
    eyes = member(0, laterality=Laterality.RIGHT), member(1, laterality=Laterality.LEFT)
    assert codes(*eyes, twin) == ["duplicate.near"]


def test_patients_of_two_sets_are_not_compared_by_id_but_the_overlap_is_told():
    found = find_problems(
        [member(0, "a", patient_id="1"), member(1, "b", patient_id="2"), member(2, "b")],
        {0: [0], 1: [1], 2: [2]},
        [Twin(first=0, second=1, kind="identical")],
        empty(3),
    )
    assert summary(found) == {"input.overlap": 2, "duplicate.exact": 1}
    assert {p.sentence for p in found if p.code == "input.overlap"} == {
        "1 of 1 studies (100%) of a are also in b",
        "1 of 2 studies (50%) of b are also in a",
    }


def test_one_person_is_told_once_with_what_the_table_says():
    eyes = [
        member(0, patient_id="7", metadata={"age": 60.0, "sex": "male"}),
        member(1, patient_id="7", metadata={"age": 60.0, "sex": "male"}),
        member(2, patient_id="9", metadata={"age": 60.0, "sex": "female"}),
        member(3, patient_id="9", metadata={"age": 60.0, "sex": "female"}),
    ]
    twins = [
        Twin(first=0, second=2, kind="alike", similarity=0.6),
        Twin(first=1, second=3, kind="copy", similarity=0.92),
    ]
    found = [p for p in find_problems(eyes, {i: [i] for i in range(4)}, twins, empty(4)) if p.code == "patient.two_ids"]
    assert len(found) == 1
    assert "patients 7 and 9" in found[0].sentence
    assert "s1 and s3 and 1 more" in found[0].sentence
    assert "equal in the table: age; different: sex" in found[0].sentence


def test_against_is_only_compared_with():
    ours, theirs = member(0, "train"), member(1, "test", against=True)
    assert codes(ours, theirs)[0] == "against.overlap"
    both = [p.code for p in find_problems([theirs, member(2, "test", against=True)], {0: [0], 1: [1]},
                                          [Twin(first=0, second=1, kind="identical")], empty(2))]  # fmt: skip
    assert both == []


def test_only_a_stated_eye_can_disagree_with_the_disc():
    right, unknown = member(0, laterality=Laterality.RIGHT), member(1)
    owners = {0: [0], 1: [1]}
    assert find_problems([right, unknown], owners, [], empty(2, (1, -1))) == []
    found = find_problems([right, unknown], owners, [], empty(2, (-1, 1)))
    assert [(p.code, p.studies) for p in found] == [("laterality.disc_side", ("s0",))]
    assert to_dict(found[0])["pair"] is None


def test_one_file_of_two_studies_counts_as_identical():
    found = find_problems([member(0, split="train"), member(0, split="val")], {0: [0, 1]}, [], empty(1))
    assert [p.code for p in found] == ["split.leak", "duplicate.exact"]
