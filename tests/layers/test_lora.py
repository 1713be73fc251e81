"""Adapters change nothing until trained, and merge into the weights."""

import pytest
import torch
from torch import nn

from fundusion.core.errors import IncompatibleWeights, InvalidInput
from fundusion.layers.lora import add_lora, load_lora, merge_lora, save_lora


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


def test_adapters_of_a_file_go_where_their_names_say_and_refuse_another_base(tmp_path):
    torch.manual_seed(0)
    block, x = Block(), torch.randn(5, 4)
    twin = Block()
    twin.load_state_dict(block.state_dict())
    add_lora(block, rank=2)
    with torch.no_grad():
        for n, p in block.named_parameters():
            if ".lora_B." in n:
                p.normal_()
    save_lora(tmp_path / "a.safetensors", block)
    torch.testing.assert_close(load_lora(tmp_path / "a.safetensors", twin)(x), block(x))
    with pytest.raises(IncompatibleWeights, match="its weights differ") as caught:
        load_lora(tmp_path / "a.safetensors", Block())
    assert caught.value.code == "model.base"
    with pytest.raises(IncompatibleWeights, match="is not here"):
        load_lora(tmp_path / "a.safetensors", nn.Sequential(nn.Linear(4, 4)))
    # The same base in half precision is the same base.
    half = Block()
    half.load_state_dict(merge_free(block))
    load_lora(tmp_path / "a.safetensors", half.to(torch.bfloat16))


def merge_free(block):
    return {k.replace(".base_layer", ""): v for k, v in block.state_dict().items() if ".lora_" not in k}


def test_files_and_models_without_adapters_are_refused(tmp_path):
    from fundusion.layers.weights import save_state

    with pytest.raises(InvalidInput, match="no low-rank adapters"):
        save_lora(tmp_path / "a.safetensors", Block())
    save_state(tmp_path / "b.safetensors", Block().state_dict())
    with pytest.raises(IncompatibleWeights, match="holds no low-rank adapters"):
        load_lora(tmp_path / "b.safetensors", Block())
