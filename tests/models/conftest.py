"""Outputs of official implementations, weights filled from names, checkpoints made from manifests."""

import importlib.util
import json

import pytest
import torch
from safetensors.torch import load_file


@pytest.fixture(scope="session")
def detfill(golden_root):
    """Module that fills every weight from its name."""
    spec = importlib.util.spec_from_file_location("detfill", golden_root / "detfill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def golden(golden_root):
    """Call with a name for the tensors of a golden file."""
    return lambda name: load_file(golden_root / f"{name}.safetensors")


@pytest.fixture(scope="session")
def manifest_state(golden_root):
    """Call with a name for tensors of a manifest's names and shapes; zero strides, so that real sizes cost no memory."""

    def make(name):
        entries = json.loads((golden_root / f"{name}.json").read_text("utf-8"))
        return {
            k: (torch.full((), 0.25) if v["dtype"] == "float32" else torch.zeros((), dtype=torch.int64)).expand(
                v["shape"]
            )
            for k, v in entries.items()
        }

    return make


@pytest.fixture(scope="session")
def is_close():
    """Greatest difference at most 1e-4 of the greatest expected value."""

    def check(found, expected):
        assert found.shape == expected.shape
        error = float((found.detach() - expected).abs().max() / expected.abs().max())
        assert error <= 1e-4, error
        return True

    return check
