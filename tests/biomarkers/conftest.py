"""Figures of known measures, one drawn eye, and its measurements."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from fundusion.biomarkers.eye import EyeFacts, measure_eye
from fundusion.datasets.synthetic import draw_photograph


def _load(name, path):
    # Test modules are imported without a package, so that a module beside them has to be loaded by its path.
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shapes():
    return _load("biomarker_shapes", Path(__file__).with_name("shapes.py"))


@pytest.fixture(scope="session")
def benchmarks():
    """Module of the comparison with drawn truth, by name."""
    folder = Path(__file__).parents[2] / "benchmarks"
    return lambda name: _load(name, folder / f"{name}.py")


@pytest.fixture(scope="session")
def drawn():
    """Truth, masks and facts of a right eye of 512 px."""
    truth = draw_photograph(np.random.default_rng(5), size=512, laterality="OD", grade=2, cup_to_disc=0.45)[1]
    shape = truth.vessel_mask.shape
    masks = {
        **truth.vessel_masks,
        "disc": truth.disc.mask(shape),
        "cup": truth.cup.mask(shape),
        "field": truth.field.mask(shape),
    }
    return truth, masks, EyeFacts(laterality="OD", fovea=truth.fovea.center)


@pytest.fixture(scope="session")
def measured(drawn):
    """Measurements of that eye by name."""
    _, masks, facts = drawn
    return measure_eye(masks, facts).by_name()
