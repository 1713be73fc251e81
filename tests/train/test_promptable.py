"""Tuning a promptable segmenter on few masks: only what is free learns, and what it writes loads by name."""

import json
from contextlib import nullcontext

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models
from fundusion.layers.weights import load_state
from fundusion.train.config import FitConfig
from fundusion.train.mask_data import MaskSet
from fundusion.train.promptable import PromptedConfig, prepare_prompted, prompts_of_truth, train_prompted

FIT = {"epochs": 2, "batch_size": 2, "learning_rate": 1e-2, "warmup_steps": 1, "ema": 0.0, "checkpoint_every": 1}


@pytest.fixture(scope="module")
def tree(tmp_path_factory, draw_vessels):
    root = tmp_path_factory.mktemp("hrf")
    for number in range(1, 6):
        draw_vessels(root, number)
    return root


def config_of(tree, **changes):
    value = {
        "model": "sam.test",
        "classes": ("vessel",),
        "sets": (MaskSet(name="hrf", root=str(tree)),),
        "field_px": 64,
        "patch_px": 64,
        "jitter_px": 4,
        "rank": 2,
        "train": FitConfig(**FIT),
        **changes,
    }
    return PromptedConfig(**value)


def quiet(title):
    return nullcontext(lambda *a, **k: None)


def test_adapters_are_trained_and_written_into_the_weights(tree, tmp_path):
    run = prepare_prompted(tmp_path / "before", config_of(tree), quiet)
    assert all("lora_" in n for n, p in run.model.named_parameters() if p.requires_grad)
    assert train_prompted(tmp_path / "run", config=config_of(tree)).exit_code == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("dice_box_of_truth" in r for r in rows)
    torch.manual_seed(config_of(tree).train.seed)
    fresh = models.create("sam.test").body.state_dict()
    model = models.create("sam.test", weights=str(tmp_path / "run" / "prompted.safetensors"))
    changed = {k for k, v in model.body.state_dict().items() if not torch.equal(v, fresh[k])}
    assert any("qkv" in k for k in changed)
    # Adapters sit on kernels of linear layers and convolutions only.
    assert all(k.endswith(".weight") and fresh[k].ndim > 1 for k in changed)
    assert "vision_encoder.pos_embed" not in changed
    facts = json.loads((tmp_path / "run" / "prompted.json").read_text())
    assert facts["structure"] == "vessel"
    assert facts["training_data"] == ["hrf"]


def test_medsegx_trains_what_it_leaves_free(tree, tmp_path):
    config = config_of(tree, model="medsegx.test", rank=0, objective="promptable.medsegx", options={"task": "vessel"})
    train_prompted(tmp_path / "run", config=config)
    found = load_state(tmp_path / "run" / "prompted.safetensors")
    with torch.random.fork_rng():
        torch.manual_seed(config.train.seed)
        fresh = models.create("medsegx.test")
    free = {n for n, p in fresh.named_parameters() if p.requires_grad}
    changed = {k for k, v in fresh.state_dict().items() if not torch.equal(v, found[k])}
    assert changed
    assert changed <= free
    assert any("adapter_up" in k for k in changed)
    again = models.create("medsegx.test", weights=str(tmp_path / "run" / "prompted.safetensors"), task="vessel")
    assert all(torch.equal(v, found[k]) for k, v in again.state_dict().items())


def test_a_picture_without_the_structure_counts_nothing():
    target, known = torch.zeros(2, 1, 8, 8), torch.ones(2, 1, 8, 8, dtype=torch.bool)
    target[0, 0, 2:4, 3:6] = 1
    prompts, there = prompts_of_truth(target, known)
    assert prompts.boxes.tolist() == [[3, 2, 5, 3], [0, 0, 7, 7]]
    assert there.tolist() == [True, False]
    # What is unknown is no part of the structure.
    known[0, 0, :, 5] = False
    assert prompts_of_truth(target, known)[0].boxes[0].tolist() == [3, 2, 4, 3]


def test_what_cannot_be_tuned_is_refused(tree, tmp_path):
    with pytest.raises(InvalidInput, match="one structure"):
        prepare_prompted(tmp_path, config_of(tree, classes=("artery", "vein")), quiet)
    with pytest.raises(InvalidInput, match="no prompts"):
        prepare_prompted(tmp_path, config_of(tree, model="unet.test"), quiet)
