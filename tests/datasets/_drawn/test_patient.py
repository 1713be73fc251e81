"""Patients and eyes: units, ranges, and the labels that follow."""

import numpy as np
import pytest

from fundusion.core.vocabulary import Laterality
from fundusion.datasets._drawn.patient import draw_facts, draw_patient, labels_of, table_of


def eyes(count=400):
    for i in range(count):
        g = np.random.default_rng(i)
        patient = draw_patient(g)
        yield g, draw_facts(g, patient, Laterality.RIGHT)


def test_ranges_and_missing_cells():
    missing, cells = 0, 0
    for g, facts in eyes():
        p = facts.patient
        assert 22 <= p.age <= 92
        assert 4 <= p.hba1c <= 14
        assert 8 <= facts.iop <= 45
        assert (p.duration > 0) == p.diabetic
        table = table_of(g, facts)
        missing += sum(v is None for v in table.values())
        cells += len(table)
    assert missing / cells == pytest.approx(0.06, abs=0.015)


def test_glaucoma_needs_both_signs_and_only_diabetics_have_retinopathy():
    for _, facts in eyes():
        assert facts.glaucoma == (facts.cup_to_disc >= 0.6 and facts.iop > 21)
        assert facts.grade == 0 or facts.patient.diabetic


def test_labels_follow_the_facts_but_for_a_known_noise():
    turned = []
    for g, facts in eyes():
        labels = labels_of(g, facts, haemorrhage=False)
        turned.append(bool(labels["systemic"]["subretinal_fluid"]) != facts.fluid)
        assert float(labels["dr_grade"]) == facts.grade
    assert np.mean(turned) == pytest.approx(0.04, abs=0.025)
