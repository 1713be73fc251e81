"""Fakes of the public sets for every test of this folder."""

import importlib.util
import sys
from pathlib import Path

import pytest

from fundusion.core.registry import datasets


def _load():
    # Test modules are imported without a package, so that a module beside them has to be loaded by its path.
    spec = importlib.util.spec_from_file_location("dataset_trees", Path(__file__).with_name("trees.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def trees():
    """The module that draws a fake of every set."""
    return _load()


@pytest.fixture
def fake_of(trees, tmp_path):
    """Call with the name of a set: builds its fake."""
    return lambda name: trees.build(name, tmp_path / "downloads")


@pytest.fixture
def read(trees, tmp_path):
    """Call with the name of a set: builds its fake and reads it; gives identifiers to records."""

    def build(name, **options):
        reading = datasets.create(name, root=trees.build(name, tmp_path / "downloads").base, **options)
        return {r.study_id: r for r in reading}, reading

    return build


@pytest.fixture
def real(data_root):
    """Call with a name and a folder of the real sets: skips, saying why, where it is absent."""

    def read_real(name, folder, **options):
        if not (data_root / folder).is_dir():
            pytest.skip(f"no real {folder} in the data folder")
        return datasets.create(name, root=data_root / folder, **options)

    return read_real
