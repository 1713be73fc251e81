"""timm networks as encoders: the plain path and the dense one agree, and stages are those of timm."""

import pytest
import timm
import torch

from fundusion.core.errors import InvalidInput
from fundusion.layers.backbones import StagedEncoder, TokenEncoder, check_scales, create_body


@pytest.mark.parametrize("name", ["resnet18", "legacy_seresnet18"])
def test_stages_are_those_of_timm(name):
    torch.manual_seed(0)
    encoder = StagedEncoder(create_body(name, global_pool="")).eval()
    theirs = timm.create_model(name, pretrained=False, features_only=True).eval()
    theirs.load_state_dict({k: v for k, v in encoder.body.state_dict().items() if not k.startswith("fc")}, strict=False)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        ours, expected = encoder.encode(images, maps="all").maps, theirs(images)[-4:]
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b)


def test_a_transformer_of_any_size():
    encoder = TokenEncoder(
        create_body("vit_tiny_patch16_224", img_size=64, dynamic_img_size=True, dynamic_img_pad=True)
    ).eval()
    with torch.no_grad():
        f = encoder.encode(torch.rand(1, 3, 50, 81), maps="all")
    assert [tuple(m.shape[2:]) for m in f.maps] == [(16, 24), (8, 12), (4, 6)]
    torch.testing.assert_close(f.maps[-1].mean((2, 3)), f.pooled)


def test_scales_are_named():
    assert check_scales("all")
    assert not check_scales("last")
    with pytest.raises(InvalidInput, match="cheap"):
        check_scales("first")
