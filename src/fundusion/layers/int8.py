"""Weights of linear layers in eight bits: a quarter of the memory of float32, for answering on a CPU; nothing is trained this way.

Source: symmetric rounding to nearest with one scale per output row (absmax), as in LLM.int8(), Dettmers et al. 2022, arXiv:2208.07339,
section 2.1, for the weights only; the inputs stay as they are, so no outlier is cut.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..core.errors import InvalidInput

#: Greatest whole number of a weight.
STEPS = 127
#: Bytes of a weight, its share of the scale left out.
BYTES = 1
#: Layers that stay exact: the last one decides between words, and costs little beside the others; the last of T5's perceptrons has
#: the largest values, and the library asks it for its weight at every token.
EXACT = ("lm_head", "wo")


class Int8Linear(nn.Module):
    """A linear layer whose weight is whole numbers and a scale per row.

    The error of output i is at most `scale_i / 2` times the sum of the absolute inputs, and `scale_i` is the largest absolute weight of
    row i divided by 127.

    Args:
        layer: Is read once and not kept.
    """

    steps: Tensor
    scale: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        weight = layer.weight.detach().float()
        scale = weight.abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / STEPS
        steps = (weight / scale[:, None]).round().clamp(-STEPS, STEPS)
        self.register_buffer("steps", steps.to(torch.int8))
        self.register_buffer("scale", scale)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.dtype = layer.weight.dtype
        self.bias = None if layer.bias is None else nn.Parameter(layer.bias.detach(), requires_grad=False)

    @property
    def weight(self) -> Tensor:
        """The weight as it counts, made anew: libraries ask a layer for its type."""
        return (self.steps.float() * self.scale[:, None]).to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Return `(..., out)` in the type of the input."""
        # Whole numbers up to 127 are exact in bfloat16 too; the scale comes after the sum, in float32.
        if x.dtype == torch.bfloat16 and x.device.type == "cpu" and has_packed_products():
            flat = _packed(x.reshape(-1, self.in_features), self.steps)
            summed = flat.reshape(*x.shape[:-1], self.out_features)
        else:
            summed = F.linear(x, self.steps.to(x.dtype))
        made = summed.float() * self.scale
        return (made if self.bias is None else made + self.bias.float()).to(x.dtype)


@functools.cache
def has_packed_products() -> bool:
    """Return whether this torch multiplies bfloat16 by whole numbers without writing the weights out first, and rightly.

    Twenty times faster for one token. The routine has no public name yet, so it is used only where a check on this machine agrees with
    the plain product.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 96, generator=generator).bfloat16()
    steps = torch.randint(-STEPS, STEPS + 1, (64, 96), generator=generator, dtype=torch.int8)
    try:
        found = _packed(x, steps).float()
    except (AttributeError, RuntimeError, TypeError):
        return False
    wanted = x.float() @ steps.float().T
    return bool((found - wanted).abs().max() <= 0.01 * wanted.abs().max())


def _packed(x: Tensor, steps: Tensor) -> Tensor:
    return torch._weight_int8pack_mm(x.contiguous(), steps, torch.ones(len(steps), dtype=torch.bfloat16))


def to_int8(module: nn.Module, *, exact: Collection[str] = EXACT) -> int:
    """Replace the linear layers of a model by layers of eight bits and return how many there were.

    Args:
        module: Of which only answers are wanted; it is changed.
        exact: Last names of layers that stay as they are.

    Raises:
        InvalidInput: Low-rank adapters are attached, or there is no linear layer.
    """
    # Adapters that were added have a name of their own; those that are part of a family stay exact.
    if any(re.search(r"\.lora_[AB]\.\w+\.weight$", n) for n, _ in module.named_parameters()):
        raise InvalidInput(
            "a model with low-rank adapters is not rounded to eight bits.",
            code="config.precision",
            hint="Merge them first.",
        )
    # A last layer that shares its weight with the table of words stays exact: in eight bits it would be a second copy.
    tables = {id(m.weight) for m in module.modules() if isinstance(m, nn.Embedding)}
    linear = [
        n
        for n, m in module.named_modules()
        if type(m) is nn.Linear and ".lora_" not in n and id(m.weight) not in tables
    ]
    found = [n for n in linear if n.rpartition(".")[2] not in exact]
    if not found:
        raise InvalidInput("this model has no linear layer to round.", code="config.precision")
    for name in found:
        parent, _, own = name.rpartition(".")
        setattr(module.get_submodule(parent), own, Int8Linear(module.get_submodule(name)))
    return len(found)


def is_int8(module: nn.Module) -> bool:
    """Return whether a model holds layers of eight bits."""
    return any(isinstance(m, Int8Linear) for m in module.modules())
