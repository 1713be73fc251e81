"""An image-text model by name, short name or run folder, with the pixels it wants and where its weights come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.errors import IncompatibleWeights, InvalidInput, UnknownName
from ..core.registry import ImageInput, models
from ..layers.weights import digest
from .embeddings import digest_of_module

#: Options that say how pictures are cut and fitted, not how the model is built.
_PIXELS = ("crop", "fit", "resample", "max_frames")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedAligner:
    """An image-text model ready to be asked.

    Args:
        name: Registered name.
        model: In evaluation mode.
        wanted: Pixels it reads.
        sha256: Digest of its weights as they are.
        record: Of the origin of its weights; empty for fresh ones.
        options: It was built with.
    """

    name: str
    model: Any
    wanted: ImageInput
    sha256: str
    record: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def load_aligner(
    model: str,
    *,
    weights: str | None = None,
    tokenizer: str | None = None,
    options: Mapping[str, Any] | None = None,
    device: str = "cpu",
) -> LoadedAligner:
    """Return an image-text model.

    Args:
        model: Name, family with one released model (`flair`), or folder of `fundusion pretrain`.
        weights: A file, a folder, "published", "hub:..."; "fresh" for random ones, which answer nothing.
        tokenizer: Folder or hub id of the words, where the weights do not hold them.
        options: Of the builder, and how pictures are cut and fitted: crop, fit, resample.
        device: Where it runs.

    Raises:
        UnknownName: No model of that name, with the names of those that compare images with texts.
        InvalidInput: No weights were named (`model.no_weights`), or the model compares nothing with texts (`model.role`).
        IncompatibleWeights: The weights do not fit, or are not those the folder says.
    """
    chosen: dict[str, Any] = dict(options or {})
    if (Path(model) / "encoder.json").is_file():
        model, weights, chosen = _of_run(Path(model), chosen)
    name = aligner_name(model)
    if weights is None:
        card = models.card(name)
        raise InvalidInput(
            f"no weights were named for {name!r}; with random ones it answers nothing.",
            code="model.no_weights",
            hint=("Give --weights published (fetched once), or a file. " if card.weights else "Give --weights FILE. ")
            + "--weights fresh is for trying the command.",
        )
    if weights != "fresh":
        chosen["weights"] = weights
    if tokenizer:
        chosen["tokenizer"] = tokenizer
    pixels = {k: chosen.pop(k) for k in _PIXELS if k in chosen}
    made = models.create(name, **chosen).eval().to(device)
    wanted = replace(models.card(name).input or ImageInput(), **pixels)
    if "image_size" in chosen:
        wanted = replace(wanted, size=int(chosen["image_size"]))
    return LoadedAligner(
        name=name,
        model=made,
        wanted=wanted,
        sha256=digest_of_module(made),
        record=getattr(made, "weights_record", None) or {},
        options={k: v for k, v in {**chosen, **pixels}.items() if k not in ("weights", "tokenizer")},
    )


def aligner_name(model: str) -> str:
    """Return the registered name that a name or the short name of a family means.

    Raises:
        UnknownName: No such model, or a family with several.
        InvalidInput: It does not compare images with texts.

    Example:
        >>> aligner_name("flair.test")
        'flair.test'
    """
    able = [n for n in models.names() if "align" in models.card(n).roles]
    if model in models.names():
        if model not in able:
            raise InvalidInput(
                f"{model!r} does not compare images with texts.",
                code="model.role",
                hint=f"These do: {', '.join(able)}.",
            )
        return model
    family = [n for n in able if n.split(".")[0] == model and not n.endswith(".test")]
    if len(family) == 1:
        return family[0]
    raise UnknownName(
        f"{model!r} stands for several models." if family else f"no image-text model is called {model!r}.",
        hint=f"Choose one of {', '.join(family or able)}, or give the folder of `fundusion pretrain`.",
    )


def _of_run(folder: Path, options: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    facts = json.loads((folder / "encoder.json").read_text("utf-8"))
    weights = folder / "encoder.safetensors"
    if not weights.is_file() or digest(weights) != facts["sha256"]:
        raise IncompatibleWeights(
            f"encoder.safetensors of {folder.name!r} is missing or damaged.",
            code="model.digest",
            hint="Train it again.",
        )
    return facts["model"], str(weights), {**facts.get("options", {}), **options}
