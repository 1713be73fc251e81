"""Reports say what was seen, in English and Chinese; a history says nothing that a picture shows."""

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.vocabulary import Laterality
from fundusion.datasets._drawn.patient import EyeFacts, draw_patient
from fundusion.datasets._drawn.reports import draw_report


def facts(**changes):
    patient = draw_patient(np.random.default_rng(0))
    return EyeFacts(patient=patient, laterality=Laterality.LEFT, grade=2, cup_to_disc=0.4, iop=14.0, **changes)


def report(eye, **options):
    options = {"seen": {"HE", "MA"}, "modalities": ("cfp", "oct"), "omit": 0.0, **options}
    return draw_report(np.random.default_rng(1), eye, **options)


def test_findings_are_written_and_their_absence_too():
    text = report(facts(fluid=True)).lower()
    assert "haemorrhage" in text or "hemorrhage" in text
    assert "left" in text or " os" in text
    assert "出血" in report(facts(fluid=True), language="zh")
    assert report(facts(fluid=True)) != report(facts(fluid=False))


def test_a_history_does_not_depend_on_what_pictures_show():
    one = report(facts(fluid=True), content="history")
    two = report(facts(fluid=False), content="history", seen=set())
    assert one == two
    assert report(facts(flashes=True), content="history") != report(facts(flashes=False), content="history")


def test_a_finding_of_a_picture_that_was_not_taken_is_not_mentioned():
    assert report(facts(fluid=True), modalities=("cfp",)) == report(facts(fluid=False), modalities=("cfp",))


def test_unknown_languages_and_contents_are_refused():
    for options in ({"language": "fr"}, {"content": "poem"}):
        with pytest.raises(InvalidInput):
            report(facts(), **options)
