"""Weights of eight bits: the error is within the bound that is told, the memory is smaller, and they are neither trained nor saved."""

import pytest
import torch
from torch import nn

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models
from fundusion.layers import int8
from fundusion.layers.int8 import Int8Linear, is_int8, to_int8
from fundusion.layers.lora import LANGUAGE_TARGETS, add_lora
from fundusion.layers.placement import bytes_of

ASKED = [[Turn(role="user", text="what is seen?")]]


@pytest.mark.parametrize("bias", [True, False])
def test_the_error_is_within_its_bound_and_not_zero(bias):
    torch.manual_seed(0)
    layer = nn.Linear(48, 20, bias=bias)
    with torch.no_grad():
        # A row of large weights, one of zeros: each has its own scale.
        layer.weight[3] *= 100
        layer.weight[4] = 0
    made, x = Int8Linear(layer), torch.randn(7, 48)
    error = (made(x) - layer(x)).abs()
    bound = made.scale / 2 * x.abs().sum(1, keepdim=True)
    # Sums of float32 have an error of their own.
    assert bool((error <= bound * 1.0001 + 2e-6 * layer(x).abs().max()).all())
    assert float(error.detach().max()) > 0
    assert float(error[:, 4].detach().max()) < 1e-6
    assert float((made.weight - layer.weight).detach().abs().max()) <= float(made.scale.max()) / 2 * 1.0001


def test_half_precision_inputs_stay_half_precision():
    layer = Int8Linear(nn.Linear(16, 4).bfloat16())
    assert layer(torch.randn(2, 16).bfloat16()).dtype == torch.bfloat16
    assert layer.weight.dtype == torch.bfloat16


@torch.no_grad()
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl", "blip2"])
def test_answers_of_a_rounded_model_are_near_and_its_memory_is_smaller(family):
    torch.manual_seed(0)
    model = models.create(f"{family}.test").eval()
    images = torch.randn(1, 3, 64, 64)
    words = model.read(images, ASKED, answers=False)
    before, size = model.token_logits(images, words), bytes_of(model.body)
    exact = {
        n: m for n, m in model.body.named_modules() if isinstance(m, torch.nn.Linear) and not n.endswith("lm_head")
    }
    weights, rows = sum(m.weight.numel() for m in exact.values()), sum(m.out_features for m in exact.values())
    count = to_int8(model.body)
    after = model.token_logits(images, words)
    assert count == len(exact) > 10
    assert not torch.equal(before, after)
    assert float((after - before).abs().max()) < 0.02 * float(before.abs().max())
    # One byte for four, and a scale per row.
    assert bytes_of(model.body) == size - 3 * weights + 4 * rows
    assert len(model.generate(images, ASKED, max_tokens=3)) == 1
    # The last layer decides between words and stays exact.
    assert all(not isinstance(m, Int8Linear) for n, m in model.body.named_modules() if n.endswith("lm_head"))


def test_adapters_first_and_no_saving(tmp_path):
    model = models.create("llava.test").eval()
    with pytest.raises(InvalidInput, match="no linear layer"):
        to_int8(nn.Conv2d(1, 1, 1))
    adapted = add_lora(models.create("llava.test"), rank=2, targets=LANGUAGE_TARGETS)
    with pytest.raises(InvalidInput, match="Merge them first"):
        to_int8(adapted.body)
    assert not is_int8(model)
    to_int8(model.body)
    assert is_int8(model)
    with pytest.raises(InvalidInput, match="eight bits are not saved"):
        model.save(tmp_path / "x")


def test_both_ways_of_multiplying_agree(monkeypatch):
    torch.manual_seed(0)
    layer = Int8Linear(nn.Linear(96, 50).bfloat16())
    x = torch.randn(2, 5, 96).bfloat16()
    fast = layer(x)
    monkeypatch.setattr(int8, "has_packed_products", lambda: False)
    plain = layer(x)
    assert fast.shape == plain.shape == (2, 5, 50)
    # One rounding to bfloat16 more or less.
    assert float((fast - plain).detach().abs().max()) <= 0.01 * float(plain.detach().abs().max())


def test_a_routine_that_is_wrong_or_gone_is_not_used(monkeypatch):
    int8.has_packed_products.cache_clear()
    monkeypatch.setattr(int8, "_packed", lambda x, steps: x.float() @ steps.float().T * 1.1)
    assert not int8.has_packed_products()
    int8.has_packed_products.cache_clear()

    def gone(x, steps):
        raise AttributeError

    monkeypatch.setattr(int8, "_packed", gone)
    assert not int8.has_packed_products()
    int8.has_packed_products.cache_clear()


@torch.no_grad()
def test_adapters_that_are_part_of_a_family_stay_exact():
    torch.manual_seed(0)
    model = models.create("deepdr_llm.test").eval()
    words = model.read(None, ASKED, answers=False)
    before = model.token_logits(None, words)
    assert to_int8(model.body) > 5
    after = model.token_logits(None, words)
    assert 0 < float((after - before).abs().max()) < 0.05 * float(before.abs().max())
    assert not any(isinstance(m, Int8Linear) for n, m in model.body.named_modules() if ".lora_" in n)
