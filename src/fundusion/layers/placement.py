"""Where a loaded model runs: the CPU, one GPU, or spread over all there is; the memory is counted before anything moves."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..core.errors import ExhaustedResource, InvalidInput, require

#: Weights need some room to answer.
_ROOM = 1.1


def bytes_of(module: nn.Module) -> int:
    """Return the bytes of weights and buffers.

    Example:
        >>> bytes_of(nn.Linear(2, 3))
        36
    """
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def place(module: nn.Module, device: str) -> nn.Module:
    """Put a model where it is to run, in place.

    Args:
        module: Loaded on the CPU.
        device: "cpu", "cuda", "cuda:1", or "auto": layer by layer over GPUs, then the CPU.

    Raises:
        InvalidInput: No such device (`config.device`).
        ExhaustedResource: The GPU has not enough memory; says how much is needed (`memory.weights`).
    """
    if device == "auto":
        return _spread(module)
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise InvalidInput(
            f"{device[:40]!r} is no device.", code="config.device", hint="Use cpu, cuda, cuda:1 or auto."
        ) from error
    if wanted.type == "cuda":
        _check_gpu(module, wanted)
    elif wanted.type != "cpu":
        raise InvalidInput(f"{device!r} is not supported.", code="config.device", hint="Use cpu, cuda or auto.")
    return module.to(wanted)


def _check_gpu(module: nn.Module, device: torch.device) -> None:
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise InvalidInput(
            f"{str(device)!r} is not there; this machine has {count} GPUs.",
            code="config.device",
            hint="Use --device cpu.",
        )
    free, needed = torch.cuda.mem_get_info(device)[0], bytes_of(module)
    if needed * _ROOM > free:
        raise ExhaustedResource(
            f"the weights need {needed / 1e9:.1f} GB of GPU memory and some room; {free / 1e9:.1f} GB are free.",
            code="memory.weights",
            hint="Use --device auto to keep a part on the CPU, --precision int8, or a smaller model.",
        )


def _spread(module: nn.Module) -> nn.Module:
    """Spread layers over the GPUs and the CPU; without a GPU everything stays where it is."""
    if torch.cuda.device_count() == 0:
        return module.to("cpu")
    accelerate: Any = require("accelerate", extra="train")
    whole = list(getattr(module, "_no_split_modules", None) or ())
    return accelerate.dispatch_model(module, device_map=device_map(module, whole=whole))


def device_map(module: nn.Module, *, whole: list[str] | None = None, memory: Any = None) -> dict[str, Any]:
    """Return which part of a model goes where.

    Args:
        module: A model.
        whole: Names of classes whose parts stay together.
        memory: Device to bytes; None asks the machine.
    """
    accelerate: Any = require("accelerate", extra="train")
    return dict(accelerate.infer_auto_device_map(module, max_memory=memory, no_split_module_classes=whole))
