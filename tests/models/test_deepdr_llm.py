"""DeepDR-LLM: the adapter of the released code, on any layout of heads, off and merged; and the question it asks."""

import json

import pytest
import torch
from torch import nn

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Decoding, Turn
from fundusion.core.registry import models
from fundusion.layers.weights import load_state
from fundusion.models.deepdr_llm import (
    AdapterLinear,
    adapters_of,
    add_adapters,
    clinical_question,
    enable_adapters,
    merge_adapters,
)  # fmt: skip

ASKED = [[Turn(role="user", text="what is seen?")]]


def _trained(layer):
    with torch.no_grad():
        layer.lora_B.weight.normal_(std=0.3)
    return layer.eval()


@torch.no_grad()
def test_numbers_are_those_of_the_released_layer(golden_root):
    state = load_state(golden_root / "deepdr" / "adapter_lora_linear.safetensors")
    told = json.loads((golden_root / "deepdr" / "adapter_lora_linear.json").read_text("utf-8"))
    layer = AdapterLinear(state["sd.weight"], rank=told["r"], alpha=told["alpha"]).eval()
    layer.load_state_dict({k.removeprefix("sd."): v for k, v in state.items() if k.startswith("sd.")})
    assert float((layer(state["x"]) - state["y"]).abs().max()) <= 1e-4
    layer.merge()
    assert float((layer(state["x"]) - state["y"]).abs().max()) <= 1e-4


@pytest.mark.parametrize("shape", [(32, 32), (8, 32), (48, 32)])
@pytest.mark.parametrize("biased", [False, True])
@torch.no_grad()
def test_any_layout_of_heads_merges_exactly_and_comes_apart_again(shape, biased):
    torch.manual_seed(0)
    base = nn.Linear(shape[1], shape[0], bias=biased)
    layer = _trained(AdapterLinear(base.weight.clone(), base.bias, rank=4, alpha=8))
    x = torch.randn(2, 3, shape[1])
    before, weight = layer(x), layer.weight.clone()
    layer.merge()
    assert float((layer.weight - weight).abs().max()) > 1e-3
    assert float((layer(x) - before).abs().max()) <= 1e-5
    layer.is_enabled = False
    assert torch.equal(layer(x), base(x))
    layer.is_enabled = True
    layer.unmerge()
    assert torch.equal(layer.weight, weight)
    assert torch.equal(layer(x), before)


def test_only_adapters_learn_and_the_bottleneck_is_not_zero_at_the_start():
    layer = AdapterLinear(torch.randn(6, 5), rank=2, alpha=4)
    assert {n for n, p in layer.named_parameters() if not p.requires_grad} == {"weight"}
    assert not bool(layer.lora_B.weight.any())
    x = torch.randn(3, 5)
    assert not torch.allclose(layer(x), x @ layer.weight.T)
    with pytest.raises(InvalidInput, match="positive"):
        AdapterLinear(torch.randn(6, 5), rank=0)


@torch.no_grad()
def test_a_grouped_query_model_is_adapted_switched_off_merged_and_saved(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    model = models.create("deepdr_llm.test")
    layers = adapters_of(model)
    assert sorted({n.rpartition(".")[2] for n in layers}) == ["q_proj", "v_proj"]
    assert {tuple(m.weight.shape) for m in layers.values()} == {(16, 16), (8, 16)}
    for layer in layers.values():
        _trained(layer)
    words = model.read(None, ASKED, answers=False)
    adapted = model.token_logits(None, words)
    plain = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in model.body.config.to_dict().items() if k != "dtype"}))
    plain.load_state_dict({k: v for k, v in model.body.state_dict().items() if ".lora_" not in k})
    enable_adapters(model, False)
    bare = model.token_logits(None, words)
    torch.testing.assert_close(bare, plain.eval()(words.ids, attention_mask=words.mask.long()).logits)
    assert not torch.allclose(bare, adapted, atol=1e-4)
    enable_adapters(model, True)
    model.save(tmp_path)
    names = load_state(tmp_path / "adapter.safetensors")
    assert {k.rpartition(".lora_")[2] for k in names} == {
        "A.weight", "B.weight", "Adapter_mlp1.weight", "Adapter_mlp2.weight"
    }  # fmt: skip
    assert not any(".lora_" in k for k in load_state(tmp_path / "model.safetensors"))
    twin = models.create("deepdr_llm.test", weights=tmp_path)
    assert torch.equal(twin.token_logits(None, words), adapted)
    merge_adapters(model)
    assert float((model.token_logits(None, words) - adapted).abs().max()) <= 1e-5
    with pytest.raises(InvalidInput, match="merged"):
        model.save(tmp_path)


def test_nothing_to_adapt_is_an_error():
    with pytest.raises(InvalidInput, match="q_proj or v_proj"):
        add_adapters(nn.Sequential(nn.Linear(2, 2)))


def test_the_question_holds_table_and_findings_and_says_what_is_missing():
    turns = clinical_question(
        {"quality": "good", "dr_grade": "2", "lesions": "haemorrhages"}, {"sex": "female", "BMI (kg/m2)": None}
    )
    assert [t.role for t in turns] == ["system", "user"]
    assert turns[1].text.splitlines()[:2] == [
        "sex: female; BMI (kg/m2): not available",
        "Fundus Image Quality: good; DR Grade: 2; DME Grade: not available; Presence of Retinal Lesions: haemorrhages",
    ]
    assert "眼底图像质量: good" in clinical_question({"quality": "good"}, {}, language="zh")[1].text
    with pytest.raises(InvalidInput, match="cup"):
        clinical_question({"cup": "1"}, {})
    with pytest.raises(InvalidInput, match="'fr'"):
        clinical_question({}, {}, language="fr")


def test_pictures_are_refused_and_weights_are_needed():
    model = models.create("deepdr_llm.test")
    assert model.decoding == Decoding(temperature=0.2, top_k=40, top_p=0.9, repetition_penalty=1.1)
    with pytest.raises(InvalidInput, match="findings, not pictures"):
        model.generate(torch.zeros(1, 3, 64, 64), ASKED)
    with pytest.raises(InvalidInput, match=r"has to be given its weights.*folder of a LLaMA"):
        models.create("deepdr_llm.llama")
