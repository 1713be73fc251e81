"""Only answers are learned, all of them, whatever is asked."""

import torch

from fundusion.core.interfaces import Turn
from fundusion.core.registry import models, objectives

IMAGES = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
TALK = [
    Turn(role="user", text="what is seen?"), Turn(role="assistant", text="drusen"), Turn(role="user", text="is it normal?"),
    Turn(role="assistant", text="b"),
]  # fmt: skip


def test_all_answers_of_a_conversation_are_learned_and_no_question():
    torch.manual_seed(0)
    model = models.create("llava.test").eval()
    loss = objectives.create("instruction.answers")(model, IMAGES, [TALK])
    words = model.read(IMAGES, [TALK])
    logits = model.token_logits(IMAGES, words)
    said = words.answer[:, 1:]
    by_hand = -logits[:, :-1].log_softmax(-1).gather(2, words.ids[:, 1:, None])[..., 0][said].mean()
    torch.testing.assert_close(loss.total, by_hand)
    assert int(said.sum()) == 4
    torch.testing.assert_close(loss.total, sum(loss.parts.values()))


def test_rows_without_a_picture_are_learned_too():
    torch.manual_seed(0)
    model = models.create("llava.test")
    loss = objectives.create("instruction.answers")
    both = loss(model, IMAGES.repeat(2, 1, 1, 1), [TALK, TALK], present=torch.tensor([True, False]))
    apart = [loss(model, IMAGES, [TALK]), loss(model, None, [TALK])]
    torch.testing.assert_close(both.total, (apart[0].total + apart[1].total) / 2)
