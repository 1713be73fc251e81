"""Whole published networks at their real sizes, filled by the rule, loaded from their real containers, against a transformer written out.

The stored outputs of the official code are of small networks; here the same loaders and the same names carry 86 to 330 million numbers, and
the answers are those of `reference_vit`, which shares no code with them.
"""

import pytest
import torch
from torch.nn import functional as F

from fundusion.core.registry import models
from fundusion.layers.masking import patchify
from fundusion.models.deepdr import segmenter
from fundusion.models.eyefm import DOMAINS, MultiMAE, load_multimae

from . import reference_vit as reference
from .golden import filling_rule, manifest, relative

pytestmark = pytest.mark.slow


@pytest.fixture
def filled(golden_root):
    """Call with the name of a manifest: its tensors in their order, every floating one filled from its name."""
    rule = filling_rule(golden_root)

    def make(name):
        return {
            k: rule.value(k, shape) if shape and "float" in dtype else torch.zeros(shape, dtype=getattr(torch, dtype))
            for k, (shape, dtype) in manifest(golden_root, name).items()
        }

    return make


@pytest.fixture
def picture(golden_root):
    """Call with a label and a size: a picture of the rule's generator, about normalised."""
    rule = filling_rule(golden_root)
    return lambda label, size: (rule.image(label, (1, 3, size, size)) - 0.5) / 0.25


@pytest.fixture
def checkpoint(tmp_path):
    """Call with what a file holds: its path; a gigabyte is not kept after the test."""
    path = tmp_path / "checkpoint.pth"

    def write(value):
        torch.save(value, path)
        return str(path)

    yield write
    path.unlink(missing_ok=True)


@torch.no_grad()
def twice(call):
    """Return an answer that is finite and the same the second time."""
    found, again = call(), call()
    assert bool(torch.isfinite(found).all())
    assert torch.equal(found, again)
    return found


@torch.no_grad()
def test_retfound_classifier_of_both_eras(filled, picture, checkpoint):
    state = filled("retfound/manifest_classifier_gap")
    path, images = checkpoint({"model": state, "epoch": 49}), picture("retfound", 224)
    model = models.create("retfound.cfp", weights=path, num_classes=5).eval()
    assert (model.weights_record["loaded"], model.weights_record["missing"]) == (len(state), [])
    mean = reference.levels(state, images, 16, 24)[-1][:, 1:].mean(1)
    once = reference.norm(state, "fc_norm", mean)
    assert relative(model.encode(images).pooled, once) <= 1e-4
    answers = {}
    for era, pooled in (("timm_0.9", reference.norm(state, "fc_norm", once)), ("timm_0.3", once)):
        model.head_era = era
        answers[era] = twice(lambda: model.classify(images))
        assert relative(answers[era], reference.linear(state, "head", pooled)) <= 1e-4
    assert relative(answers["timm_0.3"], answers["timm_0.9"]) > 1e-3


@torch.no_grad()
def test_retfound_mae_encoder_and_the_whole_autoencoder(filled, picture, checkpoint):
    state = filled("retfound/manifest_mae_vit_large_patch16")
    path, images = checkpoint({"model": state}), picture("mae", 224)
    tokens = reference.levels(state, images, 16, 24)[-1]
    model = models.create("retfound.oct", weights=path).eval()
    assert (
        relative(twice(lambda: model.encode(images).pooled), F.layer_norm(tokens[:, 1:].mean(1), (1024,), eps=1e-6))
        <= 1e-4
    )
    whole = models.create("mae.large_16", weights=path, decoder=True).eval()
    record = whole.weights_record
    assert (record["loaded"], record["missing"], record["unexpected"]) == (len(state), [], 0)
    noise = torch.rand(1, 196, generator=torch.Generator().manual_seed(0))
    predicted, mask = reference.masked_autoencoder(state, images, noise)
    found = whole.reconstruct(images, noise=noise)
    assert torch.equal(found.mask, mask)
    assert relative(found.predicted, predicted) <= 1e-4
    target = patchify(images, 16)
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    loss = ((predicted - target).square().mean(-1) * mask).sum() / mask.sum()
    assert float(whole.loss(images, found).total) == pytest.approx(float(loss), rel=1e-4)


