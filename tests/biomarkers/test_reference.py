"""References by age: right on known cohorts, absent where too few patients stand behind them, and fair to the patient."""

import numpy as np
import pytest

from fundusion.biomarkers.reference import MIN_NEAR, MIN_PATIENTS, compare, smooth
from fundusion.core.cohort import Cohort, CohortEye
from fundusion.core.results import Measurement

VCDR = Measurement(name="vcdr", value=0.5, unit="1", region="disc")


def eyes(count, *, seed=0, sex=None, measured_with="tool", estimated=None, column="vcdr", shift=0.0, prefix="p"):
    rng = np.random.default_rng(seed)
    ages = rng.uniform(40, 70, count)
    return [
        CohortEye(
            patient_id=f"{prefix}{k}", age=float(a), sex=sex, measured_with=measured_with, scale_estimated=estimated,
            values={column: float(0.3 + 0.002 * a + shift + rng.normal(0, 0.05))},
        )
        for k, a in enumerate(ages)
    ]  # fmt: skip


def beside(rows, measurement=VCDR, *, patient_id="x", age=55.0, sex=None, measured_with="tool", left_out=None):
    cohort = Cohort(name="c.csv", digest="0", eyes=tuple(rows), left_out=left_out or {})
    metadata = {"age": age, "sex": sex}
    return compare(cohort, [measurement], patient_id=patient_id, metadata=metadata, measured_with=measured_with)


def test_mean_and_limits_of_a_known_cohort():
    rng = np.random.default_rng(1)
    ages = rng.uniform(20, 80, 3000)
    curves = smooth(ages, 10 - 0.05 * ages + rng.normal(0, 1, 3000))
    middle = (curves.ages > 30) & (curves.ages < 70)
    expected = 10 - 0.05 * curves.ages
    assert np.abs(curves.mean - expected)[middle].max() < 0.2
    assert np.abs(curves.low - (expected - 1.645))[middle].max() < 0.3
    assert np.abs(curves.high - (expected + 1.645))[middle].max() < 0.3


def test_nothing_is_drawn_from_few_patients():
    placed = beside(eyes(MIN_PATIENTS - 1)).placed[0]
    assert placed.curves is None
    assert placed.share_below is None
    assert str(MIN_PATIENTS) in placed.reason
    assert len(placed.points) == MIN_PATIENTS - 1
    assert beside(eyes(200)).placed[0].curves is not None


def test_curves_reach_only_where_enough_are_near():
    ages = np.concatenate([np.full(60, 50.0) + np.linspace(-3, 3, 60), [90.0]])
    curves = smooth(ages, np.ones(61))
    assert curves.ages.max() < 75
    assert (curves.near >= MIN_NEAR).all()
    assert smooth(np.linspace(0, 100, 45), np.ones(45)) is None


def test_an_age_outside_or_unknown_gets_no_place():
    assert "no reference at 90" in beside(eyes(200), age=90.0).placed[0].reason
    unknown = beside(eyes(200), age=None)
    assert unknown.age is None
    assert unknown.placed[0].share_below is None
    assert beside(eyes(200), age=True).age is None


def test_the_share_below_is_where_the_value_lies():
    high = beside(eyes(400), Measurement(name="vcdr", value=0.9, unit="1", region="disc")).placed[0]
    middle = beside(eyes(400), Measurement(name="vcdr", value=0.41, unit="1", region="disc")).placed[0]
    assert high.share_below == pytest.approx(1.0)
    assert middle.share_below == pytest.approx(0.5, abs=0.15)


def test_the_patient_is_not_compared_with_themselves():
    rows = [*eyes(100), *eyes(2, prefix="x", seed=9)]
    rows[-1] = CohortEye(patient_id="me", age=55.0, values={"vcdr": 9.0}, measured_with="tool")
    found = beside(rows, patient_id="me")
    assert len(found.placed[0].points) == 101
    assert found.placed[0].points[:, 1].max() < 1
    assert "left out" in found.notes[0]
    assert "no number" in beside(rows, patient_id=None).notes[0]


def test_two_eyes_of_a_patient_are_one_patient():
    rows = [e for pair in zip(eyes(50, seed=1), eyes(50, seed=2), strict=True) for e in pair]
    placed = beside(rows).placed[0]
    assert (len(placed.points), placed.eyes) == (50, 100)


def test_eyes_measured_otherwise_are_left_out_and_counted():
    found = beside([*eyes(60), *eyes(30, measured_with="other", prefix="q")])
    assert len(found.placed[0].points) == 60
    assert any("30 eyes were left out" in n for n in found.notes)
    unnamed = beside(eyes(60, measured_with=None))
    assert len(unnamed.placed[0].points) == 60
    assert any("does not say" in n for n in unnamed.notes)


def test_lengths_are_compared_only_on_one_kind_of_scale():
    column = "width_vessels (um)"
    rows = [*eyes(60, column=column, estimated=True), *eyes(50, column=column, estimated=False, prefix="q")]
    guess = Measurement(name="width_vessels", value=0.4, unit="um", region="field", flags=("scale.estimated",))
    known = Measurement(name="width_vessels", value=0.4, unit="um", region="field")
    assert len(beside(rows, guess).placed[0].points) == 60
    assert len(beside(rows, known).placed[0].points) == 50
    diameters = Measurement(name="width_vessels", value=0.4, unit="DD", region="field")
    assert beside(rows, diameters).placed == ()


def test_the_same_sex_where_there_are_enough():
    rows = [*eyes(60, sex="female", shift=0.3), *eyes(60, sex="male", prefix="m"), *eyes(30, prefix="u")]
    assert (beside(rows, sex="female").placed[0].sex, beside(rows).placed[0].sex) == ("female", None)
    assert len(beside(rows, sex="female").placed[0].points) == 60
    few = [*eyes(20, sex="female"), *eyes(60, sex="male", prefix="m")]
    assert beside(few, sex="female").placed[0].sex is None
    assert len(beside(few, sex="female").placed[0].points) == 80


def test_a_failed_measurement_and_a_column_that_is_not_there_are_not_placed():
    failed = Measurement(name="vcdr", value=None, unit="1", failure="disc.absent")
    assert beside(eyes(60), failed).placed == ()
    assert beside(eyes(60), Measurement(name="acdr", value=0.3, unit="1", region="disc")).placed == ()


def test_equal_values_have_a_band_of_no_width():
    rows = [CohortEye(patient_id=f"p{k}", age=40.0 + k % 20, values={"vcdr": 0.5}) for k in range(80)]
    curves = beside(rows).placed[0].curves
    assert curves.high == pytest.approx(curves.low)
    one_age = [CohortEye(patient_id=f"p{k}", age=55.0, values={"vcdr": 0.01 * k}) for k in range(80)]
    assert np.isfinite(beside(one_age).placed[0].curves.mean).all()
