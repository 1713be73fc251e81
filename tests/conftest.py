"""Fixtures: real data and golden outputs where they exist, generators, drawn studies. Nothing here needs a network."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
# The same examples in every run, and no clock on a busy machine; `make test-all` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("searching", deadline=None)
settings.load_profile("repeatable")


def _shared(variable: str, folder: str) -> Path:
    return Path(os.environ.get(variable) or ROOT.parent / "shared" / folder)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of real labelled images."""
    root = _shared("FUNDUSION_DATA", "data")
    if not root.is_dir():
        pytest.skip(f"no real images: FUNDUSION_DATA is not set and {root.parent.name}/{root.name} does not exist")
    return root


@pytest.fixture(scope="session")
def golden_root() -> Path:
    """Folder of outputs of official implementations."""
    root = _shared("FUNDUSION_GOLDEN", "golden")
    if not root.is_dir():
        pytest.skip(f"no golden outputs: FUNDUSION_GOLDEN is not set and {root.parent.name}/{root.name} does not exist")
    return root


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> Path:
    """Manifest of 24 drawn eyes with photograph, B-scan, table and report; read only."""
    from fundusion.datasets.synthetic import write_cohort

    return write_cohort(
        tmp_path_factory.mktemp("cohort"), 24, seed=3, size=128, modalities=("cfp", "oct", "text", "table")
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """Folder of a small untrained network on photograph and table; it answers only with a photograph."""
    from fundusion.core.table import TableSchema
    from fundusion.core.tasks import STANDARD_TASKS
    from fundusion.network import build_network

    rows = [{"age": 40, "sex": "female"}, {"age": 70, "sex": "male"}, {"age": 55, "sex": "male"}]
    network = build_network(
        {"cfp": "contrast_resnet.test", "table": "tabular.test"},
        "gated",
        {n: STANDARD_TASKS[n] for n in ("dr_grade", "disease", "gradable")},
        table=TableSchema.fit(rows),
        embed_dim=8,
        seed=5,
    )
    folder = tmp_path_factory.mktemp("model")
    network.save(folder, extra={"required": ["cfp"], "card": {"title": "Tiny", "terms": "tests"}})
    return folder
