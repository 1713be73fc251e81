"""A number or a reason, never both, never something that is no number."""

import numpy as np
import pytest

from fundusion.biomarkers.outcome import REASONS, Outcome, failed, finite, mean_of, median_of


def test_what_is_no_number_fails():
    assert finite(np.inf).failure == "measure.undefined"
    assert finite(1.0, error=np.nan).error is None
    assert failed("mask.empty", 0).times(3.0).value is None
    assert failed("mask.empty").flagged("x").flags == ()


def test_units_and_remarks():
    found = Outcome(2.0, error=0.5).times(10.0).flagged("a", "b").flagged("a")
    assert (found.value, found.error, found.flags) == (20.0, 5.0, ("a", "b"))


def test_errors_of_means_and_medians(generator):
    values = generator.normal(5, 2, 4000)
    assert mean_of(values, "vessels.none").error == pytest.approx(2 / np.sqrt(4000), rel=0.05)
    assert median_of(values, "vessels.none").error == pytest.approx(1.253 * 2 / np.sqrt(4000), rel=0.1)
    assert median_of(values[:3], "vessels.none").error is None
    assert mean_of(np.zeros(0), "vessels.none").failure == "vessels.none"
    assert mean_of(np.array([1.0, 3.0]), "x", np.array([1.0, 0.0])).value == 1.0


def test_reasons_are_sentences():
    assert all(text.endswith(".") and "." in code for code, text in REASONS.items())
