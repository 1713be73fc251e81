"""`pretrain`: an encoder from pictures without labels, or an image-text model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .generator_training import GENERATORS, with_generator
from .pretrain_pairs import TEXTS, Plan, with_texts
from .screen import fail, progress, say

PICTURES = ("mae", "ibot", "multimae")


def pretrain(
    *,
    objective: Annotated[str | None, typer.Option(help=f"Pictures alone: {', '.join(PICTURES)} (mae when left out). With texts: {', '.join(TEXTS)}. Generators: {', '.join(GENERATORS)}.")] = None,
    model: Annotated[str | None, typer.Option(help="vit.small, visionfm.cfp, ...; with texts image_text.small, ...")] = None,
    data: Annotated[Path | None, typer.Option(help="Table of studies, folder of pictures, or a public set as downloaded.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="TOML with all of these and more; options that are given go before it.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; a run that was interrupted goes on.")],
    modality: Annotated[str | None, typer.Option(help="cfp, oct, ...; for multimae several with commas. [cfp]")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="100; with texts 15.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="64.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Greatest, of AdamW with a cosine: 1.5e-4; with texts 1e-3.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(min=0, help="Steps until the greatest learning rate: 100.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the pictures; the model's own when left out.")] = None,
    side: Annotated[int | None, typer.Option(help="Side of the stored pictures that are cut from; an eighth more, with texts 256.")] = None,
    mask_ratio: Annotated[float | None, typer.Option(help="Share of hidden patches (pictures alone).")] = None,
    decoder: Annotated[str | None, typer.Option(help="Width, depth and heads of the decoder (mae): 256,4,8.")] = None,
    head: Annotated[str | None, typer.Option(help="Prototypes and widths of the head (ibot): 8192,2048,256.")] = None,
    pictures_every: Annotated[int | None, typer.Option(min=1, help="Epochs between pictures of what was rebuilt: 10.")] = None,
    knowledge: Annotated[Path | None, typer.Option(help="JSON of findings and what is known about them (with texts).")] = None,
    weights: Annotated[str | None, typer.Option(help="Of a generator: where it begins, a folder, hub:owner/name or published.")] = None,
    stage: Annotated[int | None, typer.Option(min=1, max=2, help="Of blip2: 1 the queries alone, 2 with the language model. [1]")] = None,
    parts: Annotated[str | None, typer.Option(help="Of a generator: what moves, of projector, queries, vision, language; with commas.")] = None,
    lora_rank: Annotated[int | None, typer.Option(min=0, help="Of a generator: low-rank adapters on its language part alone move.")] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Also write the whole generator with its adapters added.")] = False,
    packing: Annotated[bool, typer.Option("--packing", help="Of instruct: several conversations in one row.")] = False,
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Of a generator: less memory, more time.")] = False,
    precision: Annotated[str | None, typer.Option(help="fp32 or bf16.")] = None,
    seed: Annotated[int | None, typer.Option(help="0.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder for prepared pictures.")] = None,
    columns: Annotated[Path | None, typer.Option(help="TOML with [columns].")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")] = None,
    allow_changes: Annotated[bool, typer.Option("--allow-changes", help="Go on although something changed.")] = False,
    estimate_only: Annotated[bool, typer.Option("--estimate-only", help="Print the time it will take, and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:  # fmt: skip
    """Train an encoder without labels, an image-text model from pictures and what is said of them, or a generator of words.

    Texts are reports, or the names of findings that labels give. See docs/guides/train-image-and-text.md and generators.md.

    Examples:

      fundusion draw --out eyes --count 200

      fundusion pretrain --objective mae --model vit.tiny --data eyes/manifest.csv --out run --epochs 20

      fundusion pretrain --objective flair --data eyes/manifest.csv --out words --epochs 20

      fundusion pretrain --recipe recipes/pretrain.toml --data clinic.csv --seed 1 --out run

      fundusion pretrain --recipe recipes/image_text.toml --out runs/image_text

      fundusion pretrain --objective instruct --model llava --data conversations.jsonl --out assistant --parts projector
    """
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "warmup_steps": warmup_steps,
             "precision": precision, "seed": seed, "device": device}  # fmt: skip
    own = {"mask_ratio": mask_ratio, "decoder": decoder, "head": head, "pictures_every": pictures_every}
    plan = Plan(
        objective=objective, model=model, data=data, recipe=recipe, out=out, modality=modality, image_size=image_size, side=side,
        cache=cache, columns=columns, root=root, knowledge=knowledge, allow_changes=allow_changes,
        estimate_only=estimate_only, train=_known(given), pictures=_known(own),
        generator=_generator(weights=weights, stage=stage, parts=parts, lora_rank=lora_rank, merge=merge or None,
                             packing=packing or None, checkpointing=checkpointing or None),
    )  # fmt: skip
    try:
        code = _run(plan)
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    raise typer.Exit(code)


def _known(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _generator(**options: Any) -> dict[str, Any]:
    known = _known(options)
    if "parts" in known:
        known["parts"] = tuple(p.strip() for p in known["parts"].split(",") if p.strip())
    return known


def _run(plan: Plan) -> int:
    from ..core.errors import InvalidInput

    objective = _objective_of(plan)
    if objective in GENERATORS:
        return with_generator(plan)
    if plan.generator:
        names = ", ".join("--" + name.replace("_", "-") for name in plan.generator)
        raise InvalidInput(
            f"{names}: for generators.", code="config.invalid", hint=f"Use --objective {', '.join(GENERATORS)}."
        )
    return with_texts(plan) if objective in TEXTS else _alone(plan)


def _objective_of(plan: Plan) -> Any:
    """Return the objective that the command asks for, else the recipe."""
    if plan.objective is not None or plan.recipe is None:
        return plan.objective
    return _read(plan.recipe)["objective"]


def _alone(plan: Plan) -> int:
    """Train on pictures alone."""
    import json

    from ..core.errors import InvalidInput
    from ..datasets.folder import discover
    from ..train.pretrain import estimate, prepare_pretraining, pretrain

    if plan.data is None or plan.knowledge is not None:
        raise InvalidInput(
            "no --data is given." if plan.data is None else "--knowledge is for training with texts.",
            code="config.invalid",
            hint=f"With texts use --objective {', '.join(TEXTS)}.",
        )
    config = _config(_merged(plan), name="options" if plan.recipe is None else plan.recipe.name)
    records = list(discover([plan.data], columns=plan.columns, root=plan.root, modality=config.modalities[0]))
    out = plan.out
    if plan.estimate_only:
        out.mkdir(parents=True, exist_ok=True)
        say(f"Time:     {estimate(prepare_pretraining(records, out, config, progress))}")
        return 0
    result = pretrain(
        records,
        out,
        config=config,
        allow_changes=plan.allow_changes,
        announce=lambda words: say(f"Time:     {words}"),
        reporter=progress,
    )
    if result.exit_code:
        say("Interrupted; the same command goes on.")
        return result.exit_code
    untouched = json.loads((out / "encoder.json").read_text("utf-8"))["untouched_test_studies"]
    if untouched:
        say(f"Not seen: {untouched} studies of patients of the part test")
    say(f"Encoder:  {out / 'encoder.safetensors'}")
    say(f"Pictures: {out / 'pictures'}")
    say(f'Use it:   encoders = {{ {config.modalities[0]} = {{ name = "{config.model}", weights = "{out}" }} }}')
    return 0


def _merged(plan: Plan) -> dict[str, Any]:
    """Return the configuration: the recipe's values or the usual ones, and over them the options that were given."""
    found = _read(plan.recipe) if plan.recipe is not None else {
        "objective": "mae", "model": "vit.small",
        "train": {"epochs": 100, "batch_size": 64, "learning_rate": 1.5e-4, "warmup_steps": 100},
    }  # fmt: skip
    given: dict[str, Any] = {
        "objective": plan.objective, "model": plan.model, "side": plan.side,
        "cache": None if plan.cache is None else str(plan.cache), **plan.pictures,
        **{k: _three(plan.pictures[k]) for k in ("decoder", "head") if k in plan.pictures},
    }  # fmt: skip
    if plan.modality is not None:
        given["modalities"] = tuple(m.strip() for m in plan.modality.split(",") if m.strip())
    options = {**found.get("options", {}), **_known({"image_size": plan.image_size})}
    train = {"clip": 3.0, "ema": 0.0, **found.get("train", {}), **plan.train}
    return {**found, **_known(given), "options": options, "train": train}


