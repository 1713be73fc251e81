"""The guide of image-text models says what is true: its Python runs, its models and options exist, its command reproduces stored numbers."""

import importlib.util
import inspect
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from fundusion.core.registry import models

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "guides" / "image-text-models.md").read_text("utf-8")


def test_the_python_of_the_guide_runs():
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", GUIDE, re.S):
        exec(block, names)
    assert names["logits"].shape == (2, 2)


def test_models_and_options_of_the_guide_exist():
    known = set(models.names())
    named = set(re.findall(r"`((?:clip|medclip|flair|keepfit|retizero|bert)\.\w+)`", GUIDE))
    assert len(named) > 12
    assert named <= known
    for name, option in (
        ("flair.resnet_50", "pooling"), ("keepfit.resnet_50", "attention"), ("clip.base_32", "activation"),
        ("retizero.zero_shot", "fold"), ("retizero.zero_shot", "freeze"), ("bert.base", "layers"), ("flair.resnet_50", "tokenizer"),
    ):  # fmt: skip
        assert f"`{option}" in GUIDE or f"`{option}=" in GUIDE
        assert option in inspect.signature(models.builder(name)).parameters
    text = tomllib.loads(re.search(r"```toml\n(.*?)```", GUIDE, re.S)[1])
    assert text["network"]["encoders"]["cfp"]["crop"] == "foreground"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("flair_readme", ROOT / "benchmarks" / "reproduce" / "flair_readme.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_command_reproduces_the_stored_logits_and_fails_on_others(script, golden_root, tmp_path, capsys):
    rule = importlib.util.spec_from_file_location("detfill", golden_root / "detfill.py")
    detfill = importlib.util.module_from_spec(rule)
    rule.loader.exec_module(detfill)
    entries = json.loads((golden_root / "flair" / "manifest_tiny.json").read_text("utf-8"))
    state = {k: detfill.value(k, tuple(v["shape"])) for k, v in entries.items() if v["shape"]}
    state.update({k: torch.zeros((), dtype=torch.int64) for k in entries if k.endswith("num_batches_tracked")})
    state["logit_scale"] = load_file(golden_root / "flair" / "tiny.safetensors")["logit_scale"]
    save_file(state, tmp_path / "model.safetensors")
    facts = json.loads((golden_root / "flair" / "tiny.json").read_text("utf-8"))
    (tmp_path / "vocab.txt").write_text("\n".join(facts["vocab"]), "utf-8")
    # The small word list knows no capital letter, and the stored run kept case.
    settings = '{"do_lower_case": false, "tokenizer_class": "BertTokenizer"}'
    (tmp_path / "tokenizer_config.json").write_text(settings, "utf-8")
    stored = load_file(golden_root / "flair" / "tiny.safetensors")
    Image.fromarray(stored["raw_image_u8"].numpy()).save(tmp_path / "image.png")
    found = script.logits(tmp_path, np.asarray(Image.open(tmp_path / "image.png")), facts["texts"])
    assert found == pytest.approx(stored["logits_image_by_text"][0].tolist(), rel=1e-4)
    assert script.main([str(tmp_path), str(tmp_path / "image.png")]) == 1
    assert "macular hole" in capsys.readouterr().out
    assert script.main([str(tmp_path), str(tmp_path / "image.png"), "--tolerance", "100"]) == 0
