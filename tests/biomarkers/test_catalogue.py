"""Every measurement has facts, and all facts are measured."""

import pytest

from fundusion.biomarkers import catalogue
from fundusion.biomarkers.catalogue import OF_EYE, OF_VESSELS, VESSELS, fact_of


def test_names_that_are_measured_are_those_of_the_catalogue(measured):
    assert set(measured) == {f"{n}_{k}" for n in OF_VESSELS for k in VESSELS} | set(OF_EYE)
    for name, m in measured.items():
        assert m.source == fact_of(name).source


def test_facts_are_complete():
    units = {"1", "count", "degree", "rad", "um", "DD", "length", "area", "per length", "per length^2"}
    for fact in (*OF_VESSELS.values(), *OF_EYE.values(), *catalogue.OF_LESIONS.values()):
        assert fact.unit in units
        assert fact.title
        assert fact.formula
        assert any(c.isdigit() for c in fact.source)
    with pytest.raises(KeyError):
        fact_of("beauty")
