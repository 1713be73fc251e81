"""The next word of a description, given the picture and the words before it.

Source: Li et al. 2022 (BLIP), arXiv:2201.12086, section 3.2: cross-entropy with 0.1 of each target spread over all words. Padding has
the label -100, which the library does not set by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Generator, Loss, Turn
from ..core.registry import Card, objectives
from ..layers.language_loss import answer_loss


class Captioning:
    """Cross-entropy of captions.

    Args:
        smoothing: Share of each target that is spread evenly over all words, in [0, 1).
        prompt: Words that captions go on from.
    """

    def __init__(self, *, smoothing: float = 0.1, prompt: str = "") -> None:
        if not 0 <= smoothing < 1:
            raise InvalidInput(f"smoothing is in [0, 1), got {smoothing}.", code="config.invalid")
        self.smoothing, self.prompt = smoothing, prompt

    def __call__(
        self, network: Generator, images: Tensor | Any, captions: Sequence[str], *, generator: Any = None
    ) -> Loss:
        """Return the loss of captions of pictures `(B, 3, H, W)`.

        Raises:
            InvalidInput: A caption is blank: a missing one is left out of the batch, not learned as silence.
        """
        blank = [i for i, c in enumerate(captions) if not c.strip()]
        if blank:
            raise InvalidInput(
                f"caption {blank[0]} is blank.", code="chat.no_answer", hint="Leave out pictures without words."
            )
        rows = [[Turn(role="user", text=self.prompt), Turn(role="assistant", text=c)] for c in captions]
        words = network.read(images, rows)
        total = answer_loss(network.token_logits(images, words), words, smoothing=self.smoothing)
        return Loss(total=total, parts={"caption": total})


@objectives.register("captioning.blip", Card(title="Next word of captions (BLIP)", paper="arXiv:2201.12086"))
def blip(*, smoothing: float = 0.1, prompt: str = "") -> Captioning:
    """Return the objective for pictures and their descriptions."""
    return Captioning(smoothing=smoothing, prompt=prompt)
