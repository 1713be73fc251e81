"""`pretrain`: an encoder from pictures without labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .screen import fail, progress, say


def pretrain(
    context: typer.Context,
    *,
    recipe: Annotated[
        Path | None, typer.Option(help="TOML with all of these and more; options that are given go before it.")
    ] = None,
    objective: Annotated[str, typer.Option(help="mae, ibot or multimae.")] = "mae",
    model: Annotated[str, typer.Option(help="vit.tiny, vit.small, visionfm.cfp, eyefm.small, ...")] = "vit.small",
    data: Annotated[Path, typer.Option(help="Table of studies, folder of pictures, or a public set as downloaded.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; a run that was interrupted goes on.")],
    modality: Annotated[str, typer.Option(help="cfp, oct, ...; for multimae several with commas.")] = "cfp",
    epochs: Annotated[int, typer.Option(min=1)] = 100,
    batch_size: Annotated[int, typer.Option(min=2)] = 64,
    learning_rate: Annotated[float, typer.Option(help="Greatest, of AdamW with a cosine.")] = 1.5e-4,
    warmup_steps: Annotated[int, typer.Option(min=0, help="Steps until the greatest learning rate.")] = 100,
    image_size: Annotated[int | None, typer.Option(help="Side of the pictures; the model's own when left out.")] = None,
    side: Annotated[
        int | None, typer.Option(help="Side of the stored pictures that are cut from; an eighth more when left out.")
    ] = None,
    mask_ratio: Annotated[float | None, typer.Option(help="Share of hidden patches.")] = None,
    decoder: Annotated[str, typer.Option(help="Width, depth and heads of the decoder (mae).")] = "256,4,8",
    head: Annotated[str, typer.Option(help="Prototypes and widths of the head (ibot).")] = "8192,2048,256",
    pictures_every: Annotated[int, typer.Option(min=1, help="Epochs between pictures of what was rebuilt.")] = 10,
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    seed: Annotated[int, typer.Option()] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    cache: Annotated[Path | None, typer.Option(help="Folder for prepared pictures.")] = None,
    columns: Annotated[Path | None, typer.Option(help="TOML with [columns].")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")] = None,
    allow_changes: Annotated[bool, typer.Option("--allow-changes", help="Go on although something changed.")] = False,
    estimate_only: Annotated[
        bool, typer.Option("--estimate-only", help="Print the time it will take, and stop.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Train an encoder without labels, by hidden patches (mae, multimae) or by a teacher (ibot).

    Examples:

      fundusion draw --out eyes --count 200

      fundusion pretrain --objective mae --model vit.tiny --data eyes/manifest.csv --out run --epochs 20

      fundusion pretrain --recipe recipes/pretrain.toml --data clinic.csv --seed 1 --out run

      fundusion adapt vit.tiny eyes/manifest.csv --weights run --task dr_grade --protocol linear --out adapted
    """
    try:
        value = {
            "objective": objective, "model": model, "mask_ratio": mask_ratio, "decoder": _three(decoder), "side": side,
            "modalities": tuple(m.strip() for m in modality.split(",") if m.strip()), "head": _three(head),
            "options": {} if image_size is None else {"image_size": image_size}, "pictures_every": pictures_every,
            "cache": None if cache is None else str(cache),
        }  # fmt: skip
        train = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "precision": precision,
                 "warmup_steps": warmup_steps, "seed": seed, "device": device}  # fmt: skip
        config = _config(
            _merged(recipe, value, train, given=_given(context)), name=recipe.name if recipe else "options"
        )
        code = _run(
            config, data, out, columns=columns, root=root, allow_changes=allow_changes, estimate_only=estimate_only
        )
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    raise typer.Exit(code)


def _run(
    config: Any,
    data: Path,
    out: Path,
    *,
    columns: Path | None,
    root: Path | None,
    allow_changes: bool,
    estimate_only: bool,
) -> int:
    import json

    from ..datasets.folder import discover
    from ..train.pretrain import estimate, prepare_pretraining, pretrain

    records = list(discover([data], columns=columns, root=root, modality=config.modalities[0]))
    if estimate_only:
        out.mkdir(parents=True, exist_ok=True)
        say(f"Time:     {estimate(prepare_pretraining(records, out, config, progress))}")
        return 0
    result = pretrain(
        records,
        out,
        config=config,
        allow_changes=allow_changes,
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


def _three(text: str) -> tuple[int, ...]:
    from ..core.errors import InvalidInput

    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) != 3:
        raise InvalidInput(f"expected three whole numbers with commas, got {text!r}.", code="config.invalid")
    return found


#: Names of options that are called otherwise in a recipe.
_RENAMED = {"modality": "modalities", "image_size": "options"}


def _given(context: typer.Context) -> set[str]:
    """Return the options that were written on the command line."""
    names = {n for n in context.params if (s := context.get_parameter_source(n)) and s.name == "COMMANDLINE"}
    return {_RENAMED.get(n, n) for n in names}


def _merged(recipe: Path | None, value: dict[str, Any], train: dict[str, Any], *, given: set[str]) -> dict[str, Any]:
    """Return the configuration: the recipe's values, and over them the options that were given."""
    if recipe is None:
        return {**value, "train": {**train, "clip": 3.0, "ema": 0.0}}
    found = _read(recipe)
    options = {**found.get("options", {}), **value.pop("options")}
    fit = {"clip": 3.0, "ema": 0.0, **found.get("train", {}), **{k: v for k, v in train.items() if k in given}}
    return {**found, **{k: v for k, v in value.items() if k in given}, "options": options, "train": fit}


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
