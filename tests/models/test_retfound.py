"""Parity with the official classifiers of both eras; every container of the released files; nothing silently left out."""

import argparse

import pytest
import timm
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.registry import models
from fundusion.layers.transformer import resize_positions
from fundusion.layers.weights import convert_weights, fit_state, save_state
from fundusion.models.retfound import RETFound

from .golden import filling_rule, manifest, relative, stored

OLD, NEW = "timm0.3.2_facebookresearch-mae-efb2a80", "timm0.9.16_rmaphoh-RETFound-ae9a9ec"


def tiny(**options):
    return RETFound(image_size=64, patch_size=16, embed_dim=64, depth=3, num_heads=4, num_classes=5, **options).eval()


@pytest.mark.parametrize(
    ("name", "pooling", "era"),
    [
        (f"tiny_gap_{OLD}", "mean", "timm_0.3"),
        (f"tiny_gap_{NEW}", "mean", "timm_0.9"),
        (f"tiny_cls_{OLD}", "cls", "timm_0.3"),
        (f"tiny_cls_{NEW}", "cls", "timm_0.9"),
    ],
)
def test_parity_with_both_eras(golden_root, name, pooling, era):
    tensors, _, state = stored(golden_root, f"retfound/{name}")
    model = tiny(pooling=pooling, head_era=era)
    fit_state(model.body, state)
    with torch.no_grad():
        f, logits = model.encode(tensors["image"]), model.classify(tensors["image"])
    assert relative(f.pooled, tensors["features"].reshape(2, -1)) <= 1e-4
    assert relative(logits, tensors["logits"]) <= 1e-4
    # The filling rule on names alone gives the stored weights.
    twin = tiny(pooling=pooling, head_era=era)
    filling_rule(golden_root).fill(twin.body)
    torch.testing.assert_close(dict(twin.body.state_dict()), state)


def test_the_switch_between_the_eras_is_one_norm(golden_root):
    tensors, _, state = stored(golden_root, f"retfound/tiny_gap_{NEW}")
    model = tiny(head_era="timm_0.3")
    fit_state(model.body, state)
    with torch.no_grad():
        once = model.classify(tensors["image"])
    assert relative(once, tensors["logits_single_fc_norm"]) <= 1e-4
    assert float((once - tensors["logits"]).abs().max()) > 0.03
    with pytest.raises(InvalidInput, match="head_era"):
        tiny(head_era="timm_1.0")
    with pytest.raises(InvalidInput, match="num_classes"):
        models.create("retfound.test").classify(torch.rand(1, 3, 32, 32))


def test_positions_follow_the_published_rule(golden_root):
    tensors, _, _ = stored(golden_root, "retfound/posembed_4x4_to_6x6")
    assert relative(resize_positions(tensors["src"], (6, 6)), tensors["dst"]) <= 1e-6
    assert resize_positions(tensors["src"], (4, 4)) is tensors["src"]


def synthetic(root, name, **changes):
    """Return tensors of a manifest that take no memory: one element, expanded."""
    return {
        k: torch.full((1,), 0.01).expand(shape) if shape else torch.tensor(0.01)
        for k, (shape, _) in {**manifest(root, f"retfound/{name}"), **changes}.items()
    }


@pytest.fixture
def loaded_on_meta():
    """Build real sizes without memory: what is loaded is compared by name and shape."""

    def build(name, weights, **options):
        with torch.device("meta"):
            return models.create(name, weights=str(weights), **options)

    return build


def save_checkpoint(path, tensors, wrap):
    torch.save(wrap(tensors), path)
    assert path.stat().st_size < 3 << 20


def test_the_mae_checkpoint_leaves_exactly_norm_and_head_fresh(golden_root, tmp_path, loaded_on_meta):
    file = tmp_path / "RETFound_cfp_weights.pth"
    save_checkpoint(file, synthetic(golden_root, "manifest_mae_vit_large_patch16"), lambda t: {"model": t})
    model = loaded_on_meta("retfound.cfp", file, num_classes=5)
    record = model.weights_record
    assert set(record["missing"]) == {"fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"}
    assert record["loaded"] == len(model.body.state_dict()) - 4
    names = set(manifest(golden_root, "retfound/manifest_mae_vit_large_patch16")) - set(model.body.state_dict())
    assert {n.split(".")[0] for n in names} == {
        "decoder_blocks", "decoder_embed", "decoder_norm", "decoder_pos_embed", "decoder_pred", "mask_token", "norm",
    }  # fmt: skip
    assert record["unexpected"] == len(names)
    assert record["license"] == "CC BY-NC 4.0"
    assert record["non_commercial"]
    assert loaded_on_meta("retfound.oct", file).weights_record["missing"] == ["fc_norm.weight", "fc_norm.bias"]
    # The class-token variant keeps the last norm of the file.
    assert loaded_on_meta("retfound.cfp", file, pooling="cls").weights_record["missing"] == []


