"""Low-rank adapters on linear and convolution layers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.errors import IncompatibleWeights, InvalidInput, require
from .weights import fit_state, load_state, metadata_of, save_state

#: Layers of an image or text encoder that are adapted when nothing is asked: attention, MLP, residual convolutions.
DEFAULT_TARGETS = r".*\.(qkv|proj|fc1|fc2|query|key|value|dense|[qkv]_proj|conv1|conv2|conv3)"

#: Layers of the language part of a generator. Asked for "all linear layers", peft would adapt the image tower too.
LANGUAGE_TARGETS = (
    r".*\.(language_model|text_decoder|body\.model\.layers)\..*\."
    r"(q_proj|k_proj|v_proj|o_proj|out_proj|gate_proj|up_proj|down_proj|fc1|fc2|query|key|value|dense|[qkvo]|wi_0|wi_1|wo)"
)
#: Values of each adapted layer that are compared to tell one base from another.
_SAMPLE = 256


def add_lora(module: nn.Module, *, rank: int = 8, targets: str | Sequence[str] = DEFAULT_TARGETS) -> nn.Module:
    """Return the module with adapters; only they are trainable, and the output is unchanged until they are trained.

    Args:
        module: An encoder.
        rank: Rank of the adapters.
        targets: Regular expression over module names, or a list of name endings.

    Raises:
        InvalidInput: Nothing matches.

    Source: Hu et al. 2022, arXiv:2106.09685; library peft.
    """
    peft = require("peft", extra="train")
    names = _matching(module, targets)
    if not names:
        raise InvalidInput(f"no linear or convolution layer matches {targets!r}.")
    config: Any = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=names, lora_dropout=0.0)
    return peft.inject_adapter_in_model(config, module)


def merge_lora(module: nn.Module) -> nn.Module:
    """Return the module with the adapters added into its weights; names are those from before `add_lora`."""
    tuners = require("peft.tuners.tuners_utils", extra="train")
    for name, child in list(module.named_modules()):
        if isinstance(child, tuners.BaseTunerLayer):
            child.merge()
            parent = module.get_submodule(name.rpartition(".")[0])
            setattr(parent, name.rpartition(".")[2], child.get_base_layer())
    for parameter in module.parameters():
        parameter.requires_grad_(True)
    return module


@contextmanager
def adapters_off(module: nn.Module) -> Iterator[None]:
    """Answer as the model did before its adapters, for as long as the block lasts; nothing is copied."""
    tuners = require("peft.tuners.tuners_utils", extra="train")
    layers = [m for m in module.modules() if isinstance(m, tuners.BaseTunerLayer)]
    # peft freezes adapters that it switches off.
    learned = [p for p in module.parameters() if p.requires_grad]
    try:
        for layer in layers:
            layer.enable_adapters(False)
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
        for parameter in learned:
            parameter.requires_grad_(True)


def save_lora(path: str | Path, module: nn.Module) -> None:
    """Write the adapters alone, with what tells the weights they were trained on from others.

    Raises:
        InvalidInput: There are none.
    """
    state = {k: v for k, v in module.state_dict().items() if ".lora_" in k}
    if not state:
        raise InvalidInput("this model has no low-rank adapters.", hint="Add them with add_lora.")
    save_state(path, state, metadata={"kind": "lora", "base": _base_of(module, _adapted(state))})


def load_lora(path: str | Path, module: nn.Module) -> nn.Module:
    """Return a model without adapters with those of a file; names say where each belongs.

    Raises:
        IncompatibleWeights: No adapters, or they were trained on other weights (`model.base`).
    """
    state, told = load_state(path), metadata_of(path)
    name = Path(path).name
    if told.get("kind") != "lora" or not state:
        raise IncompatibleWeights(f"{name!r} holds no low-rank adapters.", hint="Give what save_lora wrote.")
    layers = _adapted(state)
    known = dict(module.named_modules())
    lost = [n for n in layers if n not in known]
    if lost or _base_of(module, layers) != told.get("base"):
        raise IncompatibleWeights(
            f"the adapters of {name!r} were trained on another model"
            + (f" ({lost[0]!r} is not here)." if lost else " of this shape: its weights differ."),
            code="model.base",
            hint="Load the model they were trained on, without adapters, and then the adapters.",
        )
    ranks = {len(v) for k, v in state.items() if ".lora_A." in k}
    adapted = add_lora(module, rank=ranks.pop(), targets="|".join(re.escape("." + n) for n in layers))
    own = [k for k in adapted.state_dict() if ".lora_" not in k]
    fit_state(adapted, state, allow_missing=own)
    return adapted


def _adapted(state: dict[str, Any]) -> list[str]:
    return sorted({k.partition(".lora_")[0] for k in state})


def _base_of(module: nn.Module, layers: Sequence[str]) -> str:
    """Return a digest of the beginnings of the frozen weights of some layers, the same in either precision."""
    made = hashlib.sha256()
    for name in layers:
        try:
            layer: Any = module.get_submodule(name)
        except AttributeError:
            continue
        weight = getattr(layer, "base_layer", layer).weight.detach()
        made.update(f"{name}{tuple(weight.shape)}".encode())
        made.update(weight.flatten()[:_SAMPLE].to(torch.bfloat16).cpu().view(torch.int16).numpy().tobytes())
    return made.hexdigest()


def _matching(module: nn.Module, targets: str | Sequence[str]) -> list[str]:
    layers = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if isinstance(targets, str):
        return [n for n in layers if re.fullmatch(targets, "." + n)]
    return [n for n in layers if n.endswith(tuple(targets))]
