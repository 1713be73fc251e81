"""The page of an eye beside a cohort: what is outside is named first, chance is told, no reference is no verdict, everything is text."""

import re

import numpy as np
import pytest

from fundusion.biomarkers.reference import MIN_PATIENTS, compare
from fundusion.core.cohort import Cohort, CohortEye
from fundusion.core.results import Measurement
from fundusion.report.cohort_page import BesidePage, beside_row, outside, render_beside, summary_of

EVIL = '"><script>alert(1)</script>'
VALUES = {"vcdr": 0.75, "width_vessels": 20.0, "length_artery": 5050.0, "tortuosity_vein": 1.1}
UNITS = {"vcdr": "1", "width_vessels": "um", "length_artery": "um", "tortuosity_vein": "1"}


def beside(count=100, *, age=55.0, values=VALUES, sex=None, name="healthy.csv"):
    rng = np.random.default_rng(0)
    middle = {
        "vcdr": (0.4, 0.05),
        "width_vessels (um)": (30.0, 2.0),
        "length_artery (um)": (5000.0, 300.0),
        "tortuosity_vein": (1.1, 0.01),
    }
    eyes = tuple(
        CohortEye(patient_id=f"p{k}", age=float(rng.uniform(40, 70)), values={c: float(rng.normal(*m)) for c, m in middle.items()}, sex=sex)
        for k in range(count)
    )  # fmt: skip
    measured = [
        Measurement(name=n, value=v, unit=UNITS[n], region="field", uncertainty=0.01) for n, v in values.items()
    ]
    cohort = Cohort(name=name, digest="0", eyes=eyes)
    return compare(cohort, measured, patient_id="x", metadata={"age": age, "sex": sex}, measured_with=""), measured


def page(found, measured, **more):
    facts = {"name": "eye 1", "laterality": "OD", "person": [("age", "55 years")]}
    return render_beside(BesidePage(**{**facts, "comparison": found, "measurements": measured, **more}))


def words(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html.split("</style>")[1]).split())


def test_what_lies_outside_is_named_first_with_its_side():
    found, measured = beside()
    low, high = outside(found)
    assert [p.measurement.name for p in low] == ["width_vessels"]
    assert [p.measurement.name for p in high] == ["vcdr"]
    assert summary_of(found) == {
        "cohort": "healthy.csv",
        "references": 4,
        "below": ["width_vessels"],
        "above": ["vcdr"],
    }
    told = words(page(found, measured))
    assert "2 of 4 measurements lie outside of the 5-95 % band" in told
    assert (
        told.index("Outside of the band")
        < told.index("below the band")
        < told.index("above the band")
        < told.index("Against age")
    )
    assert "About 0 of 4 would lie outside by chance alone" in told
    assert "healthy.csv, which is not a norm" in told


def test_an_eye_inside_is_said_to_be_inside():
    found, measured = beside(values={"tortuosity_vein": 1.1})
    told = words(page(found, measured))
    assert "All 1 measurements lie inside" in told
    assert "Outside of the band" not in told


@pytest.mark.parametrize(("count", "age", "why"), [(MIN_PATIENTS - 1, 55.0, "40 are needed"), (100, None, "age of the patient is not known"), (100, 95.0, "no reference at 95 years")])  # fmt: skip
def test_without_a_reference_there_is_a_reason_and_no_verdict(count, age, why):
    found, measured = beside(count, age=age)
    assert outside(found) == ([], [])
    told = words(page(found, measured))
    assert "No measurement has a reference at this age" in told
    assert why in told
    assert "the band of" not in told
    assert "by chance" not in told


def test_a_row_tells_value_mean_band_and_whom_it_is_compared_with():
    found, _ = beside(sex="female")
    rows = {p.measurement.name: beside_row(p, found.age) for p in found.placed}
    width = rows["width_vessels"]
    assert width.value == "20 µm ± 0.01"
    assert re.fullmatch(r"(29|30)\.?\d* µm", width.mean)
    assert re.fullmatch(r"2\d\.\d to 3\d\.?\d* µm", width.band)
    assert (width.standing, width.side, width.patients) == ("0% lie below", "below", "100 women")
    assert rows["tortuosity_vein"].side == ""
    # Around five millimetres the limits are told in different units, each with its own.
    assert re.fullmatch(r"\d+ µm to \d\.\d+ mm", rows["length_artery"].band)


def test_the_page_stands_alone_and_treats_all_as_text():
    found, measured = beside(name=EVIL)
    failed = Measurement(name="crae_zone_b", value=None, unit="um", region="zone B", failure="disc.absent")
    html = page(
        found,
        [*measured, failed],
        name=EVIL,
        person=[("patient", EVIL)],
        warnings={EVIL: EVIL},
        ages=b"\x89PNG",
        zones=None,
    )
    assert "<script" not in html
    assert "alert(1)" in html
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", html)
    assert "default-src 'none'" in html
    assert html.count('src="data:image/png;base64,') == 1
    told = words(html)
    assert "Masks to look at first" in told
    assert "There is no optic disc to measure from." in told
    assert "not a medical device" in told.lower()


def test_a_table_without_a_column_of_this_eye_says_so():
    found, measured = beside(values={})
    told = words(page(found, measured))
    assert "no column of a measurement of this eye" in told