def test_a_fine_tuned_classifier_loads_whole(golden_root, tmp_path, loaded_on_meta):
    tensors = synthetic(golden_root, "manifest_classifier_gap")
    classes = tensors["head.weight"].shape[0]
    file = tmp_path / "checkpoint-best.pth"
    save_checkpoint(file, tensors, lambda t: {"model": t, "epoch": 7, "args": argparse.Namespace(lr=1e-3)})
    with pytest.raises(IncompatibleWeights, match="convert-weights") as caught:
        loaded_on_meta("retfound.cfp", file, num_classes=classes)
    assert caught.value.code == "model.unsafe_format"
    save_checkpoint(tmp_path / "clean.pth", tensors, lambda t: {"model": t, "epoch": 7})
    model = loaded_on_meta("retfound.cfp", tmp_path / "clean.pth", num_classes=classes, head_era="timm_0.3")
    assert model.weights_record["missing"] == []
    assert model.weights_record["unexpected"] == 0
    # Another number of classes is another question.
    with pytest.raises(IncompatibleWeights, match="shape"):
        loaded_on_meta("retfound.cfp", tmp_path / "clean.pth", num_classes=classes + 1)


def test_the_dinov2_teacher_loads_with_its_prefix_cut(golden_root, tmp_path, loaded_on_meta):
    tensors = synthetic(golden_root, "manifest_timm_vitl14_dinov2_224")
    teacher = {f"backbone.{k}": v for k, v in tensors.items()}
    extra = {"backbone.mask_token": torch.zeros(1, 1024), "dino_head.mlp.0.weight": torch.zeros(2, 2),
             "ibot_head.mlp.0.weight": torch.zeros(2, 2)}  # fmt: skip
    file = tmp_path / "RETFound_dinov2_meh.pth"
    save_checkpoint(file, {**teacher, **extra}, lambda t: {"teacher": t})
    model = loaded_on_meta("retfound.dinov2", file)
    assert model.weights_record["missing"] == []
    # The manifest is that of a network with a classifier; the encoder alone leaves its head out.
    heads = [k for k in tensors if k.startswith("head.")]
    assert model.weights_record["loaded"] == len(tensors) - len(heads) == len(model.body.state_dict())
    assert model.weights_record["unexpected"] == 3 + len(heads)
    # Another network of the same family is refused with the first differences.
    with pytest.raises(IncompatibleWeights, match="another shape"):
        loaded_on_meta("retfound.cfp", file)


def test_the_dinov2_encoder_equals_that_of_timm():
    torch.manual_seed(0)
    theirs = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=56, depth=3).eval()
    with torch.no_grad():
        for block in theirs.blocks:
            block.ls1.gamma.fill_(0.5)
            block.ls2.gamma.fill_(0.5)
    ours = RETFound(
        image_size=56, patch_size=14, embed_dim=384, depth=3, num_heads=6, pooling="cls", layer_scale=True
    ).eval()
    assert fit_state(ours.body, theirs.state_dict()).missing == ()
    images = torch.rand(2, 3, 56, 56)
    with torch.no_grad():
        torch.testing.assert_close(ours.encode(images).pooled, theirs(images), rtol=1e-4, atol=1e-5)


def test_a_file_that_fits_nowhere_is_an_error(tmp_path):
    save_state(tmp_path / "w.safetensors", {"encoder.layer.0.weight": torch.zeros(2)})
    with pytest.raises(IncompatibleWeights, match="no name of the file fits"):
        models.create("retfound.test", weights=str(tmp_path / "w.safetensors"))


def test_a_converted_old_file_gives_the_same_numbers_and_another_size_is_reshaped(tmp_path):
    torch.manual_seed(0)
    source = models.create("retfound.test", num_classes=3).eval()
    torch.save({"model": source.body.state_dict(), "args": argparse.Namespace(lr=1.0)}, tmp_path / "old.pth")
    convert_weights(tmp_path / "old.pth", tmp_path / "new.safetensors", trusted=True)
    twin = models.create("retfound.test", num_classes=3, weights=str(tmp_path / "new.safetensors")).eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(twin.classify(images), source.classify(images))
    larger = models.create("retfound.test", weights=str(tmp_path / "new.safetensors"), image_size=64)
    assert larger.weights_record["reshaped"] == ["pos_embed"]
    assert larger.weights_record["unexpected"] == 2
