"""Whole models of transformers from a local folder or the hub: no code of the folder runs, and the memory is counted before loading."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..core.durable import write_bytes
from ..core.errors import ExhaustedResource, IncompatibleWeights, InvalidInput, require
from ..core.registry import Card, is_non_commercial
from .checkpoints import weights_folder
from .int8 import EXACT, Int8Linear
from .int8_loading import rounding
from .text_tower import has_tokenizer, read_tokenizer
from .weights import MAX_HEADER_BYTES, digest

#: Files of a hub repository that are fetched: settings, words, tensors; never code.
_FETCHED = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja"]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
#: Linear layers of eight bits, everything else in bfloat16; rounded while they are read.
INT8 = "int8"
#: Names of matrices that are never rounded: tables of words and places, and `int8.EXACT`.
_EXACT = re.compile(rf"embed|shared|position|bias|\.({'|'.join(EXACT)})\.")
#: Loading needs the weights and some room to answer.
_ROOM = 1.1


def dtype_of(name: str) -> torch.dtype:
    """Return a precision by name.

    Example:
        >>> dtype_of("bfloat16")
        torch.bfloat16
    """
    if name not in DTYPES:
        raise InvalidInput(f"dtype {name!r} is not one of {', '.join(DTYPES)}.", code="config.dtype")
    return DTYPES[name]


def open_folder(
    class_name: str, source: str | Path | None, *, card: Card, dtype: str = "float32"
) -> tuple[nn.Module, Any, dict[str, Any]]:
    """Return the model of a folder, its tokenizer, and the record of its weights.

    Args:
        class_name: Of transformers, such as "LlavaForConditionalGeneration".
        source: A folder, "hub:owner/name", or "published" for what the card names; only the last two may download.
        card: Of the model: where its weights are, their licence, and in `facts["parameters_m"]` how many there are.
        dtype: "float32", "bfloat16", or "int8" for linear layers of eight bits; that of the file does not matter.

    Raises:
        InvalidInput: Nothing or no folder is given, or one with code (`model.code`).
        IncompatibleWeights: Another model, a tensor is missing or has another shape, or there are no safetensors.
        ExhaustedResource: Not enough memory for the weights; says how much is needed.
    """
    wanted, rounded = (torch.bfloat16, True) if dtype == INT8 else (dtype_of(dtype), False)
    if source is None:
        raise InvalidInput(
            f"{card.title} has to be given its weights; fresh ones of this size answer nothing.",
            code="model.not_found",
            hint=card.obtain or f'weights="published" fetches {card.weights}; or give its folder.',
        )
    folder = _local(source, card, wanted)
    settings = check_folder(folder)
    maker = getattr(require("transformers", extra="text"), class_name)
    if settings.get("model_type") != maker.config_class.model_type:
        raise IncompatibleWeights(
            f"{folder.name!r} holds a {settings.get('model_type')!r}, needed is a {maker.config_class.model_type!r}.",
            hint="Check the name of the model.",
        )
    check_memory(weight_bytes(folder, wanted, rounded=rounded), folder.name)
    body = _load(maker, folder, wanted, rounded=rounded)
    if not has_tokenizer(folder) and not (folder / "tokenizer.model").is_file():
        raise InvalidInput(
            f"no tokenizer in {folder.name!r}.", code="model.tokenizer", hint="It is part of the published folder."
        )
    return body.eval(), read_tokenizer(folder), _record(source, folder, body, card)


def _local(source: str | Path, card: Card, dtype: torch.dtype) -> Path:
    name = str(source)
    if name == "published":
        name = card.weights or ""
        if not name:
            raise InvalidInput("this model has no published weights.", code="model.not_found", hint=card.obtain)
    if name.startswith("hub:"):
        return _fetched(name, card, dtype)
    folder = Path(name)
    if not folder.is_dir():
        raise InvalidInput(
            f"no folder {folder.name!r}.",
            code="model.not_found",
            hint="Give a folder as it was downloaded, or hub:owner/name.",
        )
    return folder


def _fetched(name: str, card: Card, dtype: torch.dtype) -> Path:
    """Return the local copy of a repository of the hub; it is fetched once, after a look at the memory."""
    owner, _, own = name[4:].partition("/")
    if not owner or not own or "/" in own:
        raise InvalidInput(f"{name!r} is no hub id.", code="model.not_found", hint="Write hub:owner/name.")
    folder = weights_folder() / f"{owner}--{own}"
    if (folder / "config.json").is_file() and shards(folder) and all(f.is_file() for f in shards(folder)):
        return folder
    if name == card.weights:
        check_memory(int(float(card.facts.get("parameters_m", 0)) * 1e6) * dtype.itemsize, name)
    hub = require("huggingface_hub", extra="text")
    try:
        return Path(hub.snapshot_download(name[4:], allow_patterns=_FETCHED, local_dir=folder))
    except Exception as error:
        # The hub client has some twenty kinds of errors (offline, gated, absent); each means the same to a user.
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise IncompatibleWeights(
            f"{name!r} could not be fetched: {reason}",
            code="model.not_found",
            hint=f"A copy put at {folder.name} in the weights folder is used.",
        ) from error


def shards(folder: Path) -> list[Path]:
    """Return the files that hold the tensors of a folder: those of its index, or all there are."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        names = {str(n) for n in json.loads(index.read_text("utf-8"))["weight_map"].values()}
        return sorted(folder / Path(n).name for n in names)
    return sorted(folder.glob("*.safetensors"))


