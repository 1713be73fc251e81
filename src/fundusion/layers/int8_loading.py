"""Rounding to eight bits while a folder is read: one layer at a time, so that the whole never lies in memory in more bits.

Library transformers: a quantizer of its own kind, registered under a name of ours.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from ..core.errors import require
from .int8 import EXACT, Int8Linear

_METHOD = "fundusion_int8"


def is_rounded(module: nn.Module, name: str) -> bool:
    """Return whether a weight is rounded: that of a plain linear layer which need not stay exact and shares it with no table of words.

    Args:
        module: Whole model.
        name: Of the weight in it.

    Example:
        >>> model = nn.ModuleDict({"up": nn.Linear(2, 2), "lm_head": nn.Linear(2, 2), "norm": nn.LayerNorm(2)})
        >>> [n for n, _ in model.named_parameters() if is_rounded(model, n)]
        ['up.weight']
    """
    path, _, own = name.rpartition(".")
    tied = getattr(module, "all_tied_weights_keys", None) or {}
    if name in tied or name in tied.values():
        return False
    return own == "weight" and path.rpartition(".")[2] not in EXACT and type(module.get_submodule(path)) is nn.Linear


def _give_back() -> None:
    """Return freed memory to the system: between rounded layers that stay, the allocator would keep every gap."""
    trim = _trimmer()
    if trim is not None:
        trim(0)


@functools.cache
def _trimmer() -> Callable[[int], int] | None:
    """Return the allocator's own function; None where it has none (not glibc)."""
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None


@functools.cache
def rounding() -> Any:
    """Return what `from_pretrained(quantization_config=...)` takes to round linear layers as it reads them."""
    transformers = require("transformers", extra="text")
    auto = require("transformers.quantizers.auto", extra="text")
    loading = require("transformers.core_model_loading", extra="text")
    settings = require("transformers.utils.quantization_config", extra="text")

    class Round(loading.ConversionOps):  # type: ignore[misc]
        """Puts a layer of eight bits where the weight belongs."""

        def convert(self, input_dict: dict[str, Any], *_: Any, **told: Any) -> dict[str, Tensor]:
            (value,) = input_dict.values()
            value = value[0] if isinstance(value, list) else value
            name, model = told["full_layer_name"], told["model"]
            path = name.rpartition(".")[0]
            above, _dot, own = path.rpartition(".")
            layer = model.get_submodule(path)
            layer.weight = nn.Parameter(value, requires_grad=False)
            # A bias that is read later takes its place in the new layer.
            made = Int8Linear(layer)
            made._is_hf_initialized = True
            setattr(model.get_submodule(above), own, made)
            told["missing_keys"].discard(name)
            del value, layer
            input_dict.clear()
            _give_back()
            return {}

    @auto.register_quantizer(_METHOD)
    class Rounder(transformers.quantizers.HfQuantizer):  # type: ignore[misc]
        """Says which weights are rounded."""

        def param_needs_quantization(self, model: Any, param_name: str, **_: Any) -> bool:
            return is_rounded(model, param_name)

        def get_quantize_ops(self) -> Any:
            return Round()

        @property
        def is_trainable(self) -> bool:
            return False

        def is_serializable(self) -> bool:
            return False

    @auto.register_quantization_config(_METHOD)
    class Settings(settings.QuantizationConfigMixin):  # type: ignore[misc]
        """Names the method."""

        def __init__(self) -> None:
            self.quant_method = _METHOD

    return Settings()
