"""The one loader of weights: safetensors, or torch files that hold tensors only; never a pickle that runs code."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..core.durable import digest_of as digest
from ..core.durable import write_bytes
from ..core.errors import IncompatibleWeights

__all__ = ["LoadReport", "digest", "fit_state", "load_state", "save_state"]

#: Header caps: a real checkpoint has some thousands of tensors; a forged header costs memory before any check.
MAX_HEADER_BYTES = 64 << 20
MAX_TENSORS = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """Which tensors were loaded, missing in the file, and unexpected in it."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()


def load_state(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Args:
        path: `.safetensors`, or `.pt`/`.pth`/`.bin` holding tensors in plain containers.

    Raises:
        IncompatibleWeights: `model.not_found`, `model.corrupt` (cut or damaged), `model.unsafe_format` (the file would
            run code when opened; it is not opened), `model.header` (forged header).
    """
    source = Path(path)
    if not source.is_file():
        raise IncompatibleWeights(f"no weights file {source.name!r}.", code="model.not_found")
    if source.suffix == ".safetensors":
        return _load_safetensors(source)
    if source.suffix in (".pt", ".pth", ".bin"):
        return _load_torch(source)
    raise IncompatibleWeights(
        f"weights of type {source.suffix or 'without suffix'!r} are not read.",
        code="model.unsafe_format",
        hint="Use .safetensors, or .pt/.pth that holds tensors only.",
    )


def _load_safetensors(source: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    size = source.stat().st_size
    with source.open("rb") as stream:
        start = stream.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        if length > min(MAX_HEADER_BYTES, size):
            raise IncompatibleWeights(
                f"{source.name!r} is cut or its header is forged.", code="model.corrupt", hint="Get the file again."
            )
        header = stream.read(length)
    try:
        entries = json.loads(header)
    except ValueError as error:
        raise IncompatibleWeights(f"the header of {source.name!r} is damaged.", code="model.corrupt") from error
    if not isinstance(entries, dict) or len(entries) > MAX_TENSORS:
        raise IncompatibleWeights(f"{source.name!r} lists more than {MAX_TENSORS} tensors.", code="model.header")
    try:
        return dict(load_file(source))
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise IncompatibleWeights(
            f"{source.name!r} cannot be read: {error}.", code="model.corrupt", hint="Get the file again."
        ) from error


def _load_torch(source: Path) -> dict[str, Tensor]:
    import pickle

    try:
        value = torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise IncompatibleWeights(
            f"{source.name!r} holds more than tensors and would run code when opened; it was not opened.",
            code="model.unsafe_format",
            hint="Convert it to safetensors on a machine you trust.",
        ) from error
    except (EOFError, RuntimeError, OSError, ValueError, KeyError) as error:
        raise IncompatibleWeights(f"{source.name!r} is cut or damaged.", code="model.corrupt") from error
    for wrapper in ("model", "state_dict", "teacher", "module"):
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
            break
    if not isinstance(value, Mapping):
        raise IncompatibleWeights(f"{source.name!r} holds no named tensors.", code="model.corrupt")
    return {str(k): v for k, v in value.items() if isinstance(v, Tensor)}


def fit_state(
    module: nn.Module,
    state: Mapping[str, Tensor],
    *,
    prefix: str = "",
    allow_missing: Collection[str] = (),
    allow_unexpected: Collection[str] = (),
) -> LoadReport:
    """Load tensors into a module; every difference that was not allowed is an error.

    Args:
        module: Receives the tensors.
        state: Tensors by name.
        prefix: Cut from names that have it; others are unexpected.
        allow_missing: Beginnings of names that may stay as they are.
        allow_unexpected: Beginnings of names in the file that may be left out.

    Raises:
        IncompatibleWeights: Nothing matched, or a name or shape differs; names the first differences.
    """
    own = module.state_dict()
    given = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    skipped = [k for k in state if not k.startswith(prefix)]
    matched = {k: v for k, v in given.items() if k in own}
    wrong = [f"{k} {tuple(v.shape)} in the file, {tuple(own[k].shape)} needed" for k, v in matched.items()
             if v.shape != own[k].shape]  # fmt: skip
    missing = [k for k in own if k not in given]
    unexpected = [k for k in given if k not in own] + skipped
    bad_missing = [k for k in missing if not k.startswith(tuple(allow_missing))] if allow_missing else missing
    bad_unexpected = (
        [k for k in unexpected if not k.startswith(tuple(allow_unexpected))] if allow_unexpected else unexpected
    )
    if not matched or wrong or bad_missing or bad_unexpected:
        parts = [] if matched else ["no name of the file fits the network"]
        parts += [f"{len(v)} {what} (first: {'; '.join(v[:3])})" for what, v in
                  (("of another shape", wrong), ("missing", bad_missing), ("unexpected", bad_unexpected)) if v]  # fmt: skip
        raise IncompatibleWeights(f"the weights do not fit: {', '.join(parts)}.", hint="Check the name of the model.")
    module.load_state_dict(matched, strict=False)
    return LoadReport(loaded=tuple(matched), missing=tuple(missing), unexpected=tuple(unexpected))


def save_state(path: str | Path, state: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors so that a kill leaves the old file or the new one."""
    from safetensors.torch import save

    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    write_bytes(path, save(tensors, metadata=dict(metadata or {})))