def check_folder(folder: Path) -> dict[str, Any]:
    """Return the settings of a folder of transformers after looking for code in it; nothing of it is run.

    Raises:
        InvalidInput: It holds code or asks for some (`model.code`), or no settings.
        IncompatibleWeights: It has no safetensors.
    """
    code = sorted(p.name for p in folder.rglob("*") if p.suffix in (".py", ".pyc", ".so", ".pyd", ".dll"))
    settings: dict[str, Any] = {}
    for file in sorted(folder.glob("*.json")):
        try:
            read = json.loads(file.read_text("utf-8"))
        except ValueError as error:
            raise InvalidInput(f"{file.name!r} of {folder.name!r} is damaged.", code="model.corrupt") from error
        if isinstance(read, dict) and "auto_map" in read:
            code.append(f"auto_map in {file.name}")
        if file.name == "config.json" and isinstance(read, dict):
            settings = read
    if code:
        raise InvalidInput(
            f"{folder.name!r} holds code ({', '.join(code[:3])}); code of a model folder is never run.",
            code="model.code",
            hint="Use a folder that transformers reads without it, or delete the files if you know they are not needed.",
        )
    if not settings:
        raise InvalidInput(f"no config.json in {folder.name!r}.", code="model.not_found")
    files = shards(folder)
    lost = [f.name for f in files if not f.is_file()]
    if lost:
        raise IncompatibleWeights(f"{lost[0]!r} is missing in {folder.name!r}.", hint="The download is not complete.")
    if not files:
        raise IncompatibleWeights(
            f"no safetensors in {folder.name!r}.",
            code="model.unsafe_format",
            hint="Other files of weights can run code when they are opened; get the safetensors.",
        )
    return settings


def weight_bytes(folder: Path, dtype: torch.dtype, *, rounded: bool = False) -> int:
    """Return the bytes the tensors of a folder take in some precision, from the headers alone.

    Args:
        folder: With safetensors.
        dtype: Of the tensors.
        rounded: Matrices that are no tables of words or places take one byte a value.
    """
    total = 0
    for file in shards(folder):
        with file.open("rb") as stream:
            start = stream.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEADER_BYTES + 1
            if length > min(MAX_HEADER_BYTES, file.stat().st_size):
                raise IncompatibleWeights(f"{file.name!r} is cut or its header is forged.", code="model.corrupt")
            header = json.loads(stream.read(length))
        for name, entry in header.items():
            if name != "__metadata__":
                count = 1
                for side in entry["shape"]:
                    count *= side
                small = rounded and len(entry["shape"]) == 2 and not _EXACT.search(name)
                total += count * (1 if small else dtype.itemsize)
    return total


