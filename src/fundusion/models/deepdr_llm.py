"""DeepDR-LLM: findings of the picture and the patient's table become a question, a LLaMA with small adapters recommends management.

Source: Li et al. 2024, doi:10.1038/s41591-024-03139-8; released code DeepPros/DeepDR-LLM (MIT), peft/tuners/adapter_lora, written from a
description: `h = W x; y = h + M2 relu(M1 h) + (alpha / r) B A drop(x)`. Deviations: M1 and M2 have the width of the output, so that
models with grouped queries work (released: the width of the input, which fits square layers only); switching off and merging work
(released: both raise). Merged, W becomes `W + (alpha / r) B A`, and the branch that read `h` reads `M1 W x` by one product made before,
so nothing changes. No weights were released.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..core.durable import write_json
from ..core.errors import InvalidInput, require
from ..core.interfaces import Decoding, Turn, Words
from ..core.registry import Card, models
from ..layers.chat import LLAMA2
from ..layers.generator import ChatModel, Pictures
from ..layers.hub_folder import open_folder
from ..layers.letter_chat import TINY_LLAMA, letter_chat_tokenizer
from ..layers.weights import fit_state, load_state, save_state

_CLASS = "LlamaForCausalLM"
_ADAPTER, _SETTINGS = "adapter.safetensors", "adapter.json"
#: Of the released command line.
_DECODING = Decoding(temperature=0.2, top_k=40, top_p=0.9, repetition_penalty=1.1)
_SYSTEM = {"en": "You are a helpful assistant.", "zh": "You are a helpful assistant. 你是一个乐于助人的助手。"}
#: What the picture says, by language: names in the order of the released prompts.
FINDINGS = {
    "quality": {"en": "Fundus Image Quality", "zh": "眼底图像质量"},
    "dr_grade": {"en": "DR Grade", "zh": "糖尿病视网膜病变分级"},
    "dme_grade": {"en": "DME Grade", "zh": "糖尿病性黄斑水肿分级"},
    "lesions": {"en": "Presence of Retinal Lesions", "zh": "视网膜病变"},
}
_ASKED = {
    "en": "Write the management recommendations for this patient with diabetes, by section.",
    "zh": "请分项写出该糖尿病患者的管理建议。",
}
_UNKNOWN = {"en": "not available", "zh": "无"}


class AdapterLinear(nn.Module):
    """A frozen linear layer with the two branches of the paper; names of tensors are those of the released code.

    Args:
        weight: `(out, in)`, frozen.
        bias: `(out,)` or None, frozen.
        rank: Width of both branches.
        alpha: The low-rank branch is multiplied by `alpha / rank`.
        dropout: Share of inputs of the low-rank branch that are dropped in training.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, rank: int = 64, alpha: float = 128.0, dropout: float = 0.05
    ) -> None:
        super().__init__()
        out, width = weight.shape
        if rank < 1:
            raise InvalidInput(f"the rank of an adapter is positive, got {rank}.", code="config.invalid")
        self.weight = nn.Parameter(weight.detach(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach(), requires_grad=False)
        self.lora_A, self.lora_B = nn.Linear(width, rank, bias=False), nn.Linear(rank, out, bias=False)
        self.lora_Adapter_mlp1 = nn.Linear(out, rank, bias=False)
        self.lora_Adapter_mlp2 = nn.Linear(rank, out, bias=False)
        # The bottleneck is not zero at the start, as published: an untrained adapter already changes the model.
        for layer in (self.lora_A, self.lora_Adapter_mlp1, self.lora_Adapter_mlp2):
            nn.init.kaiming_uniform_(layer.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)
        self.to(device=weight.device, dtype=weight.dtype)
        self.scaling, self.dropout, self.rank, self.alpha = alpha / rank, dropout, rank, alpha
        self.is_enabled = True
        # `M1 W` and `M1 b` of the weight before merging, and that weight; None while apart.
        self.folded: Tensor | None
        self.folded_bias: Tensor | None
        self.apart: Tensor | None
        for name in ("folded", "folded_bias", "apart"):
            self.register_buffer(name, None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(..., out)`; the layer alone while switched off."""
        if not self.is_enabled:
            return F.linear(x, self.weight if self.apart is None else self.apart, self.bias)
        h = F.linear(x, self.weight, self.bias)
        if self.folded is not None:
            return h + self.lora_Adapter_mlp2(torch.relu(F.linear(x, self.folded, self.folded_bias)))
        branch = self.lora_Adapter_mlp2(torch.relu(self.lora_Adapter_mlp1(h)))
        low = self.lora_B(self.lora_A(F.dropout(x, self.dropout, self.training)))
        return h + branch + self.scaling * low

    @torch.no_grad()
    def merge(self) -> None:
        """Add the low-rank branch to the weight; outputs stay the same. It can be taken apart again, exactly."""
        if self.folded is not None:
            return
        first = self.lora_Adapter_mlp1.weight
        self.folded = first @ self.weight
        self.folded_bias = None if self.bias is None else first @ self.bias
        self.apart = self.weight.clone()
        self.weight += self.scaling * (self.lora_B.weight @ self.lora_A.weight)

    @torch.no_grad()
    def unmerge(self) -> None:
        """Take the low-rank branch off the weight again."""
        if self.apart is not None:
            self.weight.copy_(self.apart)
        self.folded = self.folded_bias = self.apart = None


def adapters_of(module: nn.Module) -> dict[str, AdapterLinear]:
    """Return the adapted layers by name."""
    return {n: m for n, m in module.named_modules() if isinstance(m, AdapterLinear)}


def add_adapters(
    module: nn.Module,
    *,
    rank: int = 64,
    alpha: float = 128.0,
    dropout: float = 0.05,
    targets: Sequence[str] = ("q_proj", "v_proj"),
) -> nn.Module:
    """Return a language model whose layers of some names are adapted; only the adapters are trainable.

    Raises:
        InvalidInput: No layer has such a name.
    """
    found = [n for n, m in module.named_modules() if isinstance(m, nn.Linear) and n.rpartition(".")[2] in targets]
    if not found:
        raise InvalidInput(f"no linear layer is called {' or '.join(targets)}.")
    module.requires_grad_(False)
    for name in found:
        parent, _, own = name.rpartition(".")
        layer = module.get_submodule(name)
        made = AdapterLinear(layer.weight, layer.bias, rank=rank, alpha=alpha, dropout=dropout)
        setattr(module.get_submodule(parent), own, made.train(module.training))
    return module


def enable_adapters(module: nn.Module, on: bool) -> None:
    """Switch all adapters on or off; off is the language model as it was."""
    for layer in adapters_of(module).values():
        layer.is_enabled = on


def merge_adapters(module: nn.Module) -> None:
    """Add the low-rank part of all adapters to the weights."""
    for layer in adapters_of(module).values():
        layer.merge()


def clinical_question(
    findings: Mapping[str, str], table: Mapping[str, Any], *, language: Literal["en", "zh"] = "en"
) -> list[Turn]:
    """Return the conversation that asks for management: the table, then what the picture shows.

    Args:
        findings: Of `FINDINGS`; one that is missing is said to be missing.
        table: Name with unit -> value; None is missing.
        language: "en" or "zh".

    Raises:
        InvalidInput: Another language, or a finding the prompt has no place for.

    Example:
        >>> print(clinical_question({"dr_grade": "2"}, {"HbA1c (%)": 7.5, "age (years)": None})[1].text.splitlines()[0])
        HbA1c (%): 7.5; age (years): not available
    """
    if language not in _SYSTEM:
        raise InvalidInput(f"language {language!r} is not one of en, zh.", code="language.unknown")
    unknown = sorted(set(findings) - set(FINDINGS))
    if unknown:
        raise InvalidInput(f"no place for finding {unknown[0]!r}.", hint=f"Known: {', '.join(FINDINGS)}.")
    missing = _UNKNOWN[language]
    known = "; ".join(f"{k}: {missing if v is None else v}" for k, v in table.items())
    seen = "; ".join(f"{names[language]}: {findings.get(key, missing)}" for key, names in FINDINGS.items())
    asked = f"{known}\n{seen}\n{_ASKED[language]}" if known else f"{seen}\n{_ASKED[language]}"
    return [Turn(role="system", text=_SYSTEM[language]), Turn(role="user", text=asked)]


class FindingsOnly:
    """No picture reaches the language model: what it shows is in the question."""

    packs = True

    def places(self, pictures: Pictures, count: int) -> list[str]:
        """Return nothing to write; pictures are refused."""
        if pictures.images:
            raise InvalidInput(
                "DeepDR-LLM reads findings, not pictures.",
                code="chat.images",
                hint="Let the deepdr models grade the picture, and ask with clinical_question.",
            )
        return [""] * count

    def inputs(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of the model."""
        return {"input_ids": words.ids, "attention_mask": words.mask.long()}

    def prompt(self, pictures: Pictures, words: Words) -> dict[str, Any]:
        """Return the arguments of generation."""
        return self.inputs(pictures, words)

    def save_whole(self, folder: Path, body: nn.Module) -> dict[str, Tensor]:
        """Write the adapters into a folder and return the tensors of the language model, without them."""
        layers = adapters_of(body)
        one = next(iter(layers.values()))
        if any(layer.folded is not None for layer in layers.values()):
            raise InvalidInput("merged adapters are not saved.", code="model.adapters", hint="Unmerge them first.")
        state = body.state_dict()
        folder.mkdir(parents=True, exist_ok=True)
        save_state(folder / _ADAPTER, {k: v for k, v in state.items() if ".lora_" in k})
        write_json(folder / _SETTINGS, {"rank": one.rank, "alpha": one.alpha, "dropout": one.dropout})
        return {k: v for k, v in state.items() if ".lora_" not in k}


def _model(body: Any, tokenizer: Any, rank: int, alpha: float, adapter: Path | None) -> ChatModel:
    add_adapters(body, rank=rank, alpha=alpha)
    if adapter is not None:
        fit_state(body, load_state(adapter), allow_missing=[k for k in body.state_dict() if ".lora_" not in k])
    limit = int(body.config.max_position_embeddings)
    return ChatModel(
        body, tokenizer, style=LLAMA2, feed=FindingsOnly(), start=tokenizer.bos_token_id, limit=limit, decoding=_DECODING
    )  # fmt: skip


def _card(title: str) -> Card:
    return Card(
        title=title,
        roles=frozenset({"generate"}),
        modalities=frozenset({"text", "table"}),
        paper="doi:10.1038/s41591-024-03139-8",
        obtain="No adapters were released; give the folder of a LLaMA of your own, and train them or give a file of adapters.",
        notes="Findings of the picture reach it in words: clinical_question. Draws at temperature 0.2 unless asked otherwise.",
    )


_LLAMA, _TEST = _card("DeepDR-LLM on LLaMA"), _card("DeepDR-LLM, smallest")


def _open(
    weights: str | Path | None, card: Card, dtype: str, rank: int, *, alpha: float, adapter: Path | None
) -> ChatModel:
    body, tokenizer, record = open_folder(_CLASS, weights, card=card, dtype=dtype)
    beside = Path(tokenizer.name_or_path) / _ADAPTER
    model = _model(body, tokenizer, rank, alpha, adapter or (beside if beside.is_file() else None))
    model.weights_record = record
    return model.eval()


@models.register("deepdr_llm.llama", _LLAMA)
def llama(
    *,
    weights: str | Path | None = None,
    adapter: str | Path | None = None,
    rank: int = 64,
    alpha: float = 128.0,
    dtype: str = "bfloat16",
) -> ChatModel:
    """Return the language module on a LLaMA of a folder or the hub, with any layout of heads.

    Args:
        weights: Of the LLaMA; there are no published ones to fall back to.
        adapter: File of adapters; None takes those in the folder, or fresh ones.
        rank: Of the adapters.
        alpha: Of the adapters.
        dtype: "float32" or "bfloat16".
    """
    return _open(weights, _LLAMA, dtype, rank, alpha=alpha, adapter=None if adapter is None else Path(adapter))


@models.register("deepdr_llm.test", _TEST)
def test(*, weights: str | Path | None = None, dtype: str = "float32") -> ChatModel:
    """Return the smallest legal configuration, with grouped queries, or what `save` wrote of one."""
    if weights is not None:
        return _open(weights, _TEST, dtype, 4, alpha=8.0, adapter=None)
    transformers = require("transformers", extra="text")
    words = letter_chat_tokenizer()
    sizes = {k: v for k, v in TINY_LLAMA.items() if k != "model_type"}
    body = getattr(transformers, _CLASS)(transformers.LlamaConfig(**sizes, vocab_size=len(words)))
    return _model(body.eval(), words, 4, 8.0, None)
