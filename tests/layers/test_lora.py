"""Adapters change nothing until trained, and merge into the weights."""

import pytest
import torch
from torch import nn

from fundusion.core.errors import InvalidInput
from fundusion.layers.lora import add_lora, merge_lora


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn = nn.ModuleDict({"qkv": nn.Linear(4, 12), "proj": nn.Linear(12, 4)})
        self.body = nn.ModuleDict({"conv1": nn.Conv2d(4, 4, 3, padding=1)})
        self.other = nn.Linear(4, 4)

    def forward(self, x):
        y = self.attn["proj"](self.attn["qkv"](x))
        return self.other(y) + self.body["conv1"](y[:, :, None, None]).mean((2, 3))


def test_output_is_unchanged_only_adapters_learn_and_merging_keeps_the_output():
    torch.manual_seed(0)
    block, x = Block(), torch.randn(5, 4)
    names, before = list(block.state_dict()), block(x)
    add_lora(block, rank=2)
    torch.testing.assert_close(block(x), before)
    trained = [n for n, p in block.named_parameters() if p.requires_grad]
    assert trained
    assert all("lora_" in n for n in trained)
    assert len(trained) == 6
    optimizer = torch.optim.SGD([p for p in block.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        block(x).square().sum().backward()
        optimizer.step()
    after = block(x)
    assert not torch.allclose(after, before, atol=1e-4)
    merge_lora(block)
    assert list(block.state_dict()) == names
    torch.testing.assert_close(block(x), after, rtol=1e-4, atol=1e-5)
    assert all(p.requires_grad for p in block.parameters())


def test_nothing_to_adapt_is_an_error():
    with pytest.raises(InvalidInput, match="matches"):
        add_lora(nn.Sequential(nn.Linear(2, 2)), rank=1)
