import json

import pytest
import torch

from fundusion.core.durable import write_json
from fundusion.core.errors import IncompatibleWeights, InvalidInput, UnknownName
from fundusion.core.registry import models
from fundusion.layers.weights import digest, save_state
from fundusion.train.aligners import aligner_name, load_aligner


def test_a_family_with_one_released_model_is_that_model():
    assert aligner_name("flair") == "flair.resnet_50"
    assert aligner_name("clip.base_32") == "clip.base_32"
    with pytest.raises(UnknownName, match="several models"):
        aligner_name("clip")
    with pytest.raises(UnknownName, match=r"flair\.resnet_50"):
        aligner_name("flare")
    with pytest.raises(InvalidInput, match="does not compare images with texts"):
        aligner_name("resnet.test")


def test_weights_are_never_silently_random(tmp_path):
    with pytest.raises(InvalidInput, match="no weights were named") as caught:
        load_aligner("flair.test")
    assert caught.value.code == "model.no_weights"
    fresh = load_aligner("flair.test", weights="fresh")
    assert fresh.record == {}
    path = tmp_path / "w.safetensors"
    save_state(path, fresh.model.state_dict())
    loaded = load_aligner("flair.test", weights=str(path))
    assert loaded.sha256 == fresh.sha256
    assert loaded.record["source"] == "w.safetensors"
    assert loaded.wanted.size == models.card("flair.test").input.size
    assert not loaded.model.training


def test_options_reach_the_model():
    loaded = load_aligner("flair.test", weights="fresh", options={"pooling": "mean_with_padding"})
    assert loaded.model.text_tower().pooling == "mean_with_padding"
    assert loaded.options == {"pooling": "mean_with_padding"}
    cut = load_aligner("flair.test", weights="fresh", options={"crop": "foreground"})
    assert cut.wanted.crop == "foreground"
    assert cut.options == {"crop": "foreground"}
    with pytest.raises(InvalidInput, match="not usable"):
        load_aligner("flair.test", weights="fresh", options={"crop": "ears"})


def test_a_run_folder_names_its_model_and_is_checked(tmp_path):
    torch.manual_seed(3)
    made = models.create("flair.test").eval()
    weights = tmp_path / "encoder.safetensors"
    save_state(weights, made.state_dict())
    write_json(tmp_path / "encoder.json", {"model": "flair.test", "options": {}, "sha256": digest(weights)})
    loaded = load_aligner(str(tmp_path))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.model.align_images(images), made.align_images(images))
    facts = json.loads((tmp_path / "encoder.json").read_text())
    write_json(tmp_path / "encoder.json", {**facts, "sha256": "0" * 64})
    with pytest.raises(IncompatibleWeights, match="missing or damaged"):
        load_aligner(str(tmp_path))
