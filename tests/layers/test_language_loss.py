"""The loss of answers is cross-entropy by hand, over answer tokens only."""

import math

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Words
from fundusion.layers.language_loss import answer_likelihood, answer_loss

WORDS = Words(
    ids=torch.tensor([[1, 2, 3, 0], [1, 3, 2, 1]]),
    mask=torch.tensor([[True, True, True, False], [True] * 4]),
    answer=torch.tensor([[False, True, True, False], [False, False, False, True]]),
)
LOGITS = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(0))


def _by_hand(logits):
    chances = logits.softmax(-1)
    return [[chances[0, 0, 2], chances[0, 1, 3]], [chances[1, 2, 1]]]


def test_the_loss_is_the_mean_over_answer_tokens_and_the_likelihood_their_sum():
    tokens = _by_hand(LOGITS)
    every = [math.log(p) for row in tokens for p in row]
    assert float(answer_loss(LOGITS, WORDS)) == pytest.approx(-sum(every) / 3, rel=1e-5)
    sums = [sum(math.log(p) for p in row) for row in tokens]
    assert answer_likelihood(LOGITS, WORDS).tolist() == pytest.approx(sums, rel=1e-5)


def test_questions_and_padding_have_no_gradient():
    logits = LOGITS.clone().requires_grad_()
    answer_loss(logits, WORDS).backward()
    touched = logits.grad.abs().sum(-1) > 0
    assert touched.tolist() == [[True, True, False, False], [False, False, True, False]]


def test_smoothing_spreads_a_share_evenly():
    plain, all_words = answer_loss(LOGITS, WORDS), []
    for row, place in ((0, 0), (0, 1), (1, 2)):
        all_words.append(-LOGITS[row, place].log_softmax(-1).mean())
    wanted = 0.9 * plain + 0.1 * torch.stack(all_words).mean()
    torch.testing.assert_close(answer_loss(LOGITS, WORDS, smoothing=0.1), wanted)


def test_nothing_to_learn_is_an_error_and_no_nan():
    with pytest.raises(InvalidInput, match="no conversation has an answer"):
        answer_loss(LOGITS, Words(ids=WORDS.ids, mask=WORDS.mask, answer=torch.zeros_like(WORDS.answer)))
