"""The next word of answers in conversations about pictures; questions, marks and padding are read and never learned.

Source: Liu et al. 2023 (LLaVA), arXiv:2304.08485, section 4.2, equation 3: likelihood of the answers alone, the mark that ends each
included.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..core.interfaces import Generator, Loss, Turn
from ..core.registry import Card, objectives
from ..layers.language_loss import answer_loss


class Instruction:
    """Cross-entropy of the answers in conversations."""

    def __call__(
        self,
        network: Generator,
        images: Tensor | Any,
        messages: Sequence[Sequence[Turn]],
        *,
        present: Any = None,
        generator: Any = None,
    ) -> Loss:
        """Return the loss of conversations that end with an answer; all answers of one are learned.

        Args:
            network: Reads them.
            images: `(B, 3, H, W)`, or by modality, or None.
            messages: Turns per row.
            present: Which row has its picture.
            generator: Not used.
        """
        words = network.read(images, messages, present=present)
        total = answer_loss(network.token_logits(images, words, present=present), words)
        return Loss(total=total, parts={"answers": total})


@objectives.register("instruction.answers", Card(title="Answers in conversations (LLaVA)", paper="arXiv:2304.08485"))
def answers() -> Instruction:
    """Return the objective for conversations about pictures."""
    return Instruction()
