"""Plots against age: the patient, the cohort and its n are drawn; no curve without enough patients."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from fundusion.biomarkers.reference import MIN_PATIENTS, compare
from fundusion.core.cohort import Cohort, CohortEye
from fundusion.core.results import Measurement
from fundusion.report.age_plots import age_plot_files, plotted, sheet_size


def comparison(count, *, age=55.0, names=("vcdr", "acdr", "isnt")):
    rng = np.random.default_rng(0)
    eyes = tuple(
        CohortEye(patient_id=f"p{k}", age=float(rng.uniform(40, 70)), values={n: float(rng.normal(0.4, 0.05)) for n in names})
        for k in range(count)
    )  # fmt: skip
    cohort = Cohort(name="my <eyes>.csv", digest="0", eyes=eyes)
    measured = [Measurement(name=n, value=0.5, unit="1", region="disc") for n in names]
    return compare(cohort, measured, patient_id="x", metadata={"age": age}, measured_with="")


def drawing(found):
    return ElementTree.fromstring(age_plot_files(found, "cfp.0", laterality="OD")["cfp.0.age.svg"])


def words(root):
    return [e.text for e in root.iter() if e.tag.endswith("text")]


def count(root, tag):
    return sum(e.tag.endswith(tag) for e in root.iter())


def test_patients_curves_and_the_patient_are_drawn():
    found = comparison(100)
    assert [p.measurement.name for p in plotted(found)] == ["vcdr", "acdr"]
    root = drawing(found)
    assert count(root, "circle") == 200
    # A band and two diamonds for each plot.
    assert count(root, "polygon") == 6
    told = words(root)
    assert told[0] == "Right eye (OD) against the ages of a cohort"
    assert any("my <eyes>.csv" in w and "not a norm" in w and str(MIN_PATIENTS) in w for w in told)
    assert sum("n = 100 patients, 100 eyes" in w for w in told) == 2


def test_few_patients_get_points_and_a_reason_but_no_band():
    root = drawing(comparison(MIN_PATIENTS - 1))
    assert count(root, "polygon") == 4
    assert sum("patients; 40 are needed" in w for w in words(root)) == 2


def test_an_unknown_age_is_a_dashed_line_without_a_place():
    root = drawing(comparison(100, age=None))
    assert sum("stroke-dasharray" in e.attrib for e in root.iter()) == 2
    assert any("age not known" in w for w in words(root))


@pytest.mark.parametrize("empty", [comparison(0), comparison(80, names=("isnt",))])
def test_nothing_to_plot_gives_no_file(empty):
    assert age_plot_files(empty, "cfp.0", laterality=None) == {}
    assert sheet_size(empty)[1] > 0


def test_files_are_the_same_each_time():
    first, second = (age_plot_files(comparison(60), "a", laterality="OS") for _ in range(2))
    assert first == second
    assert set(first) == {"a.age.png", "a.age.svg"}
