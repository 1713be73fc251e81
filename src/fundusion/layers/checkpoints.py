"""From a name, a path or a hub id to tensors in a module: rules by family, digests, licences, and a record for provenance."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor, nn

from ..core.errors import FundusionError, IncompatibleWeights, require
from ..core.registry import Card
from .origins import origin_record
from .weights import WRAPPERS, LoadReport, digest, fit_state, load_state, metadata_of

_LOG = logging.getLogger(__name__)
Adapt = Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How the checkpoints of a family are read.

    Args:
        wrappers: Entries that may hold the tensors, the best first.
        prefixes: Cut from names that begin with them, in this order; names without them stay.
        renames: Regular expressions and their replacements, applied in this order.
        optional: Beginnings of names that the file may lack; they keep their fresh values.
        ignored: Beginnings of names in the file that are left out.
        adapt: Brings tensors to the shapes of the module (position tables), called after renaming.
        hub_file: File of a hub repository when its id names none.
        read: Reads a file of another kind into tensors under the names of the module.
    """

    wrappers: tuple[str, ...] = WRAPPERS
    prefixes: tuple[str, ...] = ("module.",)
    renames: tuple[tuple[str, str], ...] = ()
    optional: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    adapt: Adapt | None = None
    hub_file: str = "model.safetensors"
    read: Callable[[Path], dict[str, Tensor]] | None = None


def load_weights(
    module: nn.Module, weights: str | Path | None, *, card: Card, rules: Rules, into: nn.Module | None = None
) -> LoadReport | None:
    """Load weights by name, path or hub id into a module, and leave a record of their origin in `module.weights_record`.

    Args:
        module: Gets the record.
        weights: None (nothing is loaded), "published", "hub:owner/name", "hub:owner/name/file" or a path.
        card: Of the model: where published weights are, their digests and licence.
        rules: Of the family.
        into: Receives the tensors; the module itself when None.

    Raises:
        IncompatibleWeights: `model.not_found`, `model.digest` (the card knows another digest), `model.not_finite`, or
            anything `load_state` and `fit_state` refuse.
    """
    if weights is None:
        return None
    path, source = find_weights(weights, card=card, rules=rules)
    found = digest(path)
    expected = card.sha256.get(source) or card.sha256.get(path.name)
    if expected and not found.startswith(expected):
        raise IncompatibleWeights(
            f"{path.name!r} has SHA-256 {found[:16]}..., the card of this model knows {expected[:16]}...",
            code="model.digest",
            hint="The file was damaged or exchanged; get it again.",
        )
    target = into if into is not None else module
    if rules.read is not None:
        state = rules.read(path)
    else:
        state = canonical_names(load_state(path, wrappers=rules.wrappers), rules)
    as_read = state
    if rules.adapt is not None:
        state = rules.adapt(state, target)
    report = fit_state(target, state, allow_missing=rules.optional, allow_unexpected=rules.ignored)
    originals = {id(v) for v in as_read.values()}
    reshaped = tuple(k for k in report.loaded if id(state[k]) not in originals)
    report = replace(report, reshaped=reshaped)
    licence = metadata_of(path).get("license") or card.weight_license or "not stated"
    record = origin_record(path, report, licence, source=source, verified=bool(expected))
    module.weights_record = record
    level = logging.WARNING if record["non_commercial"] else logging.INFO
    _LOG.log(level, "%s: %s; licence of the weights: %s", path.name, report, licence)
    return report


def canonical_names(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Return the tensors under the names of the family: prefixes cut, renamed.

    Raises:
        IncompatibleWeights: Two tensors would get the same name.
    """
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        name = key
        for prefix in rules.prefixes:
            name = name.removeprefix(prefix)
        for pattern, replacement in rules.renames:
            name = re.sub(pattern, replacement, name)
        if name in out:
            raise IncompatibleWeights(
                f"two tensors of the file become {name!r}.", hint="It mixes two networks; name the part you want."
            )
        out[name] = value
    return out


def find_weights(weights: str | Path, *, card: Card, rules: Rules) -> tuple[Path, str]:
    """Return the file of a weights option and what to record as its source. Only "published" and "hub:" may download."""
    wanted = str(weights)
    if wanted == "published":
        if card.weights is None:
            raise IncompatibleWeights(
                f"no weights of {card.title} can be fetched by name.",
                code="model.not_found",
                hint=card.obtain or "Give the path of a file.",
            )
        wanted = card.weights
    if wanted.startswith("https://"):
        return _fetched(wanted, card), wanted.rpartition("/")[2]
    if not wanted.startswith("hub:"):
        path = Path(wanted)
        if not path.is_file():
            raise IncompatibleWeights(
                f"no weights file {path.name!r}.",
                code="model.not_found",
                hint=card.obtain or 'Give a path, "published" or "hub:owner/name".',
            )
        return path, path.name
    parts = wanted[4:].split("/")
    if len(parts) < 2 or not all(parts):
        raise IncompatibleWeights(
            f"{wanted!r} is no hub id.", code="model.not_found", hint="Write hub:owner/name or hub:owner/name/file."
        )
    owner, name, file = parts[0], parts[1], "/".join(parts[2:]) or rules.hub_file
    local = weights_folder() / f"{owner}--{name}" / file
    if local.is_file():
        return local, f"hub:{owner}/{name}/{file}"
    return _download(owner, name, file, card), f"hub:{owner}/{name}/{file}"


def weights_folder() -> Path:
    """Return the folder of downloaded weights: `weights` in FUNDUSION_HOME, by default `~/.cache/fundusion`."""
    home = os.environ.get("FUNDUSION_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "fundusion") / "weights"


def _fetched(address: str, card: Card) -> Path:
    """Return the local copy of a released file; it is fetched once, and only by an address that a card names."""
    import torch

    if address != card.weights:
        raise IncompatibleWeights(
            "weights are not fetched from any address.",
            code="model.not_found",
            hint='Download the file and give its path, or use "published" or "hub:owner/name".',
        )
    target = weights_folder() / address.rpartition("/")[2]
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(address, str(target), card.sha256.get(target.name), progress=True)
        except (OSError, RuntimeError) as error:
            raise IncompatibleWeights(
                f"{target.name!r} could not be fetched: {error}",
                code="model.not_found",
                hint="Download it elsewhere and put it in the weights folder, or give its path.",
            ) from error
    return target


def _download(owner: str, name: str, file: str, card: Card) -> Path:
    hub = require("huggingface_hub", extra="train")
    folder = weights_folder() / f"{owner}--{name}"
    try:
        return Path(hub.hf_hub_download(f"{owner}/{name}", file, local_dir=folder))
    except FundusionError:
        raise
    except Exception as error:
        # The hub client has some twenty kinds of errors (offline, gated, absent); each means the same to a user.
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise IncompatibleWeights(
            f"{file!r} of {owner}/{name} could not be fetched: {reason}",
            code="model.not_found",
            hint=(card.obtain + " " if card.obtain else "")
            + f"A file put at {owner}--{name}/{file} in the weights folder is used.",
        ) from error
