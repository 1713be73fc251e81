"""The section of a page: grouped numbers in words, failures as reasons, scale and pictures."""

import numpy as np
import pytest

from fundusion.biomarkers.eye import EyeFacts, measure_eye
from fundusion.biomarkers.reference import compare
from fundusion.core.cohort import Cohort, CohortEye
from fundusion.core.results import Measurement
from fundusion.report.measured import GROUPS, grouped, measured_section
from fundusion.report.words import title_words


def masks():
    rows, cols = np.mgrid[:300, :300]
    return {
        "vessels": (np.abs(rows - cols) < 4) & (np.abs(cols - 150) < 120),
        "disc": (rows - 150) ** 2 + (cols - 200) ** 2 < 25**2,
        "cup": (rows - 150) ** 2 + (cols - 200) ** 2 < 12**2,
        "EX": (rows - 60) ** 2 + (cols - 150) ** 2 < 5**2,
    }


def section(facts=None, **options):
    found = measure_eye(masks(), facts or EyeFacts(laterality="OD"))
    return measured_section("cfp.1", np.zeros((300, 300, 3), np.uint8), masks(), found, laterality="OD", **options)


def test_every_measurement_stands_once_in_the_page():
    found = measure_eye(masks(), EyeFacts(laterality="OD"))
    groups = grouped(found.measurements)
    assert [g.title for g in groups] == [t for t in GROUPS if t in {g.title for g in groups}]
    shown = sum(len(g.rows) + len(g.more) for g in groups)
    failed = sum(m.failure is not None for m in found.measurements)
    assert shown == len(found.measurements) - failed
    told = "; ".join(titles for g in groups for titles, _ in g.failures)
    whole = [g.title for g in groups if "all of these" in dict(g.failures)]
    for m in found.measurements:
        if m.failure is not None and not m.name.endswith(("_artery", "_vein")):
            assert title_words(m.name) in told or "Calibres around the disc" in whole
    assert {"Arteries", "Veins"} <= set(whole)
    reasons = [reason for g in groups for _, reason in g.failures]
    assert all(r.endswith(".") for r in reasons)
    # A reason stands once in a group, however many numbers it holds for.
    assert all(len({r for _, r in g.failures}) == len(g.failures) for g in groups)


def test_the_scale_is_said():
    assert "estimates" in section().summary
    assert "states" in section(EyeFacts(spacing_um=9.0)).summary
    assert "disc diameters" in section(EyeFacts(estimate_scale=False)).summary
    found = measure_eye(masks(), EyeFacts())
    made = measured_section(
        "cfp.0", np.zeros((300, 300, 3), np.uint8), masks(), found, laterality=None, facts={"field_px": 987.4}
    )
    assert "987 px wide" in made.summary


def test_the_photograph_is_numbered_and_its_side_said():
    made = section()
    assert made.title == "Photograph 2: Right eye (OD)"
    assert [words for _, words in made.panels][1] == "Where the numbers were taken."
    assert all(source.startswith("data:image/jpeg;base64,") for source, _ in made.panels)


def test_rules_are_said_in_words():
    rows = [Measurement(name="isnt", value=v, unit="1", region="disc") for v in (0.0, 1.0)]
    assert [r.value for g in grouped(rows) for r in g.rows] == ["does not follow the rule", "follows the rule"]


@pytest.mark.parametrize(("column", "drawn"), [("vcdr", True), ("crae_zone_b (um)", False)])
def test_a_cohort_becomes_a_plot_or_a_sentence(column, drawn):
    cohort = Cohort(name="c.csv", digest="0", eyes=(CohortEye(patient_id="a", age=50.0, values={column: 0.4}),))
    found = measure_eye(masks(), EyeFacts(laterality="OD"))
    beside = compare(cohort, found.measurements, patient_id="x", metadata={"age": 60}, measured_with="")
    plot = section(comparison=beside).plot
    assert bool(plot.source) is drawn
    assert any("no column" in n for n in plot.notes) is not drawn


def test_a_structure_of_which_nothing_was_measured_is_not_listed_by_name():
    rows = [
        Measurement(name=f"{n}_vessels", value=None, unit="1", region="field", failure="image.too_small")
        for n in ("density", "tortuosity", "lacunarity")
    ]
    (group,) = grouped(rows)
    assert [titles for titles, _ in group.failures] == ["all of these"]
    assert "fewer than half" in group.failures[0][1]
