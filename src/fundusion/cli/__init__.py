"""The command line: one file per group of verbs; nothing heavy is imported before a verb needs it."""

from __future__ import annotations

import sys

import typer

from .adapt import adapt
from .analysis import analyze, demo
from .check import check
from .data import draw
from .datasets import app as datasets_app
from .evaluate_text import evaluate_text
from .instruct_data import instruct_data
from .knowledge import knowledge
from .label import label
from .measure import measure
from .models import convert_weights, models
from .narrative import ask, describe, recommend
from .networks import embed, evaluate, predict, train
from .oct_layers import oct_layers
from .pretrain import pretrain
from .screen import fail
from .search import index, search
from .segment import segment, train_segmenter
from .train_captioner import train_captioner
from .zeroshot import ground, zeroshot

app = typer.Typer(
    name="fundusion",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Multimodal retinal information processing: quality, fusion, diagnosis, explanation and report. "
    "Not a medical device; for research and education.",
)
for verb in (
    analyze, segment, demo, check, draw, label, measure, pretrain, adapt, train, evaluate, predict, embed, models, zeroshot, ground, knowledge, index, search, describe, ask, recommend,
):  # fmt: skip
    app.command()(verb)
app.command("convert-weights")(convert_weights)
app.command("train-segmenter")(train_segmenter)
app.command("instruct-data")(instruct_data)
app.command("oct-layers")(oct_layers)
app.command("train-captioner")(train_captioner)
app.command("evaluate-text")(evaluate_text)
app.add_typer(datasets_app)


def version(value: bool) -> None:
    """Print the version and leave."""
    if value:
        from .. import __version__

        typer.echo(f"fundusion {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    show_version: bool = typer.Option(False, "--version", callback=version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Run the command line; every error ends in a code of the contract, without a traceback."""
    debug = "--debug" in sys.argv
    try:
        app(standalone_mode=True)
    except (SystemExit, KeyboardInterrupt):
        raise
    except Exception as error:
        if debug:
            raise
        raise SystemExit(fail(error)) from None
