"""How likely a generator finds the answers of conversations: sums and means over answer tokens only."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Words
from .chat import answer_tokens

#: What cross-entropy leaves out.
IGNORED = -100


def answer_loss(logits: Tensor, words: Words, *, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy over the answer tokens of all rows; padding and questions weigh nothing.

    Args:
        logits: `(B, T, V)`; those at place t are of the token at t + 1.
        words: What was read, its answers marked.
        smoothing: Share of each target that is spread evenly over all words.

    Raises:
        InvalidInput: No row has an answer.
    """
    wanted, counted = answer_tokens(words)
    if not bool(counted.any()):
        raise InvalidInput("no conversation has an answer to learn.", code="chat.no_answer")
    labels = wanted.masked_fill(~counted, IGNORED)
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), labels, ignore_index=IGNORED, label_smoothing=smoothing)


def answer_likelihood(logits: Tensor, words: Words) -> Tensor:
    """Return the log-likelihood `(B,)` of the answer of each row, summed over its tokens."""
    wanted, counted = answer_tokens(words)
    chosen = logits[:, :-1].log_softmax(-1).gather(2, wanted[..., None])[..., 0]
    return (chosen * counted).sum(1)
