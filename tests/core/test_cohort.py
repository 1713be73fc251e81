"""Columns of measurements and eyes of a cohort."""

import pytest

from fundusion.core.cohort import CohortEye, column_of
from fundusion.core.errors import InvalidInput


def test_another_unit_or_sector_is_another_column():
    names = {
        column_of("EX_area", "um^2", "field"), column_of("EX_area", "DD^2", "field"), column_of("EX_area", "um^2", "ETDRS centre")
    }  # fmt: skip
    assert len(names) == 3
    # A zone is part of the name already.
    assert column_of("crae_zone_b", "um", "zone B") == "crae_zone_b (um)"


@pytest.mark.parametrize(("age", "value"), [(float("nan"), 1.0), (-1.0, 1.0), (140.0, 1.0), (50.0, float("inf"))])
def test_impossible_eyes_are_refused(age, value):
    with pytest.raises(InvalidInput):
        CohortEye(patient_id="a", age=age, values={"vcdr": value})