def _three(text: str) -> tuple[int, ...]:
    from ..core.errors import InvalidInput

    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != 3:
        raise InvalidInput(f"expected three whole numbers with commas, got {text!r}.", code="config.invalid")
    return found


def _read(recipe: Path) -> dict[str, Any]:
    import tomllib

    from ..core.errors import InvalidInput, ReadError

    try:
        found = tomllib.loads(recipe.read_text("utf-8"))
    except FileNotFoundError as error:
        raise ReadError(
            f"no recipe {recipe.name!r}.", code="config.missing", hint="Recipes are in recipes/."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{recipe.name!r} is no TOML: {error}.", code="config.syntax") from error
    for key in ("options", "train"):
        if not isinstance(found.get(key, {}), dict):
            raise InvalidInput(f"{recipe.name}: {key} is no table.", code="config.invalid", hint=f"Write [{key}].")
    if not {"objective", "model"} <= found.keys():
        raise InvalidInput(f"{recipe.name}: a recipe needs objective and model.", code="config.invalid")
    if found.get("cache"):
        found["cache"] = str((recipe.parent / str(found["cache"])).absolute())
    return found


def _config(value: dict[str, Any], *, name: str) -> Any:
    from pydantic import ValidationError

    from ..core.errors import InvalidInput
    from ..train.pretrain import PretrainConfig, full_name

    try:
        return PretrainConfig.model_validate({**value, "model": full_name(str(value["model"]))})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise InvalidInput(f"{name}: {where}: {first['msg']}.", code="config.invalid") from error
