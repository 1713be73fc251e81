"""The filling rule and stored outputs of official implementations, imported where they lie."""

import importlib.util
import json

from safetensors.torch import load_file


def filling_rule(root):
    """Return the module of the filling rule."""
    spec = importlib.util.spec_from_file_location("detfill", root / "detfill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(root, name):
    """Return tensors, facts and the official state dict of a stored file."""
    tensors = load_file(root / f"{name}.safetensors")
    state = {k[3:]: v for k, v in tensors.items() if k.startswith("sd.")}
    return tensors, json.loads((root / f"{name}.json").read_text()), state


def manifest(root, name):
    """Return names and shapes of a real-size official state dict."""
    entries = json.loads((root / f"{name}.json").read_text())
    return {k: (tuple(v["shape"]), v["dtype"]) for k, v in entries.items()}


def relative(found, expected):
    """Return the greatest difference over the greatest expected value."""
    return float((found - expected).abs().max() / expected.abs().max())
