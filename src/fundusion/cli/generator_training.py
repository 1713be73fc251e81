"""`pretrain` and `adapt` with `--objective caption|blip2|instruct|dpo`: what the commands do when a generator is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .pretrain_pairs import Plan
from .screen import progress, say

#: Objectives of generators.
GENERATORS = ("caption", "blip2", "instruct", "dpo")


def with_generator(plan: Plan) -> int:
    """Train a generator and return the exit code."""
    import json

    from ..core.errors import InvalidInput
    from ..train.generators import prepare_generator, train_generator

    if plan.pictures or plan.knowledge is not None:
        raise InvalidInput(
            "--mask-ratio, --decoder, --head, --pictures-every and --knowledge are for other objectives.",
            code="config.invalid",
        )
    if plan.data is None:
        raise InvalidInput(
            "no --data is given.",
            code="config.invalid",
            hint="A table of studies with reports (caption, blip2), or a file of conversations (.json, .jsonl): fundusion instruct-data",
        )
    config = _config(plan)
    items, losses = _items(plan, config)
    if plan.estimate_only:
        from ..train.estimate import estimate

        plan.out.mkdir(parents=True, exist_ok=True)
        say(f"Time:     {estimate(prepare_generator(items, plan.out, config, progress, losses=losses))}")
        return 0
    result = train_generator(
        items, plan.out, config=config, losses=losses, allow_changes=plan.allow_changes,
        announce=lambda words: say(f"Time:     {words}"), reporter=progress,
    )  # fmt: skip
    if result.exit_code:
        say("Interrupted; the same command goes on.")
        return result.exit_code
    told = json.loads((plan.out / "generator.json").read_text("utf-8"))
    if result.rejected:
        say(f"Left out: {result.rejected} items ({plan.out / 'rejected.json'})")
    if told["untouched_test_items"]:
        say(f"Not seen: {told['untouched_test_items']} items of patients of the part test")
    say(f"Model:    {plan.out / ('adapter.safetensors' if told['adapter'] else 'model')}")
    say(f"Use it:   fundusion describe eye.jpg --model {plan.out}")
    return 0


def _config(plan: Plan) -> Any:
    from ..core.errors import InvalidInput
    from ..core.registry import models
    from ..narrative.generators import choose
    from ..train.config import load_toml
    from ..train.generator_config import generator_config

    value = load_toml(plan.recipe) if plan.recipe is not None else {}
    chosen = {"objective": plan.objective, "model": plan.model, "modality": plan.modality, **plan.generator}
    merged = {**value, **{k: v for k, v in chosen.items() if v is not None}}
    name = str(merged.get("model") or "")
    if not name:
        raise InvalidInput("no --model is given.", code="config.invalid", hint="For instance llava, blip, or a folder.")
    # A folder, a hub id or a family is a model and its weights.
    found = choose(name, weights=merged.get("weights"))
    merged["model"] = found.name
    if found.weights is not None:
        merged["weights"] = found.weights
    elif models.card(found.name).weights is None and not found.name.endswith(".test"):
        raise InvalidInput(
            f"{found.title} has to be given its weights.", code="model.not_found", hint="Give --weights."
        )
    if plan.train:
        merged["train"] = {**merged.get("train", {}), **plan.train}
    return generator_config(merged, name=plan.recipe.name if plan.recipe else "the command")


def _items(plan: Plan, config: Any) -> tuple[list[Any], list[Any]]:
    """Return conversations of a file, or the reports of a table of studies, and what could not be read."""
    from ..core.errors import InvalidInput
    from ..datasets.folder import discover
    from ..readers.conversations import is_conversations, read_conversations
    from ..train.data import Rejected
    from ..train.generators import caption_items

    data = Path(plan.data or "")
    if is_conversations(data):
        found = read_conversations(data, root=plan.root)
        return list(found.items), [Rejected(study_id=r.item_id, code=r.code, message=r.message) for r in found.rejected]
    if config.objective in ("instruct", "dpo"):
        raise InvalidInput(
            f"{data.name!r} is no file of conversations.",
            code="config.data",
            hint="Make one with: fundusion instruct-data, or give a .json or .jsonl of LLaVA or Qwen.",
        )
    manifest = discover([data], columns=plan.columns, root=plan.root, modality=config.modality)
    return caption_items(list(manifest), config.modality), []
