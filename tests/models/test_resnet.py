"""The same numbers as timm's own forward; weights from a local file; nothing is downloaded."""

import pytest
import timm
import torch

from fundusion.core.errors import IncompatibleWeights
from fundusion.core.registry import models
from fundusion.layers.weights import save_state


def test_pooled_features_are_those_of_timm(tmp_path):
    torch.manual_seed(3)
    theirs = timm.create_model("resnet18", pretrained=False, num_classes=7).eval()
    save_state(tmp_path / "w.safetensors", theirs.state_dict())
    ours = models.create("resnet.18", weights=str(tmp_path / "w.safetensors")).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        torch.testing.assert_close(ours.encode(images).pooled, expected)


def test_weights_of_another_network_are_refused(tmp_path):
    other = timm.create_model("resnet34", pretrained=False, num_classes=0)
    save_state(tmp_path / "w.safetensors", other.state_dict())
    with pytest.raises(IncompatibleWeights, match="unexpected"):
        models.create("resnet.18", weights=str(tmp_path / "w.safetensors"))
