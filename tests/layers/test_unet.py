"""Light U-Nets: shapes, padding, and an error where the size does not fit."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.layers.unet import Bridge, ConvBlock, LightUNet, UpBlock, Upsample, pad_to_stride


def test_blocks_halve_and_double():
    x = torch.rand(2, 3, 16, 24)
    assert ConvBlock(3, 5, pool=False)(x).shape == (2, 5, 16, 24)
    assert ConvBlock(3, 5, pool=True)(x).shape == (2, 5, 8, 12)
    assert Upsample(3, 2)(x).shape == (2, 2, 32, 48)
    assert Bridge(3)(x).shape == x.shape
    assert UpBlock(6, 3)(torch.rand(2, 6, 8, 12), x).shape == x.shape


def test_logits_have_the_size_of_the_image_and_levels_run_fine_to_coarse():
    net = LightUNet(3, 2, (4, 8, 16)).eval()
    x = torch.rand(1, 3, 32, 48)
    assert net(x).shape == (1, 2, 32, 48)
    assert [tuple(m.shape[1:]) for m in net.levels(x)] == [(4, 32, 48), (8, 16, 24), (16, 8, 12)]
    with pytest.raises(InvalidInput, match="divide by 4"):
        net(torch.rand(1, 3, 30, 48))


@pytest.mark.parametrize("shape", [(30, 33), (32, 32), (3, 2), (1, 1), (8, 7)])
def test_padding_keeps_the_image_and_reaches_the_stride(shape):
    x = torch.rand(1, 3, *shape)
    padded = pad_to_stride(x, 8)
    assert padded.shape[2] % 8 == 0
    assert padded.shape[3] % 8 == 0
    assert torch.equal(padded[:, :, : shape[0], : shape[1]], x)
    assert padded.shape[2] - shape[0] < 8
