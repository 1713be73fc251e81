"""The document of a report: what was used, what was missing and what it would have added."""

import numpy as np
import pytest

from fundusion.core.results import Explanation, ModalityUse, Prediction, Quality, StudyResult
from fundusion.core.study import Image, Study
from fundusion.core.tasks import STANDARD_TASKS
from fundusion.report.compose import compose_report, provenance_rows
from fundusion.report.findings import compose_findings

TASKS = {"disease": STANDARD_TASKS["disease"]}


def document(*, over=None, metadata=None, explanation=(), modalities=None):
    p = dict.fromkeys(TASKS["disease"].labels, 0.01) | (over or {"N": 0.9})
    predictions = {
        "disease": Prediction(task="disease", kind="multilabel", probabilities=p, thresholds=dict.fromkeys(p, 0.3))
    }
    study = Study(
        study_id="s",
        images={"cfp": (Image(pixels=np.zeros((64, 64, 3), np.uint8), modality="cfp"),)},
        metadata=metadata or {},
    )
    quality = Quality(gradable=True, score=0.9, reasons=("quality.haze",))
    result = StudyResult(
        study_id="s", patient_id=None, laterality=None, status="ok", code="ok", quality=quality, predictions=predictions,
        findings=compose_findings(predictions, tasks=TASKS, quality=quality),
        modalities=modalities or {"cfp": ModalityUse(present=True, used=True, share=1.0), "table": ModalityUse(present=False, used=False)},
    )  # fmt: skip
    return compose_report(
        result,
        study=study,
        explanation=explanation,
        agreements=(),
        tasks=TASKS,
        would_add={"table": "on held-out patients it added +0.005 AUROC on average"},
        columns={"age": ("Age", "years")},
    )


@pytest.mark.parametrize(
    ("over", "tone", "word"),
    [({"N": 0.9}, "absent", ""), ({"G": 0.95}, "present", "glaucoma"), ({"G": 0.3}, "uncertain", "glaucoma")],
)
def test_the_headline_follows_the_findings(over, tone, word):
    made = document(over=over)
    assert made.tone == tone
    assert word in made.headline.lower()


def test_a_missing_modality_says_what_it_would_have_added():
    rows = {r.name: r for r in document().modalities}
    missing = next(r for r in rows.values() if r.state == "missing")
    assert "+0.005" in missing.text
    assert [r.value for r in rows.values() if r.state == "used"] == [1.0]


def test_cells_are_shown_with_units_and_missing_ones_as_missing():
    rows = document(metadata={"age": 61.0, "hba1c": None}).table
    assert [(r.name, r.text) for r in rows] == [("Age", "61 years"), ("Hba1c", "missing")]


def test_a_bound_has_a_unit_and_a_word_in_its_place_has_none():
    words = [document(metadata={"age": cell}).table[0].text for cell in ("<0.5", "counting fingers", 61.0)]
    assert words == ["<0.5 years", "counting fingers", "61 years"]


def test_pictures_with_a_map_are_shown_twice_and_contributions_are_grouped():
    e = Explanation(
        task="disease", target="G", method="cam", heatmaps={"cfp": (np.ones((64, 64), np.float32),)}, shapley={"cfp": 0.3},
        columns={"age": 0.05}, phrases={"no glaucoma": -0.2},
    )  # fmt: skip
    made = document(explanation=(e,))
    assert len(made.panels) == 2
    assert "glaucoma" in made.panels[1].caption
    ((title, rows),) = made.contributions
    assert "glaucoma" in title
    assert [r.value for r in rows] == [0.3, 0.05, -0.2]


def test_provenance_is_flat():
    rows = dict(
        provenance_rows({"model": "m", "preprocessing": {"cfp": "x"}, "input_sha256": ["a", "b"], "none": None})
    )
    assert rows == {"model": "m", "preprocessing, cfp": "x", "input sha256 1": "a", "input sha256 2": "b"}
