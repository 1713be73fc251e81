"""Channels last changes the order of numbers in memory, not the answers, and transformers not at all."""

import copy

import pytest
import torch
from torch import nn

from fundusion.core.registry import models
from fundusion.layers.memory_format import in_layout_of, prefer_channels_last


@pytest.mark.parametrize("name", ["resnet.test", "senet.test", "cabnet.test"])
def test_a_convolution_network_answers_and_learns_the_same(name):
    torch.manual_seed(0)
    plain = models.create(name).train()
    quick = copy.deepcopy(plain)
    convolutions = sum(isinstance(m, nn.Conv2d) for m in quick.modules())
    assert prefer_channels_last(quick) == convolutions > 3
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), quick.parameters(), strict=True))
    images = torch.rand(2, 3, 64, 64)
    seen = []
    last = [m for m in quick.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)][-1]
    last.register_forward_hook(lambda _m, _i, out: seen.append(out))
    for net in (plain, quick):
        net.encode(images).pooled.square().sum().backward()
    # The pictures were given the usual way; the network turned them by itself.
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    for (n, a), (_, b) in zip(plain.named_parameters(), quick.named_parameters(), strict=True):
        assert float((a.grad - b.grad).abs().max()) <= 1e-3 * float(a.grad.abs().max()) + 1e-6, n


@pytest.mark.parametrize("name", ["vit.test", "swin.test", "mae.test"])
def test_transformers_stay_bit_for_bit(name):
    model = models.create(name)
    before = [p.stride() for p in model.parameters()]
    assert prefer_channels_last(model) == 0
    assert [p.stride() for p in model.parameters()] == before


def test_a_tensor_takes_the_layout_of_another_and_keeps_its_values():
    like = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    value = torch.rand(2, 3, 4, 5)
    moved = in_layout_of(value, like)
    assert moved.stride() == like.stride()
    assert torch.equal(moved, value)
    step = torch.tensor(3.0)
    assert in_layout_of(step, like) is step
    assert in_layout_of(moved, like) is moved
