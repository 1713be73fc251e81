"""`pretrain` with texts: what the command does when the objective reads pictures and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .screen import progress, say

#: Objectives that read texts.
TEXTS = ("clip", "medclip", "flair", "keepfit", "retizero", "siglip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The options of the command; None where nothing was given.

    Args:
        train: Options of the optimisation that were given.
        pictures: Options for pictures alone that were given.
        generator: Options for generators that were given.
    """

    out: Path
    objective: str | None = None
    model: str | None = None
    data: Path | None = None
    recipe: Path | None = None
    modality: str | None = None
    image_size: int | None = None
    side: int | None = None
    cache: Path | None = None
    columns: Path | None = None
    root: Path | None = None
    knowledge: Path | None = None
    allow_changes: bool = False
    estimate_only: bool = False
    train: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, Any] = field(default_factory=dict)
    generator: dict[str, Any] = field(default_factory=dict)


def with_texts(plan: Plan) -> int:
    """Train an image-text model and return the exit code."""
    import json

    from ..core.errors import InvalidInput
    from ..datasets.folder import discover
    from ..train.config import load_toml
    from ..train.pair_config import PairConfig, pair_config, studies_of
    from ..train.pretrain_pairs import estimate, prepare_pairs, pretrain_pairs

    if plan.pictures:
        names = ", ".join("--" + name.replace("_", "-") for name in plan.pictures)
        raise InvalidInput(f"{names}: for training on pictures alone.", code="config.invalid")
    if plan.recipe is None and plan.data is None:
        raise InvalidInput("neither --data nor --recipe is given.", code="config.invalid")
    value = load_toml(plan.recipe) if plan.recipe is not None else {}
    config: PairConfig = pair_config(_merged(value, plan), name=plan.recipe.name if plan.recipe else "the command")
    records = (
        list(discover([plan.data], columns=plan.columns, root=plan.root, modality=config.modality))
        if plan.data is not None
        else studies_of(config)
    )
    if plan.estimate_only:
        plan.out.mkdir(parents=True, exist_ok=True)
        say(f"Time:     {estimate(prepare_pairs(records, plan.out, config, progress))}")
        return 0
    result = pretrain_pairs(
        records,
        plan.out,
        config=config,
        allow_changes=plan.allow_changes,
        announce=lambda words: say(f"Time:     {words}"),
        reporter=progress,
    )
    if result.exit_code:
        say("Interrupted; the same command goes on.")
        return result.exit_code
    untouched = json.loads((plan.out / "encoder.json").read_text("utf-8"))["untouched_test_studies"]
    if untouched:
        say(f"Not seen: {untouched} studies of patients of the part test")
    say(f"Model:    {plan.out / 'encoder.safetensors'}")
    say(f'Use it:   encoders = {{ {config.modality} = {{ name = "{config.model}", weights = "{plan.out}" }} }}')
    return 0


def _merged(value: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Return the configuration with what the command gives in its place."""
    chosen = {
        "objective": plan.objective, "model": plan.model, "modality": plan.modality,
        "knowledge": None if plan.knowledge is None else str(plan.knowledge.absolute()),
    }  # fmt: skip
    merged = {**value, **{k: v for k, v in chosen.items() if v is not None}}
    if plan.train:
        merged["train"] = {**merged.get("train", {}), **plan.train}
        if "epochs" in plan.train:
            merged["train"].pop("sizes", None)
    if plan.image_size is not None:
        merged["options"] = {**merged.get("options", {}), "image_size": plan.image_size}
    stored = {"cache": None if plan.cache is None else str(plan.cache), "side": plan.side}
    merged["data"] = {**merged.get("data", {}), **{k: v for k, v in stored.items() if v is not None}}
    return merged
