"""What `describe`, `ask` and `recommend` do when a generator is to word the findings: options, memory, drafts as they grow."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .screen import print_error, say

if TYPE_CHECKING:
    from ..core.study import StudyRecord
    from ..narrative.checker import Removed
    from ..narrative.generators import Worder
    from ..pipeline import Analysis

Model = Annotated[
    str,
    typer.Option(
        help="Whose findings: a shipped model, or a folder that `train` wrote. Or who words them: a generator by name (llava, "
        "qwen2_5_vl.3b, ...), hub id (owner/name) or folder."
    ),
]
Screen = Annotated[str, typer.Option(help="With a generator: the model whose findings it words.")]
Weights = Annotated[
    str | None, typer.Option(help="Of a generator by name: its folder, hub:owner/name, or published (fetched once).")
]
Adapter = Annotated[Path | None, typer.Option(help="Of a generator: folder or file of low-rank adapters.")]
Precision = Annotated[str | None, typer.Option(help="Of a generator: fp32, bf16 or int8 (weights only).")]
Seed = Annotated[int, typer.Option(help="Of a generator that draws its words.")]
MaxWords = Annotated[int, typer.Option(min=1, max=2000, help="Most words of a generator.")]
Stream = Annotated[
    bool, typer.Option("--stream", help="Show the draft of a generator while it grows, on standard error, unchecked.")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """The options on generators as they were given."""

    model: str
    screen: str = "screen"
    weights: str | None = None
    adapter: Path | None = None
    precision: str | None = None
    seed: int = 0
    max_words: int = 120
    is_streamed: bool = False
    device: str = "cpu"

    @property
    def findings_model(self) -> str:
        """The model whose findings are worded."""
        return self.screen if self.is_asked else self.model

    @property
    def is_asked(self) -> bool:
        """Whether a generator is to word the findings."""
        from ..narrative.generators import is_generator

        return is_generator(self.model)

    def open(self) -> Worder | None:
        """Return the loaded generator, its memory stated before; None when the templates write.

        Raises:
            InvalidInput: An option on generators without one (`config.generator`).
        """
        from ..core.errors import InvalidInput

        if not self.is_asked:
            given = {"--weights": self.weights, "--adapter": self.adapter, "--precision": self.precision,
                     "--stream": self.is_streamed or None}  # fmt: skip
            useless = [name for name, value in given.items() if value is not None]
            if useless:
                raise InvalidInput(
                    f"{', '.join(useless)}: {self.model[:80]!r} is no generator.",
                    code="config.generator",
                    hint="Name one with --model, for instance llava or a folder.",
                )
            return None
        from ..core.registry import describe_origin
        from ..narrative.generators import choose, memory_words, open_generator

        chosen = choose(self.model, weights=self.weights, adapter=self.adapter)
        print_error(f"note: {memory_words(chosen, self.precision)}")
        worder = open_generator(chosen, precision=self.precision, device=self.device)
        if worder.weights_record is not None:
            print_error(f"note: weights of {describe_origin(worder.weights_record)}.")
        if worder.is_fresh:
            print_error(
                f"note: {chosen.title} has fresh weights; what it writes means nothing, and the checker treats it so."
            )
        return worder

    @contextmanager
    def watching(self) -> Iterator[Callable[[str], None] | None]:
        """Give what shows drafts while they grow, each on a line of its own; None unless asked."""
        if not self.is_streamed:
            yield None
            return
        shown = ""

        def show(text: str) -> None:
            nonlocal shown
            if not shown or not text.startswith(shown):
                sys.stderr.write(("\n" if shown else "") + "draft, unchecked: ")
                shown = ""
            sys.stderr.write("".join(c if c.isprintable() else " " for c in text[len(shown) :]))
            sys.stderr.flush()
            shown = text

        yield show
        if shown:
            print_error("")


def pictures_of(worder: Worder, record: StudyRecord, analysis: Analysis) -> Mapping[str, Any]:
    """Return the pictures of a study as a generator reads them; none of a study that was rejected."""
    if analysis.result.status != "ok":
        return {}
    more = [m for m, paths in record.images.items() if len(paths) > 1]
    if more and worder.wanted is not None:
        counts = ", ".join(f"{len(record.images[m])} {m}" for m in more)
        print_error(
            f"note: the generator sees the first picture of each kind ({counts} were given); the findings rest on all."
        )
    return worder.pictures(record)


def show_removed(removed: Sequence[Removed]) -> None:
    """Print what was taken out of a draft, and why."""
    for item in removed:
        say(f"  removed ({item.kinds[0]}): {' '.join(item.text.split())[:160]}")


def show_counts(counts: Mapping[str, int], *, fell_back: bool) -> None:
    """Print how much was taken out of a draft."""
    if counts:
        say(f"  taken out: {', '.join(f'{n} {kind}' for kind, n in counts.items())}")
    if fell_back:
        say("  nothing of the draft is supported by the findings: the template stands for it.")
