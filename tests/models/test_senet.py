"""Squeeze-and-excitation stands in every block; a timm checkpoint loads with its classifier left out."""

import timm
import torch

from fundusion.core.registry import models
from fundusion.layers.weights import save_state


def test_pooled_features_are_those_of_timm(tmp_path):
    torch.manual_seed(3)
    theirs = timm.create_model("legacy_seresnet18", pretrained=False, num_classes=7).eval()
    save_state(tmp_path / "w.safetensors", theirs.state_dict())
    ours = models.create("senet.resnet_18", weights=str(tmp_path / "w.safetensors")).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(images).pooled, theirs.forward_features(images).mean((2, 3)))
    assert ours.weights_record["unexpected"] == 2
    assert ours.weights_record["missing"] == []


def test_every_block_squeezes_and_excites():
    body = models.create("senet.test").body
    assert sum(type(m).__name__ == "SEModule" for m in body.modules()) == 4
    names = [n for n in models.names() if n.startswith("senet.") and n != "senet.test"]
    assert len(names) == 8
    assert all(models.card(n).weights for n in names)
