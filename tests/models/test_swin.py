"""Windows on any grid, checkpoints of the original spelling, relative positions of another window."""

import timm
import torch

from fundusion.core.registry import models
from fundusion.layers.weights import save_state


def test_pooled_features_are_those_of_timm_and_small_grids_work(tmp_path):
    torch.manual_seed(3)
    theirs = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, num_classes=3).eval()
    save_state(tmp_path / "w.safetensors", theirs.state_dict())
    ours = models.create("swin.tiny", weights=str(tmp_path / "w.safetensors")).eval()
    images = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        expected = theirs.forward_features(images).mean((1, 2))
        torch.testing.assert_close(ours.encode(images).pooled, expected, rtol=1e-4, atol=1e-5)
        for size in (32, 72, 100):
            f = ours.encode(torch.rand(1, 3, size, size), maps="all")
            assert f.maps[0].shape[-1] == -(-size // 4)
            assert f.maps[-1].shape[1] == 768


def test_the_original_spelling_and_another_window(tmp_path):
    torch.manual_seed(0)
    source = models.create("swin.test").eval()
    original = {}
    for name, value in source.body.state_dict().items():
        parts = name.split(".")
        if "downsample" in parts:
            # The original files number the merging of patches with the stage before it.
            parts[1] = str(int(parts[1]) - 1)
        original[".".join(parts)] = value
    original["layers.0.blocks.0.attn_mask"] = torch.zeros(1)
    original["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(1)
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    wide = original[table].new_full((169, original[table].shape[1]), 0.25)
    torch.save({"model": {**original, "head.weight": torch.zeros(2, 64), table: wide}}, tmp_path / "swin.pth")
    twin = models.create("swin.test", weights=str(tmp_path / "swin.pth")).eval()
    assert twin.weights_record["missing"] == []
    assert twin.weights_record["reshaped"] == [table]
    assert torch.allclose(twin.body.state_dict()[table], torch.tensor(0.25))
    key = "layers.1.downsample.reduction.weight"
    assert torch.equal(twin.body.state_dict()[key], source.body.state_dict()[key])
