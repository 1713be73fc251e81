"""`train`, `evaluate`, `predict`, `embed`, `models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .screen import fail, progress, say, table

_DEBUG = typer.Option("--debug", help="Show the full trace of an internal error.")


def train(
    config: Annotated[Path, typer.Argument(help="TOML; see recipes/.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Run folder; a run that was interrupted goes on.")],
    encoder: Annotated[str | None, typer.Option(help="frozen, lora or full; overrides the configuration.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, ...; overrides the configuration.")] = None,
    allow_changes: Annotated[
        bool,
        typer.Option("--allow-changes", help="Go on although data or configuration changed; the change is recorded."),
    ] = False,
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Train a fused network on a manifest.

    Examples:

      fundusion train recipes/quick.toml --out run

      fundusion train my.toml --out run --encoder frozen
    """
    try:
        from ..train import load_config, train_from_config

        loaded = load_config(config, encoder=encoder, device=device)
        result = train_from_config(loaded, out, allow_changes=allow_changes, reporter=progress)
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    say(
        f"{result.epochs} epochs; best {result.metric}: {result.best:.4f}"
        if result.best is not None
        else f"{result.epochs} epochs"
    )
    say(f"Model:    {result.folder / 'model'}")
    say(f"Use it:   fundusion analyze --model {result.folder} INPUT --out results")
    raise typer.Exit(result.exit_code)


def evaluate(
    model: Annotated[str, typer.Argument(help="Run folder or shipped model.")],
    manifest: Annotated[Path, typer.Argument(help="Table of studies with labels, or a public set as downloaded.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for metrics.json and the page.")],
    columns: Annotated[Path | None, typer.Option(help="TOML with [columns].")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Only studies of this split; 'held_out': patients the training left out.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap resamples over patients.")] = 1000,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Measure a network: every metric with a 95 % interval over patients, plots, and what each modality adds.

    Example:

      fundusion evaluate screen our_clinic.csv --out evaluation
    """
    try:
        from ..train import evaluate as run

        with progress("studies") as show:
            page = run(
                model,
                manifest,
                out,
                columns=columns,
                root=root,
                split=split,
                n_resamples=resamples,
                device=device,
                progress=show,
            )
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    _show_metrics(page.parent / "metrics.json")
    if split != "held_out":
        _warn_of_overlap(model, manifest)
    say(f"Open:     {page.absolute()}")


def _warn_of_overlap(model: str, manifest: Path) -> None:
    """Say when a public set that is evaluated was, or is part of, training data of the network."""
    from ..datasets._overlap import overlap
    from ..datasets._recognise import the_set_of
    from ..shipped import shipped_facts

    name = the_set_of(manifest)[0] if manifest.is_dir() else None
    trained = [str(s.get("name")) for s in shipped_facts(model).get("split", {}).get("sets", [])]
    for sentence in overlap(name, trained) if name else ():
        say(f"! {sentence}")


def _show_metrics(path: Path) -> None:
    import json

    answer = json.loads(path.read_text("utf-8"))
    for name, task in answer["tasks"].items():
        rows = [(k, _interval(v)) for k, v in task["metrics"].items()]
        table(rows, (name, "value (95 % interval)"))


def _interval(value: dict[str, Any]) -> str:
    if "undefined" in value:
        return f"undefined: {value['undefined']}"
    if value.get("low") is None:
        return f"{value['value']:.3f}"
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def predict(
    model: Annotated[str, typer.Argument(help="Run folder or shipped model.")],
    manifest: Annotated[Path, typer.Argument(help="Table of studies, folder or files.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Table of probabilities: .csv or .parquet.")],
    columns: Annotated[Path | None, typer.Option(help="TOML with [columns].")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Write the probabilities of a table of studies, without gate or reports.

    Example:

      fundusion predict run studies.csv --out predictions.parquet
    """
    try:
        from ..train import predict_table

        with progress("studies") as show:
            rows, rejected = predict_table(
                model, manifest, out, columns=columns, root=root, device=device, progress=show
            )
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    say(f"Written: {out} ({rows} studies, {rejected} rejected)")
    raise typer.Exit(3 if rejected else 0)


def embed(
    manifest: Annotated[Path, typer.Argument(help="Table of studies, folder or files.")],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="Parquet file: a row per image or study.")],
    model: Annotated[str, typer.Option(help="Run folder or shipped model.")] = "screen",
    columns: Annotated[Path | None, typer.Option(help="TOML with [columns].")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
    debug: Annotated[bool, _DEBUG] = False,
) -> None:
    """Write the vectors of each modality, one row per study.

    Example:

      fundusion embed photographs/ --out vectors.parquet
    """
    try:
        from ..train import embed_table

        with progress("studies") as show:
            rows, rejected = embed_table(model, manifest, out, columns=columns, root=root, device=device, progress=show)
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
    say(f"Written: {out} ({rows} studies, {rejected} rejected)")
    raise typer.Exit(3 if rejected else 0)


def models(
    name: Annotated[str | None, typer.Argument(help="Print the card of this model.")] = None,
    role: Annotated[str | None, typer.Option(help="encode, encode_text, encode_table.")] = None,
    modality: Annotated[str | None, typer.Option(help="cfp, oct, text, table, ...")] = None,
) -> None:
    """List models, or print everything about one.

    Examples:

      fundusion models --role encode

      fundusion models screen
    """
    try:
        from ..core.registry import fusions
        from ..core.registry import models as registry
        from ..shipped import shipped_facts, shipped_models

        if name is None:
            from .. import list_models

            if role is None and modality is None:
                table(
                    [(n, shipped_facts(n).get("card", {}).get("title", "")) for n in shipped_models()],
                    ("ready to use", ""),
                )
                table([(n, fusions.card(n).title) for n in fusions.names()], ("fusion", ""))
            rows = [
                (n, ", ".join(sorted(registry.card(n).roles)), registry.card(n).title)
                for n in list_models(role=role, modality=modality)
            ]
            table(rows, ("model", "roles", ""))
            return
        if name in shipped_models():
            facts = shipped_facts(name)
            rows = [
                *facts.get("card", {}).items(),
                ("weights sha256", facts["weights_sha256"]),
                ("tasks", ", ".join(facts["network"]["tasks"])),
            ]
        else:
            card = registry.card(name)
            rows = [(f, getattr(card, f)) for f in card.__dataclass_fields__ if getattr(card, f)]
        table(
            [(k, ", ".join(map(str, v)) if isinstance(v, (list, tuple, frozenset)) else v) for k, v in rows], ("", name)
        )
    except Exception as error:
        raise typer.Exit(fail(error)) from None
