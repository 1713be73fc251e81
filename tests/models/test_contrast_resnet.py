"""Colour and local contrast: illumination falls out, small lesions stay."""

import torch

from fundusion.core.registry import models
from fundusion.models.contrast_resnet import local_contrast


def test_local_contrast_removes_what_is_even_and_keeps_what_is_small():
    images = torch.rand(2, 3, 64, 64)
    six = local_contrast(images)
    torch.testing.assert_close(six[:, :3], images)
    torch.testing.assert_close(local_contrast(images + 0.3)[:, 3:], six[:, 3:], rtol=1e-4, atol=1e-4)
    spot = torch.zeros(1, 3, 64, 64)
    spot[..., 30:32, 30:32] = 1.0
    contrast = local_contrast(spot)[0, 3]
    assert contrast[31, 31] > 3.5
    assert contrast[5, 5].abs() < 1e-6


def test_the_shipped_encoder_is_small_and_its_map_is_fine():
    encoder = models.create("contrast_resnet.small").eval()
    assert 4.0e6 < sum(p.numel() for p in encoder.parameters()) < 4.5e6
    with torch.no_grad():
        f = encoder.encode(torch.rand(1, 3, 128, 128))
    assert f.maps[-1].shape == (1, 320, 8, 8)
