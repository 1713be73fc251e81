"""Weights that travel inside the package, each a folder with `CARD.md`.

A network has `network.json` and `weights.safetensors`, a single encoder `encoder.json` and `encoder.safetensors`, a segmenter
`segmenter.json` and `segmenter.safetensors`.
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from ..core.errors import UnknownName

_FOLDER = Path(__file__).parent


def shipped_models() -> list[str]:
    """Return the names of the models inside the package."""
    return sorted(p.parent.name for p in _FOLDER.glob("*/network.json"))


def shipped_facts(name: str) -> dict[str, Any]:
    """Return what travels with a shipped model: card, thresholds, calibration.

    Raises:
        UnknownName: No such model.
    """
    folder, _ = resolve_model(name)
    description = json.loads((folder / "network.json").read_text("utf-8"))
    return {"network": description["network"], **description["extra"], "weights_sha256": description["weights_sha256"]}


def shipped_encoders() -> list[str]:
    """Return the names of the single encoders inside the package."""
    return sorted(p.parent.name for p in _FOLDER.glob("*/encoder.json"))


def encoder_facts(name: str) -> dict[str, Any]:
    """Return what travels with a shipped encoder: model, findings, sets it saw, digest.

    Raises:
        UnknownName: No such weights.
    """
    return dict(json.loads(shipped_weights(name).with_name("encoder.json").read_text("utf-8")))


def shipped_weights(name: str) -> Path:
    """Return the weights of a single encoder inside the package; networks are found by `resolve_model`.

    Raises:
        UnknownName: No such weights.
    """
    known = shipped_encoders()
    if name not in known:
        raise UnknownName(
            f"no weights of {name!r} are in the package.",
            code="model.not_found",
            hint=f"There are {', '.join(known) or 'none'}; or give the path of a file.",
        )
    return _FOLDER / name / "encoder.safetensors"


def resolve_model(model: str | Path) -> tuple[Path, str]:
    """Return the folder of a shipped name or of a trained network, and the name to record.

    Raises:
        UnknownName: Neither a shipped name nor a folder with a network in it.
    """
    names = shipped_models()
    if str(model) in names:
        return _FOLDER / str(model), str(model)
    folder = Path(model)
    for candidate in (folder, folder / "model"):
        if (candidate / "network.json").is_file():
            return candidate, folder.name
    close = difflib.get_close_matches(str(model), names, n=1)
    raise UnknownName(
        f"no model is called {folder.name!r}, and no folder of that name holds a trained network.",
        code="model.not_found",
        hint=(f"Did you mean {close[0]!r}? " if close else "")
        + f"Shipped: {', '.join(names) or 'none'}; or give the folder that `fundusion train --out` wrote.",
    )


def shipped_segmenters() -> list[str]:
    """Return the names of the segmenters inside the package."""
    return sorted(p.parent.name for p in _FOLDER.glob("*/segmenter.json"))


def resolve_segmenter(name: str | Path) -> tuple[Path, str]:
    """Return the folder of a shipped segmenter or of a trained one, and the name to record.

    Raises:
        UnknownName: Neither a shipped name nor a folder with a segmenter in it.
    """
    names = shipped_segmenters()
    if str(name) in names:
        return _FOLDER / str(name), str(name)
    folder = Path(name)
    if (folder / "segmenter.json").is_file():
        return folder, folder.name
    close = difflib.get_close_matches(str(name), names, n=1)
    raise UnknownName(
        f"no segmenter is called {folder.name!r}, and no folder of that name holds one.",
        code="model.not_found",
        hint=(f"Did you mean {close[0]!r}? " if close else "")
        + f"Shipped: {', '.join(names) or 'none'}; or give the folder that `fundusion train-segmenter --out` wrote.",
    )


def segmenter_facts(name: str | Path) -> dict[str, Any]:
    """Return what travels with a segmenter: classes, scale, thresholds, training sets, terms, digest.

    Raises:
        UnknownName: Neither a shipped name nor a folder with a segmenter in it.
    """
    return dict(json.loads((resolve_segmenter(name)[0] / "segmenter.json").read_text("utf-8")))


def shipped_captioners() -> list[str]:
    """Return the names of the captioners inside the package."""
    return sorted(p.parent.name for p in _FOLDER.glob("*/captioner.json"))


def resolve_captioner(name: str | Path) -> tuple[Path, str]:
    """Return the folder of a captioner, and the name to record; "shipped" is the one in the package.

    Raises:
        UnknownName: Neither a shipped name nor a folder with a captioner in it.
    """
    wanted = "captioner" if str(name) == "shipped" else str(name)
    if wanted in shipped_captioners():
        return _FOLDER / wanted, wanted
    folder = Path(name)
    for candidate in (folder, folder / "model"):
        if (candidate / "captioner.json").is_file():
            return candidate, folder.name
    raise UnknownName(
        f"no captioner is called {folder.name!r}, and no folder of that name holds one.",
        code="model.not_found",
        hint=f"Shipped: {', '.join(shipped_captioners()) or 'none'}; or give the folder that "
        "`fundusion train-captioner --out` wrote.",
    )
