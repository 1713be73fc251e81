"""Low-rank adapters on linear and convolution layers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import nn

from ..core.errors import InvalidInput, require

#: Layers of an image or text encoder that are adapted when nothing is asked: attention, MLP, residual convolutions.
DEFAULT_TARGETS = r".*\.(qkv|proj|fc1|fc2|query|key|value|dense|[qkv]_proj|conv1|conv2|conv3)"


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


def _matching(module: nn.Module, targets: str | Sequence[str]) -> list[str]:
    layers = [n for n, m in module.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    if isinstance(targets, str):
        return [n for n in layers if re.fullmatch(targets, "." + n)]
    return [n for n in layers if n.endswith(tuple(targets))]
