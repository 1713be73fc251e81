"""`pretrain`: an encoder from pictures without labels, or an image-text model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .pretrain_pairs import TEXTS, Plan, with_texts
from .screen import fail, progress, say

PICTURES = ("mae", "ibot", "multimae")


def pretrain(
    *,
    objective: Annotated[str | None, typer.Option(help=f"Pictures alone: {', '.join(PICTURES)} (mae when left out). With texts: {', '.join(TEXTS)}.")] = None,
    model: Annotated[str | None, typer.Option(help="vit.small, visionfm.cfp, ...; with texts image_text.small, ...")] = None,
    data: Annotated[Path | None, typer.Option(help="Table of studies, folder of pictures, or a public set as downloaded.")] = None,
    recipe: Annotated[Path | None, typer.Option(help="TOML of an image-text run, as recipes/image_text.toml.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; a run that was interrupted goes on.")],
    modality: Annotated[str | None, typer.Option(help="cfp, oct, ...; for multimae several with commas. [cfp]")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="100; with texts 15.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=2, help="64.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Greatest, of AdamW with a cosine: 1.5e-4; with texts 1e-3.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(min=0, help="Steps until the greatest learning rate: 100.")] = None,
    image_size: Annotated[int | None, typer.Option(help="Side of the pictures; the model's own when left out.")] = None,
    mask_ratio: Annotated[float | None, typer.Option(help="Share of hidden patches (pictures alone).")] = None,
    decoder: Annotated[str | None, typer.Option(help="Width, depth and heads of the decoder (mae): 256,4,8.")] = None,
    head: Annotated[str | None, typer.Option(help="Prototypes and widths of the head (ibot): 8192,2048,256.")] = None,
    pictures_every: Annotated[int | None, typer.Option(min=1, help="Epochs between pictures of what was rebuilt: 10.")] = None,
    knowledge: Annotated[Path | None, typer.Option(help="JSON of findings and what is known about them (with texts).")] = None,
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
    """Train an encoder without labels, by hidden patches or a teacher, or an image-text model from pictures and what is said of them.

    Texts are reports, or the names of findings that labels give. See docs/guides/train-image-and-text.md.

    Examples:

      fundusion draw --out eyes --count 200

      fundusion pretrain --objective mae --model vit.tiny --data eyes/manifest.csv --out run --epochs 20

      fundusion pretrain --objective flair --data eyes/manifest.csv --out words --epochs 20

      fundusion pretrain --recipe recipes/image_text.toml --out runs/image_text
    """
    given = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate, "warmup_steps": warmup_steps,
             "precision": precision, "seed": seed, "device": device}  # fmt: skip
    own = {"mask_ratio": mask_ratio, "decoder": decoder, "head": head, "pictures_every": pictures_every}
    plan = Plan(
        objective=objective, model=model, data=data, recipe=recipe, out=out, modality=modality, image_size=image_size,
        cache=cache, columns=columns, root=root, knowledge=knowledge, allow_changes=allow_changes,
        estimate_only=estimate_only, train=_known(given), pictures=_known(own),
    )  # fmt: skip
    try:
        code = with_texts(plan) if recipe is not None or objective in TEXTS else _alone(plan)
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    raise typer.Exit(code)


def _known(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _alone(plan: Plan) -> int:
    """Train on pictures alone."""
    from ..core.errors import InvalidInput
    from ..datasets.folder import discover
    from ..train.pretrain import estimate, prepare_pretraining, pretrain

    if plan.data is None or plan.knowledge is not None:
        raise InvalidInput(
            "no --data is given." if plan.data is None else "--knowledge is for training with texts.",
            code="config.invalid",
            hint=f"With texts use --objective {', '.join(TEXTS)}.",
        )
    modalities = tuple(m.strip() for m in (plan.modality or "cfp").split(",") if m.strip())
    train = {"epochs": 100, "batch_size": 64, "learning_rate": 1.5e-4, "warmup_steps": 100, **plan.train}
    config = _config({
        "objective": plan.objective or "mae", "model": plan.model or "vit.small", "modalities": modalities,
        "options": {} if plan.image_size is None else {"image_size": plan.image_size},
        **plan.pictures, **{k: _three(plan.pictures[k]) for k in ("decoder", "head") if k in plan.pictures},
        "cache": None if plan.cache is None else str(plan.cache), "train": {"clip": 3.0, "ema": 0.0, **train},
    })  # fmt: skip
    records = list(discover([plan.data], columns=plan.columns, root=plan.root, modality=modalities[0]))
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
    say(f"Encoder:  {out / 'encoder.safetensors'}")
    say(f"Pictures: {out / 'pictures'}")
    say(f'Use it:   encoders = {{ {modalities[0]} = {{ name = "{config.model}", weights = "{out}" }} }}')
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


def _config(value: dict[str, Any]) -> Any:
    from pydantic import ValidationError

    from ..core.errors import InvalidInput
    from ..train.pretrain import PretrainConfig, full_name

    try:
        return PretrainConfig.model_validate({**value, "model": full_name(value["model"])})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(p) for p in first["loc"])
        raise InvalidInput(f"{where}: {first['msg']}.", code="config.invalid") from error
