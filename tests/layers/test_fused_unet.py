"""Folded networks answer as the ones they were made from, at the border too, and a wrong one is found out."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models
from fundusion.layers.fused_unet import Affine, FusedCascade, agrees_with
from fundusion.layers.unet import LightUNet


def lived(model, seed=0):
    """Return a network whose normalisations have seen something, with factors of both signs and zero."""
    generator = torch.Generator().manual_seed(seed)
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            with torch.no_grad():
                layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator))
                layer.weight[0] = 0.0
                layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator))
                layer.running_mean.copy_(torch.randn(layer.bias.shape, generator=generator))
                layer.running_var.copy_(torch.rand(layer.bias.shape, generator=generator) + 0.5)
    return model.eval()


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("size", [(32, 32), (40, 25), (8, 8)])
def test_folding_changes_nothing_but_rounding(cascade, size):
    torch.manual_seed(3)
    model = lived(models.create("unet.small", classes=("a", "b"), width=5, levels=3, cascade=cascade))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    images = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = model.segment(images)
        found = model.fused(torch.float32).segment(images)
    scale = expected.abs().max()
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-4 * scale
    # The rows and columns at the border, where an offset cannot be a bias, are as exact as the rest.
    assert (found - expected)[:, :, 0].abs().max() <= 1e-4 * scale
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert {v.dtype for v in model.state_dict().values() if v.is_floating_point()} == {torch.float32}


def test_half_precision_starts_from_the_exact_picture():
    torch.manual_seed(0)
    model = models.create("unet.small", width=4, levels=2).eval()
    levels = torch.arange(256, dtype=torch.float32).repeat(3, 2, 1)[None] / 255
    for dtype in (torch.float16, torch.bfloat16):
        fused = model.fused(dtype)
        seen = []
        fused.unets[0].register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        try:
            with torch.inference_mode():
                assert fused.segment(levels).dtype == torch.float32
        except RuntimeError as error:
            # A processor without these convolutions still tells what they would have been given.
            if "needs the cpu support" not in str(error):
                raise
        assert torch.equal(seen[0].float() * 256, (levels * 255).round())


def test_a_wrong_routine_is_found_out():
    torch.manual_seed(1)
    model = lived(models.create("unet.small", width=4, levels=3))
    good = model.fused(torch.float32)
    assert agrees_with(model, good)
    for spoil in (lambda c: c.bias.add_(0.2), lambda c: c.kernel.mul_(1.05), lambda c: c.bias.fill_(float("nan"))):
        bad = model.fused(torch.float32)
        spoil(bad.unets[0].first.one)
        assert not agrees_with(model, bad)

    class Refusing(FusedCascade):
        def segment(self, images):
            raise RuntimeError("could not create a primitive")

    assert not agrees_with(model, Refusing([model.unet1], dtype=torch.float32))


def test_a_normalisation_that_follows_the_batch_cannot_be_folded():
    unet = LightUNet(3, 1, (4, 8))
    unet.first.block[2] = torch.nn.BatchNorm2d(4, track_running_stats=False)
    with pytest.raises(InvalidInput, match="running"):
        FusedCascade([unet], dtype=torch.float32)
    assert Affine(torch.nn.BatchNorm2d(3)).offset.shape == (3,)
