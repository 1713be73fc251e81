"""Direct preference optimisation: of two answers the one a reader chose becomes likelier, measured against a frozen reference.

Source: Rafailov et al. 2023, arXiv:2305.18290, equation 7. EyeFM (doi:10.1038/s41591-025-03900-7) learns from edits of clinicians this
way; its code was not released, so that use is a reconstruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Generator, Loss, Turn
from ..core.registry import Card, objectives
from ..layers.language_loss import answer_likelihood


def preference_loss(chosen: Tensor, rejected: Tensor, *, beta: float = 0.1) -> Tensor:
    """Return the mean of `-log sigmoid(beta * (chosen - rejected))`.

    Args:
        chosen: Log-likelihoods `(B,)` of the chosen answers, those of the reference taken off.
        rejected: The same of the rejected answers.
        beta: How far the model may go from the reference; larger is nearer.

    Example:
        >>> round(float(preference_loss(torch.tensor([0.0]), torch.tensor([0.0]))), 4)
        0.6931
    """
    return -F.logsigmoid(beta * (chosen - rejected)).mean()


class Preference:
    """Loss of pairs of answers to the same question.

    Args:
        reference: The model before; it is not trained.
        beta: How far the model may go from it.
    """

    def __init__(self, reference: Generator, *, beta: float = 0.1) -> None:
        if beta <= 0:
            raise InvalidInput(f"beta is positive, got {beta}.", code="config.invalid")
        self.reference, self.beta = reference, beta

    def __call__(
        self,
        network: Generator,
        images: Tensor | Any,
        pairs: Sequence[tuple[Sequence[Turn], str, str]],
        *,
        present: Any = None,
        generator: Any = None,
    ) -> Loss:
        """Return the loss.

        Args:
            network: Is trained.
            images: `(B, 3, H, W)`, or by modality, or None.
            pairs: Question, chosen and rejected answer per row.
            present: Which row has its picture.
            generator: Not used.

        Raises:
            InvalidInput: Both answers of a row are the same: nobody chose.
        """
        same = [i for i, (_, good, bad) in enumerate(pairs) if good == bad]
        if same:
            raise InvalidInput(f"both answers of pair {same[0]} are the same.", code="chat.no_choice")
        gains = []
        for side in (1, 2):
            rows = [[*pair[0], Turn(role="assistant", text=pair[side])] for pair in pairs]
            words = network.read(images, rows, present=present)
            own = answer_likelihood(network.token_logits(images, words, present=present), words)
            with torch.no_grad():
                before = answer_likelihood(self.reference.token_logits(images, words, present=present), words)
            gains.append(own - before)
        total = preference_loss(gains[0], gains[1], beta=self.beta)
        return Loss(total=total, parts={"preference": total})


@objectives.register("preference.dpo", Card(title="Direct preference optimisation", paper="arXiv:2305.18290"))
def dpo(*, reference: Generator, beta: float = 0.1) -> Preference:
    """Return the objective for pairs of answers, one of which was chosen."""
    return Preference(reference, beta=beta)
