"""The one loader of weights: safetensors, or torch files that hold tensors only; never a pickle that runs code."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.durable import digest_of as digest
from ..core.durable import write_bytes
from ..core.errors import IncompatibleWeights

__all__ = [
    "WRAPPERS",
    "LoadReport",
    "convert_weights",
    "digest",
    "fit_state",
    "load_state",
    "metadata_of",
    "save_state",
]

#: Header caps: a real checkpoint has some thousands of tensors; a forged header costs memory before any check.
MAX_HEADER_BYTES = 64 << 20
MAX_TENSORS = 100_000
#: Entries of a torch file that hold the tensors, the best first.
WRAPPERS = ("model", "state_dict", "teacher", "module")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """Which tensors were loaded, missing in the file, unexpected in it, and brought to another shape before."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    reshaped: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = [f"{len(self.loaded)} tensors loaded"]
        for what in ("reshaped", "missing", "unexpected"):
            names = getattr(self, what)
            if names:
                shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
                parts.append(f"{len(names)} {what} ({shown})")
        return ", ".join(parts)


def load_state(path: str | Path, *, wrappers: Sequence[str] = WRAPPERS) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Args:
        path: `.safetensors`, or `.pt`/`.pth`/`.bin` holding tensors in plain containers.
        wrappers: Entries of a torch file that may hold the tensors, the best first.

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
        return _tensors_of(_open_torch(source), source, wrappers)
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


def metadata_of(path: str | Path) -> dict[str, str]:
    """Return the words saved beside the tensors of a `.safetensors` file; nothing for other files."""
    source = Path(path)
    if source.suffix != ".safetensors":
        return {}
    from safetensors import safe_open

    with safe_open(source, "pt") as stream:
        return dict(stream.metadata() or {})


def _open_torch(source: Path) -> Any:
    """Return the content of a torch file by the restricted reader of torch, which makes tensors and plain containers only."""
    import pickle

    _check_stored(source)
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = _foreign_names(source)
        settings = found == ["argparse.Namespace"]
        raise IncompatibleWeights(
            f"{source.name!r} holds more than tensors ({', '.join(found[:4])})"
            + " and would run code when opened; it was not opened."
            if found
            else f"{source.name!r} is no file of tensors; it was not opened.",
            code="model.unsafe_format",
            hint="It holds the settings of its training; convert it once: "
            f"fundusion convert-weights {source.name} {source.stem}.safetensors --i-trust-this-file"
            if settings
            else "Convert it to safetensors on a machine you trust.",
        ) from error
    except (EOFError, RuntimeError, OSError, ValueError, KeyError) as error:
        raise IncompatibleWeights(f"{source.name!r} is cut or damaged.", code="model.corrupt") from error


def _check_stored(source: Path) -> None:
    """Refuse a zip file with compressed parts: torch never writes them, and a small file could fill the memory."""
    import zipfile

    try:
        with zipfile.ZipFile(source) as archive:
            packed = [i.filename for i in archive.infolist() if i.compress_type != zipfile.ZIP_STORED]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        # Not a zip file, or a damaged one: the restricted reader says so.
        return
    if packed:
        raise IncompatibleWeights(
            f"{source.name!r} has {len(packed)} compressed parts, which no training writes; it was not opened.",
            code="model.corrupt",
            hint="Get the file again from its publisher.",
        )


def _foreign_names(source: Path) -> list[str]:
    """Return the classes and functions a torch file asks for, without making any of them."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(source))
    except Exception:
        # Only zip files can be listed; an old or damaged one is refused all the same, with fewer words.
        return []


def _tensors_of(value: Any, source: Path, wrappers: Sequence[str]) -> dict[str, Tensor]:
    for wrapper in wrappers:
        if isinstance(value, Mapping) and isinstance(value.get(wrapper), Mapping):
            value = value[wrapper]
            break
    if not isinstance(value, Mapping):
        raise IncompatibleWeights(f"{source.name!r} holds no named tensors.", code="model.corrupt")
    return {str(k): v for k, v in value.items() if isinstance(v, Tensor)}


def convert_weights(
    source: str | Path, target: str | Path, *, trusted: bool = False, wrappers: Sequence[str] = WRAPPERS
) -> int:
    """Write the tensors of a torch file as safetensors and return their number.

    Old training checkpoints keep their command line as an `argparse.Namespace`. Only with `trusted` is that one class
    allowed besides tensors; its values are read by the same restricted reader and thrown away. Nothing else is ever allowed,
    so that no code of the file runs in either case.

    Args:
        source: `.pt`, `.pth`, `.bin`.
        target: `.safetensors`; replaced.
        trusted: The user says where the file came from is known.
        wrappers: Entries that may hold the tensors.

    Raises:
        IncompatibleWeights: `model.unsafe_format` when the file holds anything else, or a Namespace without `trusted`.
    """
    import argparse

    path, out = Path(source), Path(target)
    if out.suffix != ".safetensors":
        raise IncompatibleWeights(
            f"{out.name!r} does not end in .safetensors.",
            code="config.output",
            hint="Name the result NAME.safetensors.",
        )
    if not path.is_file():
        raise IncompatibleWeights(f"no weights file {path.name!r}.", code="model.not_found")
    if trusted:
        with torch.serialization.safe_globals([argparse.Namespace]):
            value = _open_torch(path)
    else:
        value = _open_torch(path)
    tensors = _tensors_of(value, path, wrappers)
    if not tensors:
        raise IncompatibleWeights(f"{path.name!r} holds no named tensors.", code="model.corrupt")
    save_state(out, tensors, metadata={"converted_from": path.name, "source_sha256": digest(path)})
    return len(tensors)


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
        IncompatibleWeights: Nothing matched, or a name or shape differs; names the first differences. Or a tensor holds a
            NaN or an infinity (`model.not_finite`).
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
    broken = [k for k, v in matched.items() if not _is_finite(v)]
    if broken:
        raise IncompatibleWeights(
            f"{len(broken)} tensors of the weights hold NaN or infinity (first: {'; '.join(broken[:3])}).",
            code="model.not_finite",
            hint="The training that wrote them broke down; use another checkpoint.",
        )
    # A module built without memory (on the meta device) takes the tensors of the file as they are.
    module.load_state_dict(matched, strict=False, assign=any(p.is_meta for p in module.parameters()))
    return LoadReport(loaded=tuple(matched), missing=tuple(missing), unexpected=tuple(unexpected))


def _is_finite(value: Tensor) -> bool:
    if value.is_meta or not value.is_floating_point():
        return True
    # A sum is finite only when all are; it needs no second tensor of the size of the first. An overflow is looked at again.
    return bool(torch.isfinite(value.sum(dtype=torch.float32))) or bool(torch.isfinite(value).all())


def save_state(path: str | Path, state: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors as safetensors so that a kill leaves the old file or the new one."""
    from safetensors.torch import save

    tensors = {k: v.detach().cpu().contiguous() for k, v in state.items()}
    write_bytes(path, save(tensors, metadata=dict(metadata or {})))
