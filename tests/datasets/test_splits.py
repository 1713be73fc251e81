"""Splits never divide a patient and do not depend on what else is there."""

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.study import StudyRecord
from fundusion.datasets._splits import folds_by_patient, position_of, split_by_patient

RECORDS = [
    StudyRecord(study_id=f"{p}-{e}", patient_id=f"p{p}", images={"cfp": ("x",)}) for p in range(400) for e in "RL"
]


def test_both_eyes_are_in_one_part_and_shares_are_kept():
    parts = split_by_patient(RECORDS, {"train": 0.7, "val": 0.1, "test": 0.2})
    assert all(a == b for a, b in zip(parts[::2], parts[1::2], strict=True))
    assert np.mean([p == "train" for p in parts]) == pytest.approx(0.7, abs=0.06)
    folds = folds_by_patient(RECORDS, 5)
    assert set(folds) == set(range(5))
    assert folds[::2] == folds[1::2]


def test_a_patient_keeps_its_part_in_any_company_and_another_seed_changes_it():
    parts = dict(zip([r.study_id for r in RECORDS], split_by_patient(RECORDS, {"a": 0.5, "b": 0.5}), strict=True))
    some = RECORDS[300:100:-7]
    assert split_by_patient(some, {"a": 0.5, "b": 0.5}) == [parts[r.study_id] for r in some]
    other = split_by_patient(RECORDS, {"a": 0.5, "b": 0.5}, seed=1)
    assert np.mean([o == parts[r.study_id] for o, r in zip(other, RECORDS, strict=True)]) == pytest.approx(0.5, abs=0.1)


def test_a_known_value_and_refused_fractions():
    # A split that is written down must never move.
    assert position_of("p1") == pytest.approx(0.986221447865, abs=1e-12)
    with pytest.raises(InvalidInput):
        split_by_patient(RECORDS, {"a": 0.5, "b": 0.6})
    with pytest.raises(InvalidInput):
        folds_by_patient(RECORDS, 1)