@torch.no_grad()
def test_retfound_dinov2_teacher(filled, picture, checkpoint):
    state = filled("retfound/manifest_timm_vitl14_dinov2_224")
    teacher = {f"backbone.{k}": v for k, v in state.items() if not k.startswith("head.")}
    path = checkpoint({"teacher": {**teacher, "dino_head.mlp.0.weight": torch.zeros(2, 2)}})
    images = picture("dinov2", 224)
    model = models.create("retfound.dinov2", weights=path).eval()
    assert (model.weights_record["loaded"], model.weights_record["missing"]) == (len(teacher), [])
    expected = reference.norm(state, "norm", reference.levels(state, images, 16, 24)[-1])
    assert relative(twice(lambda: model.encode(images).pooled), expected[:, 0]) <= 1e-4


@torch.no_grad()
def test_visionfm_teacher(filled, picture, checkpoint):
    state = filled("visionfm/manifest_vitb_backbone")
    path = checkpoint({"teacher": {f"module.backbone.{k}": v for k, v in state.items()}, "epoch": 400})
    images = picture("visionfm", 224)
    model = models.create("visionfm.cfp", weights=path).eval()
    assert (model.weights_record["loaded"], model.weights_record["missing"]) == (150, [])
    found = [reference.norm(state, "norm", x) for x in reference.levels(state, images, 12, 12)]
    expected = torch.cat([x[:, 0] for x in found[-4:]], -1)
    assert relative(twice(lambda: model.encode(images).pooled), expected) <= 1e-4
    for ours, block in zip(model.segmentation_maps(images), (3, 5, 7, 11), strict=True):
        assert relative(ours.flatten(2).transpose(1, 2), found[block][:, 1:]) <= 1e-4


@torch.no_grad()
def test_eyefm_rebuilds_five_modalities(filled, picture, checkpoint):
    state = filled("eyefm/manifest_pretrain_multimae_large")
    body = MultiMAE().eval()
    report = load_multimae(body, checkpoint({"model": state, "epoch": 800}))
    assert (len(report.loaded), report.missing, report.unexpected) == (559, (), ())
    images = {d: picture(f"eyefm.{d}", 224) for d in DOMAINS.values()}
    generator = torch.Generator().manual_seed(0)
    masks = {d: (torch.rand(1, 196, generator=generator) < 0.77).float() for d in images}
    expected = reference.multimae(state, images, masks)
    ours = {m: images[d] for m, d in DOMAINS.items()}, {m: masks[d] for m, d in DOMAINS.items()}
    rebuilt = body(*ours)
    for m, d in DOMAINS.items():
        assert relative(rebuilt[m], expected[d]) <= 1e-4


@torch.no_grad()
def test_deepdr_grades_and_marks_lesions(filled, picture, checkpoint):
    images = picture("deepdr", 448)
    state = filled("deepdr/manifest_cla_vitb448")
    model = models.create("deepdr.base", weights=checkpoint({"model": state}), num_classes=5).eval()
    assert (model.weights_record["loaded"], model.weights_record["missing"]) == (len(state), [])
    mean = reference.levels(state, images, 12, 12)[-1][:, 1:].mean(1)
    expected = reference.linear(state, "head", reference.norm(state, "norm", mean))
    assert relative(twice(lambda: model(images)), expected) <= 1e-4

    state = filled("deepdr/manifest_seg_vitb448")
    lesions = segmenter(weights=checkpoint({"model": state})).eval()
    assert (lesions.weights_record["loaded"], lesions.weights_record["missing"]) == (len(state), [])
    found = reference.levels(state, images, 12, 12)
    answers = lesions(images)
    for answer, number in zip(answers, (2, 5, 8, 11), strict=True):
        x, name = found[number][:, 1:].transpose(1, 2).reshape(1, -1, 28, 28), f"Head.Head{number}"
        for i in range(1, 5):
            stage = f"{name}.UP_stage_{i}"
            x = F.conv2d(x, state[f"{stage}.0.weight"], state[f"{stage}.0.bias"], padding=1)
            spread = (state[f"{stage}.1.running_var"] + 1e-5).rsqrt() * state[f"{stage}.1.weight"]
            shift = state[f"{stage}.1.bias"] - state[f"{stage}.1.running_mean"] * spread
            x = (x * spread[:, None, None] + shift[:, None, None]).relu()
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
        x = F.conv2d(x, state[f"{name}.cls_seg.weight"], state[f"{name}.cls_seg.bias"], padding=1)
        assert relative(answer, x) <= 1e-4