def memory_needed(source: str | Path | None, card: Card, dtype: str = "float32") -> int | None:
    """Return the bytes the weights of a model will take, before any is loaded or fetched; None where nothing tells.

    Args:
        source: As in `open_folder`.
        card: Of the model.
        dtype: "float32", "bfloat16" or "int8".
    """
    rounded = dtype == INT8
    wanted = torch.bfloat16 if rounded else dtype_of(dtype)
    name = str(card.weights or "") if source is None or str(source) == "published" else str(source)
    folder = weights_folder() / name[4:].replace("/", "--", 1) if name.startswith("hub:") else Path(name)
    if name and folder.is_dir() and shards(folder) and all(f.is_file() for f in shards(folder)):
        return weight_bytes(folder, wanted, rounded=rounded)
    known = card.facts.get("parameters_m") if name and name == card.weights else None
    # Before the files are here nothing tells how much of them are tables of words; in published models it is a tenth and less.
    return None if known is None else int(float(known) * 1e6 * (1.1 if rounded else wanted.itemsize))


def fetch_folder(name: str) -> Path:
    """Return the local copy of any repository of the hub, "hub:owner/name", whose card nobody wrote.

    Raises:
        IncompatibleWeights: It could not be fetched (`model.not_found`).
    """
    return _fetched(name, Card(title=name), torch.float32)


def check_memory(needed: int, name: str) -> None:
    """Refuse weights for which there is no memory.

    Raises:
        ExhaustedResource: Says how much is needed and how much is free (`memory.weights`).
    """
    free = free_bytes()
    if free is not None and needed * _ROOM > free:
        raise ExhaustedResource(
            f"the weights of {name!r} need {needed / 1e9:.1f} GB of memory and some room; {free / 1e9:.1f} GB are free.",
            code="memory.weights",
            hint="Use dtype='bfloat16' (half of float32) or 'int8' (a quarter), a smaller model, or another machine.",
        )


def free_bytes() -> int | None:
    """Return the memory that can be had without swapping; None where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    found = [line.split() for line in lines if line.startswith("MemAvailable:")]
    return int(found[0][1]) * 1024 if found else None


def _load(maker: Any, folder: Path, dtype: torch.dtype, *, rounded: bool = False) -> nn.Module:
    more = {"quantization_config": rounding()} if rounded else {}
    try:
        body, told = maker.from_pretrained(
            str(folder), dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True,
            output_loading_info=True, **more,
        )  # fmt: skip
    except (RuntimeError, OSError, ValueError) as error:
        raise IncompatibleWeights(
            f"{folder.name!r} cannot be loaded: {str(error).splitlines()[0]}", hint="Get the folder again."
        ) from error
    if rounded:
        # From here on it is a model like any other.
        body.hf_quantizer.remove_quantization_config(body)
    missing = sorted(told["missing_keys"])
    if missing:
        raise IncompatibleWeights(
            f"{len(missing)} tensors are missing in {folder.name!r} (first: {', '.join(missing[:3])}).",
            hint="The download is not complete, or it is another model.",
        )
    broken = [n for n, p in body.named_parameters() if not bool(torch.isfinite(p.sum(dtype=torch.float32)))]
    broken += [
        n for n, m in body.named_modules() if isinstance(m, Int8Linear) and not bool(torch.isfinite(m.scale).all())
    ]
    if broken:
        raise IncompatibleWeights(f"{broken[0]!r} of {folder.name!r} holds NaN or infinity.", code="model.not_finite")
    return body


def _record(source: str | Path, folder: Path, body: nn.Module, card: Card) -> dict[str, Any]:
    # Adapters and encoders that a family keeps beside the weights are part of the model too.
    digests = [digest(f) for f in sorted({*shards(folder), *folder.glob("*.safetensors")})]
    whole = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    licence = card.weight_license or "not stated"
    name = str(source)
    return {
        "source": name if name.startswith("hub:") else card.weights if name == "published" else folder.name,
        "sha256": whole,
        "digest_verified": False,
        "license": licence,
        "non_commercial": is_non_commercial(licence),
        "loaded": len(body.state_dict()),
        "missing": [],
        "unexpected": 0,
        "reshaped": [],
    }


def save_folder(folder: str | Path, body: Any, tokenizer: Any, state: dict[str, torch.Tensor] | None = None) -> None:
    """Write a model of transformers and its tokenizer; `state` replaces the tensors of the body when given."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as made:
        body.save_pretrained(made, state_dict=state)
        tokenizer.save_pretrained(made)
        for file in sorted(Path(made).iterdir()):
            write_bytes(target / file.name, _blocks(file))


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as stream:
        while block := stream.read(1 << 24):
            yield block
