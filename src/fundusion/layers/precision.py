"""What a machine computes fast: float32 products through oneDNN, used only after a self-check, and bfloat16, used only where it is not emulated.

On processors without AMX the setting "bf16" for float32 products merely sends them to oneDNN, which can be twice as fast as the
default library and exact; on processors with AMX the same setting rounds to bfloat16. Only a measurement tells which.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

#: Greatest relative error that counts as exact; float32 products of this size are at about 1e-6, bfloat16 at about 3e-3.
TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class MatmulCheck:
    """Outcome of the self-check.

    Args:
        is_exact: The faster route may be used.
        error: Relative error of the faster route against float64; None when the setting does not exist.
        default_error: The same of the default route.
    """

    is_exact: bool
    error: float | None
    default_error: float | None


@functools.cache
def check_fast_matmul() -> MatmulCheck:
    """Return whether float32 products through oneDNN are exact on this machine; measured once per process.

    Sizes are those of a vision transformer, because libraries choose their routine by size; a row of large numbers beside small
    ones makes lost bits visible.
    """
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.backends.mkldnn, "matmul"):
        return MatmulCheck(is_exact=False, error=None, default_error=None)
    generator = torch.Generator().manual_seed(0)
    errors: list[tuple[float, float]] = []
    for rows, inner, columns in ((197, 384, 1536), (1, 768, 768), (64, 64, 64)):
        a = torch.randn(rows, inner, generator=generator) * torch.logspace(-2, 2, inner)
        b = torch.randn(inner, columns, generator=generator)
        exact = a.double() @ b.double()
        scale = float(exact.abs().max())
        plain = a @ b
        with _route("bf16"):
            fast = a @ b
            layer = torch.nn.functional.linear(a, b.T.contiguous())
        worst = max(float((v.double() - exact).abs().max()) for v in (fast, layer))
        errors.append((worst / scale, float((plain.double() - exact).abs().max()) / scale))
    error, default = max(e for e, _ in errors), max(d for _, d in errors)
    # An error that is not a number fails the comparison too.
    return MatmulCheck(is_exact=error <= TOLERANCE, error=error, default_error=default)


@contextmanager
def fast_matmul(*, enabled: bool = True) -> Iterator[bool]:
    """Run a block with float32 products through oneDNN when the self-check passed; yields whether they are.

    Example:
        >>> with fast_matmul(enabled=False) as used:
        ...     used
        False
    """
    if not enabled or not check_fast_matmul().is_exact:
        yield False
        return
    with _route("bf16"):
        yield True


#: bfloat16 that takes this many times as long as float32 is computed in software: there it takes about ten times as long, in hardware less than float32.
_EMULATED = 2.5


@functools.cache
def bfloat16_is_emulated() -> bool:
    """Return whether this processor computes bfloat16 in software; measured once per process, on a small convolution."""
    values = torch.zeros(1, 32, 64, 64).to(memory_format=torch.channels_last)
    kernel = torch.zeros(32, 32, 3, 3).to(memory_format=torch.channels_last)
    seconds = []
    with torch.inference_mode():
        for kind in (torch.float32, torch.bfloat16):
            x, w = values.to(kind), kernel.to(kind)
            times = []
            for _ in range(5):
                began = time.perf_counter()
                torch.nn.functional.conv2d(x, w, padding=1)
                times.append(time.perf_counter() - began)
            seconds.append(min(times))
    return seconds[1] > _EMULATED * seconds[0]


def usable_precision(precision: str, device: str | torch.device) -> str:
    """Return the precision that is used where one is asked for: "fp32" in place of "bf16" on a processor that has no bfloat16.

    Args:
        precision: "fp32" or "bf16".
        device: Such as "cpu" or "cuda:0".

    Example:
        >>> usable_precision("fp32", "cpu")
        'fp32'
    """
    emulated = precision == "bf16" and torch.device(device).type == "cpu" and bfloat16_is_emulated()
    return "fp32" if emulated else precision


def plain_attention(module: nn.Module) -> int:
    """Write attention out as two products and a softmax in every layer that has the choice; return how many changed.

    On processors the backward pass of fused attention in bfloat16 takes two to three times as long as that of the products, which have
    fast kernels of their own: a masked-autoencoder step of ViT-Ti/16 at 224 px falls from 1.3 to 0.9 s on one core. Weights are untouched.
    """
    changed = 0
    for layer in module.modules():
        if getattr(layer, "fused_attn", False):
            layer.fused_attn = False
            changed += 1
    return changed


@contextmanager
def _route(name: str) -> Iterator[None]:
    settings = torch.backends.mkldnn.matmul
    before = settings.fp32_precision
    settings.fp32_precision = name
    try:
        yield
    finally:
        settings.fp32_precision = before
