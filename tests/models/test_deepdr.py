import pytest
import torch

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.core.registry import models
from fundusion.layers.plain_vit import PlainViT, resized_positions
from fundusion.models.deepdr import (
    DeepDR,
    DeepDRSegmenter,
    colour_noise,
    iou_and_f1,
    load_deepdr,
    renamed,
    segmentation_loss,
    stitched,
)


def tiny(depth=12):
    return PlainViT(image_size=64, embed_dim=48, depth=depth, num_heads=4)


@pytest.fixture
def official(golden):
    return golden("deepdr/tiny_transformer")


@pytest.fixture
def segmenter(detfill):
    model = DeepDRSegmenter(tiny(), 5).eval()
    with torch.no_grad():
        for name, t in model.state_dict().items():
            if t.is_floating_point():
                place = name.removeprefix("body.").replace("heads.", "Head.", 1)
                t.copy_(detfill.value(place, tuple(t.shape)))
    return model


@torch.no_grad()
def test_classifier_equals_the_official_one(official, is_close):
    model = DeepDR(tiny(), 5).eval()
    state = {k[4:]: v for k, v in official.items() if k.startswith("cla.")}
    model.load_state_dict({k if k.startswith("head") else f"body.{k}": v for k, v in state.items()})
    assert is_close(model.encode(official["image"]).pooled, official["cls_features"])
    assert is_close(model(official["image"]), official["cls_logits"])
    assert is_close(resized_positions(official["pos_src"], (6, 6)), official["pos_6x6"])
    with pytest.raises(InvalidInput, match="no classification head"):
        DeepDR(tiny(2))(official["image"])


@torch.no_grad()
def test_segmentation_equals_the_official_one(segmenter, official, is_close):
    answers = segmenter(official["image"])
    assert len(answers) == 4
    assert is_close(answers[0], official["seg0"])
    assert is_close(answers[3], official["seg3"])
    assert is_close(segmentation_loss(answers, official["seg_label_onehot"]), official["seg_loss"])
    assert is_close(stitched(lambda x: segmenter(x)[-1], official["big"]), official["merged"])
    with pytest.raises(InvalidInput, match="even sides"):
        stitched(lambda x: x, torch.zeros(1, 3, 63, 64))


def test_metric_and_colour_noise_equal_the_official_ones(official, is_close):
    iou, f1 = iou_and_f1(official["metric_pred"].numpy(), official["metric_true"].numpy(), 5)
    assert is_close(torch.from_numpy(iou), official["metric_iou"])
    assert is_close(torch.from_numpy(f1), official["metric_f1"])
    assert is_close(colour_noise(official["image"][0], torch.tensor([0.3, -0.2, 0.1])), official["color_aug"])


def test_torchvision_weights_give_torchvision_answers(tmp_path):
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    theirs = VisionTransformer(
        image_size=64, patch_size=16, num_layers=2, num_heads=4, hidden_dim=48, mlp_dim=192, num_classes=7
    ).eval()
    torch.nn.init.normal_(theirs.heads.head.weight)
    torch.save(theirs.state_dict(), tmp_path / "vit.pth")
    model = DeepDR(tiny(2)).eval()
    report = load_deepdr(model, str(tmp_path / "vit.pth"))
    assert sorted(report.unexpected) == ["head.bias", "head.weight"]
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = theirs(images)
        found = model.body(images)[:, 0] @ theirs.heads.head.weight.T + theirs.heads.head.bias
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert set(renamed({"class_token": torch.zeros(1)})) == {"cls_token"}


@pytest.mark.parametrize("kind", ["cla", "seg"])
def test_checkpoints_of_the_real_size_load(manifest_state, tmp_path, kind):
    state = manifest_state(f"deepdr/manifest_{kind}_vitb448")
    torch.save({"model": state}, tmp_path / "model.pth")
    with torch.device("meta"):
        body = PlainViT(image_size=448)
        model = DeepDR(body, 5) if kind == "cla" else DeepDRSegmenter(body, 5)
    model = model.to_empty(device="cpu")
    report = load_deepdr(model, str(tmp_path / "model.pth"))
    assert report.missing == report.unexpected == ()
    assert len(report.loaded) == len(state)


def test_a_head_for_other_classes_is_refused(tmp_path):
    model = models.create("deepdr.test", num_classes=3)
    state = {k.removeprefix("body."): v for k, v in model.state_dict().items()}
    torch.save({"model": state}, tmp_path / "a.pth")
    load_deepdr(models.create("deepdr.test"), str(tmp_path / "a.pth"))
    with pytest.raises(IncompatibleWeights, match="another shape"):
        load_deepdr(models.create("deepdr.test", num_classes=5), str(tmp_path / "a.pth"))
