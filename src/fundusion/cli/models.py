"""`models` and `convert-weights`: what there is, what it may be used for, and old files made safe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from .screen import USAGE, fail, print_error, say, table

_PAGES = ("models", "licenses")


def models(
    name: Annotated[str | None, typer.Argument(help="Print the card of this model.")] = None,
    *,
    role: Annotated[str | None, typer.Option(help="encode, encode_text, encode_table, ...")] = None,
    modality: Annotated[str | None, typer.Option(help="cfp, oct, text, table, ...")] = None,
    licence: Annotated[
        str | None,
        typer.Option("--license", help="commercial, non-commercial, or a part of the licence's name."),
    ] = None,
    weights: Annotated[
        str | None, typer.Option(help="Try a file (or published, hub:owner/name) in the model; prints what fits.")
    ] = None,
    sha256: Annotated[
        str | None, typer.Option(help="Digest the file must have, or its first 16 digits or more.")
    ] = None,
    markdown: Annotated[str | None, typer.Option(help="Print a page of the documentation: models or licenses.")] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """List models, or print everything about one.

    Examples:

      fundusion models --role encode --license commercial

      fundusion models retfound.cfp

      fundusion models retfound.cfp --weights RETFound_mae_natureCFP.pth

      fundusion models screen
    """
    try:
        if markdown is not None:
            _print_page(markdown)
        elif name is None:
            _list(role, modality, licence)
        else:
            _print_card(name)
            if weights is not None:
                _try_weights(name, weights, sha256)
    except typer.Exit:
        raise
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None


def _list(role: str | None, modality: str | None, licence: str | None) -> None:
    from .. import list_models
    from ..core.cards import fits_licence
    from ..core.registry import fusions
    from ..core.registry import models as registry
    from ..shipped import shipped_facts, shipped_models

    if role is None and modality is None and licence is None:
        ready = [(n, shipped_facts(n).get("card", {}).get("title", "")) for n in shipped_models()]
        table(ready, ("ready to use", ""))
        table([(n, fusions.card(n).title) for n in fusions.names()], ("fusion", ""))
    rows = []
    for name in list_models(role=role, modality=modality):
        card = registry.card(name)
        if licence is None or fits_licence(card, licence):
            rows.append((name, ", ".join(sorted(card.roles)), card.title, card.weight_license or ""))
    table(rows, ("model", "roles", "", "licence of weights"))
    if not rows:
        say("Nothing fits; without options everything is listed.")


def _print_card(name: str) -> None:
    import inspect

    from ..core.cards import card_rows, measurements
    from ..core.registry import models as registry
    from ..shipped import shipped_facts, shipped_models

    if name in shipped_models():
        facts = shipped_facts(name)
        card: dict[str, Any] = facts.get("card", {})
        rows = [(k, ", ".join(map(str, v)) if isinstance(v, list | tuple) else v) for k, v in card.items()]
        rows += [("weights sha256", facts["weights_sha256"]), ("tasks", ", ".join(facts["network"]["tasks"]))]
    else:
        rows = card_rows(registry.card(name), measurements()["models"].get(name))
        options = inspect.signature(registry.builder(name)).parameters.values()
        words = [p.name if p.default is p.empty else f"{p.name}={p.default!r}" for p in options]
        words += ["sha256=None"] if any(w.startswith("weights=") for w in words) else []
        rows.append(("options", ", ".join(words)))
    table(rows, ("", name))


def _try_weights(name: str, weights: str, sha256: str | None) -> None:
    from ..core.errors import InvalidInput
    from ..core.registry import describe_origin
    from ..core.registry import models as registry

    record = getattr(registry.create(name, weights=weights, sha256=sha256), "weights_record", None)
    if record is None:
        raise InvalidInput(f"{name!r} keeps no record of what it loads.", hint="Load it in Python to see its report.")
    say(f"Fits:       {describe_origin(record)}")
    say(
        f"SHA-256:    {record['sha256']} ({'as expected' if record['digest_verified'] else 'compared with nothing: pin it with sha256'})"
    )
    say(f"loaded:     {record['loaded']} tensors")
    for what in ("reshaped", "missing"):
        names = record.get(what, [])
        say(f"{what + ':':<11} {len(names)} {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}".rstrip())
    say(f"unexpected: {record['unexpected']} (left out by the rules of the family)")


def _print_page(kind: str) -> None:
    if kind not in _PAGES:
        print_error(f"error [config.markdown]: --markdown is {kind!r}.\n  Choose one of {', '.join(_PAGES)}.")
        raise typer.Exit(USAGE)
    from ..core.cards import licences_page, measurements, models_page
    from ..core.registry import models as registry

    cards = {n: registry.card(n) for n in registry.names()}
    page = models_page(cards, measurements()) if kind == "models" else licences_page(cards)
    say(page.removesuffix("\n"))


def convert_weights(
    source: Annotated[Path, typer.Argument(help="Torch file: .pth, .pt, .bin.")],
    target: Annotated[Path, typer.Argument(help="Result: NAME.safetensors.")],
    *,
    trust: Annotated[
        bool,
        typer.Option(
            "--i-trust-this-file",
            help="Also read files that keep their settings as an argparse.Namespace. Nothing else is allowed, and no code runs.",
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the full trace of an internal error.")] = False,
) -> None:
    """Write the tensors of an old checkpoint as safetensors, which cannot hold code.

    The tensors under `model`, `state_dict`, `teacher` or `module` are kept; optimiser and settings are left out.

    Examples:

      fundusion convert-weights checkpoint.pth checkpoint.safetensors

      fundusion convert-weights RETFound_cfp_weights.pth retfound_cfp.safetensors --i-trust-this-file
    """
    try:
        from ..layers.weights import convert_weights as convert
        from ..layers.weights import digest

        count = convert(source, target, trusted=trust)
        say(f"Written: {target} ({count} tensors, SHA-256 {digest(target)})")
    except Exception as error:
        if debug:
            raise
        raise typer.Exit(fail(error)) from None
