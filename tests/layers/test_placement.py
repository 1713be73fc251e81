"""Where a model runs: devices that are not there are named, memory is counted before anything moves, layers are divided by size."""

import pytest
import torch
from torch import nn

from fundusion.core.errors import ExhaustedResource, InvalidInput
from fundusion.layers.placement import bytes_of, device_map, place


def test_the_processor_is_always_there():
    layer = nn.Linear(2, 2)
    assert place(layer, "cpu") is layer
    with pytest.raises(InvalidInput, match="no device"):
        place(layer, "toaster")
    with pytest.raises(InvalidInput, match="not supported"):
        place(layer, "meta")


def test_without_a_gpu_auto_is_the_processor(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    layer = nn.Linear(2, 2)
    assert next(place(layer, "auto").parameters()).device.type == "cpu"
    with pytest.raises(InvalidInput, match="has 0 GPUs"):
        place(layer, "cuda:1")


def test_a_gpu_without_room_is_refused_before_anything_moves(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2000))
    layer = nn.Linear(100, 100)
    with pytest.raises(ExhaustedResource, match="GPU memory") as caught:
        place(layer, "cuda")
    assert caught.value.code == "memory.weights"
    assert layer.weight.device.type == "cpu"
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 10**9))
    moved = []
    monkeypatch.setattr(nn.Module, "to", lambda self, device: moved.append(device) or self)
    place(layer, "cuda:0")
    assert moved == [torch.device("cuda:0")]


def test_layers_are_divided_by_the_memory_there_is():
    pytest.importorskip("accelerate")
    model = nn.Sequential(*(nn.Linear(64, 64) for _ in range(4)))
    one = bytes_of(model[0])
    found = device_map(model, memory={0: int(2.5 * one), "cpu": 100 * one})
    assert set(found.values()) == {0, "cpu"}
    assert found["0"] == 0
    assert found["3"] == "cpu"


def test_auto_spreads_over_the_map(monkeypatch):
    accelerate = pytest.importorskip("accelerate")
    model, seen = nn.Sequential(nn.Linear(4, 4)), {}
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(accelerate, "infer_auto_device_map", lambda m, **k: {"0": "cpu"})
    monkeypatch.setattr(accelerate, "dispatch_model", lambda m, device_map: seen.update(device_map) or m)
    assert place(model, "auto") is model
    assert seen == {"0": "cpu"}
