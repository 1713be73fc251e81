"""Checkpoints that a kill cannot tear: a file of tensors, then a pointer that names it with its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.durable import digest_of, write_json
from ..core.errors import IncompatibleWeights
from ..layers.memory_format import in_layout_of
from ..layers.weights import load_state, save_state

_POINTERS = ("checkpoint.json", "checkpoint.previous.json")


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of an optimiser as named tensors."""
    packed: dict[str, Tensor] = {}
    for index, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            packed[f"{index}.{name}"] = value if isinstance(value, Tensor) else torch.tensor(float(value))
    return packed


def unpack_optimizer(optimizer: torch.optim.Optimizer, packed: Mapping[str, Tensor]) -> None:
    """Put named tensors back into an optimiser of the same parameters."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in packed.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    # A file keeps no layout; sums over tensors of two layouts would be rounded otherwise than before.
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                values[name] = in_layout_of(value, parameter)


def save_checkpoint(
    folder: Path, *, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer, facts: Mapping[str, Any]
) -> None:
    """Write a checkpoint and then the pointer to it; the last two are kept.

    Args:
        folder: Run folder.
        modules: Name to module; their states are stored under the name.
        optimizer: Its state is stored.
        facts: JSON-ready: step, epoch, best, history, digests. `step` names the file.
    """
    tensors = {f"{name}/{k}": v for name, module in modules.items() for k, v in module.state_dict().items()}
    tensors |= {f"optimizer/{k}": v for k, v in pack_optimizer(optimizer).items()}
    file = folder / f"checkpoint-{facts['step']:08d}.safetensors"
    # safetensors refuses tensors that share memory; a copy is cheap beside the disk.
    save_state(file, {k: v.detach().clone() for k, v in tensors.items()})
    current, previous = (folder / p for p in _POINTERS)
    if current.is_file():
        write_json(previous, json.loads(current.read_text("utf-8")))
    write_json(current, {**facts, "file": file.name, "sha256": digest_of(file)})
    keep = {json.loads(p.read_text("utf-8"))["file"] for p in (current, previous) if p.is_file()}
    for old in folder.glob("checkpoint-*.safetensors"):
        if old.name not in keep:
            old.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]] | None:
    """Return facts and tensors of the newest whole checkpoint; None when there is none.

    Raises:
        IncompatibleWeights: Checkpoints are named but none is whole.
    """
    named = False
    for pointer in _POINTERS:
        path = folder / pointer
        if not path.is_file():
            continue
        named = True
        try:
            facts = json.loads(path.read_text("utf-8"))
            file = folder / facts["file"]
            if digest_of(file) == facts["sha256"]:
                return facts, load_state(file)
        except (OSError, ValueError, KeyError):
            continue
    if named:
        raise IncompatibleWeights(
            "no checkpoint of the run folder is whole.", code="run.damaged", hint="Train into another folder."
        )
    return None


def restore(tensors: Mapping[str, Tensor], modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
    """Put the tensors of a checkpoint back; names must fit exactly."""
    for name, module in modules.items():
        module.load_state_dict({k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")})
    unpack_optimizer(
        optimizer, {k.removeprefix("optimizer/"): v for k, v in tensors.items() if k.startswith("optimizer/")}
    )
