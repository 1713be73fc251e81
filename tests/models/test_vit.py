"""Patch tokens are those of timm; a checkpoint of another input size is resampled."""

import timm
import torch

from fundusion.core.registry import models
from fundusion.layers.weights import save_state


def test_tokens_are_those_of_timm_and_positions_are_resampled(tmp_path):
    torch.manual_seed(3)
    theirs = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0).eval()
    save_state(tmp_path / "w.safetensors", theirs.state_dict())
    images = torch.rand(1, 3, 224, 224)
    ours = models.create("vit.tiny_16", weights=str(tmp_path / "w.safetensors")).eval()
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(images).tokens, theirs.forward_features(images)[:, 1:])
    small = models.create("vit.tiny_16", weights=str(tmp_path / "w.safetensors"), image_size=96).eval()
    assert small.body.pos_embed.shape == (1, 1 + 36, 192)
    from timm.layers import resample_abs_pos_embed

    torch.testing.assert_close(small.body.pos_embed, resample_abs_pos_embed(theirs.pos_embed, [6, 6]))
    f = small.encode(torch.rand(1, 3, 96, 96))
    assert f.maps[-1].shape == (1, 192, 6, 6)
