"""A checkpoint is whole or not there; the one before it is the way back."""

import json

import pytest
import torch
from torch import nn

from fundusion.core.errors import IncompatibleWeights
from fundusion.layers.memory_format import prefer_channels_last
from fundusion.train.checkpoint import load_checkpoint, restore, save_checkpoint


def made(seed=0):
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.1)
    module(torch.randn(8, 3)).square().sum().backward()
    optimizer.step()
    return module, optimizer


def test_weights_buffers_and_optimiser_come_back_bit_for_bit(tmp_path):
    module, optimizer = made()
    save_checkpoint(tmp_path, modules={"m": module}, optimizer=optimizer, facts={"step": 1})
    facts, tensors = load_checkpoint(tmp_path)
    assert facts["step"] == 1
    other, twin = made(seed=5)
    restore(tensors, {"m": other}, twin)
    for a, b in zip(module.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    x = torch.randn(8, 3)
    for m, o in ((module, optimizer), (other, twin)):
        o.zero_grad()
        m(x).square().sum().backward()
        o.step()
    assert torch.equal(module[0].weight, other[0].weight)


def test_the_optimiser_comes_back_in_the_layout_of_its_kernels(tmp_path):
    def made_of_kernels():
        torch.manual_seed(0)
        module = nn.Conv2d(4, 8, 3)
        prefer_channels_last(module)
        return module, torch.optim.AdamW(module.parameters(), lr=0.1)

    module, optimizer = made_of_kernels()
    x = torch.randn(2, 4, 8, 8)
    module(x).square().sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path, modules={"m": module}, optimizer=optimizer, facts={"step": 1})
    other, twin = made_of_kernels()
    restore(load_checkpoint(tmp_path)[1], {"m": other}, twin)
    assert other.weight.stride() == module.weight.stride() != torch.empty(8, 4, 3, 3).stride()
    assert twin.state[other.weight]["exp_avg"].stride() == module.weight.stride()
    for m, o in ((module, optimizer), (other, twin)):
        o.zero_grad()
        m(x).square().sum().backward()
        o.step()
    assert torch.equal(module.weight, other.weight)


def test_a_torn_or_changed_file_is_passed_over_for_the_one_before(tmp_path):
    module, optimizer = made()
    for step in (1, 2, 3):
        save_checkpoint(tmp_path, modules={"m": module}, optimizer=optimizer, facts={"step": step})
    assert len(list(tmp_path.glob("checkpoint-*.safetensors"))) == 2
    newest = tmp_path / "checkpoint-00000003.safetensors"
    content = bytearray(newest.read_bytes())
    content[-3] ^= 1
    newest.write_bytes(bytes(content))
    assert load_checkpoint(tmp_path)[0]["step"] == 2
    newest.write_bytes(bytes(content[:100]))
    assert load_checkpoint(tmp_path)[0]["step"] == 2
    (tmp_path / "checkpoint-00000002.safetensors").unlink()
    with pytest.raises(IncompatibleWeights) as caught:
        load_checkpoint(tmp_path)
    assert caught.value.code == "run.damaged"


def test_a_kill_between_tensors_and_pointer_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    module, optimizer = made()
    save_checkpoint(tmp_path, modules={"m": module}, optimizer=optimizer, facts={"step": 1})
    from fundusion.train import checkpoint

    def dies(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "write_json", dies)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(tmp_path, modules={"m": module}, optimizer=optimizer, facts={"step": 2})
    assert load_checkpoint(tmp_path)[0]["step"] == 1
    assert json.loads((tmp_path / "checkpoint.json").read_text())["file"].endswith("00000001.safetensors")


def test_a_fresh_folder_has_none(tmp_path):
    assert load_checkpoint(tmp_path) is None
