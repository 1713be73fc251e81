"""Packed rows: the same loss as one row each, and no conversation sees another."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Turn, Words
from fundusion.core.registry import models
from fundusion.layers.chat import padded
from fundusion.layers.language_loss import answer_loss
from fundusion.layers.packing import pack

CHATS = [
    [Turn(role="user", text="what is seen?"), Turn(role="assistant", text="drusen")],
    [Turn(role="user", text="eye"), Turn(role="assistant", text="normal eye")],
    [Turn(role="user", text="a b c"), Turn(role="assistant", text="d")],
]
IMAGES = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def made(family):
    torch.manual_seed(0)
    model = models.create(f"{family}.test").eval()
    with torch.no_grad():
        # Fresh attention hardly looks at anything; a leak must be seen.
        for name, p in model.named_parameters():
            if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
                p.mul_(20)
    return model


def pictures_for(family):
    return None if family == "deepdr_llm" else {"cfp": IMAGES} if family == "eyefm_copilot" else IMAGES


@torch.no_grad()
@pytest.mark.parametrize("family", ["llava", "deepdr_llm", "eyefm_copilot"])
def test_logits_and_loss_are_those_of_rows_apart(family):
    model, images = made(family), pictures_for(family)
    words = model.read(images, CHATS)
    apart = model.token_logits(images, words)
    packed = pack(words, 10_000)
    assert len(packed.words.ids) == 1
    together = model.packed_logits(images, packed, 3)
    for number, length in enumerate(words.mask.sum(1).tolist()):
        own = together[0][packed.part[0] == number]
        torch.testing.assert_close(own, apart[number, :length], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(answer_loss(together, packed.words), answer_loss(apart, words), atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["llava", "deepdr_llm", "eyefm_copilot"])
def test_a_conversation_does_not_see_another(family):
    model, images = made(family), pictures_for(family)
    words = model.read(images, CHATS)
    packed = pack(words, 10_000)
    before = model.packed_logits(images, packed, 3)[0]
    ids = packed.words.ids.clone()
    changed = (packed.part[0] == 1) & packed.words.answer[0]
    assert bool(changed.any())
    ids[0, changed] = 60
    other = type(packed)(
        words=Words(ids=ids, mask=packed.words.mask, answer=packed.words.answer), places=packed.places, part=packed.part
    )
    after = model.packed_logits(images, other, 3)[0]
    moved = (after - before).abs().amax(1) > 0
    assert bool(moved[changed].any())
    assert not bool(moved[packed.part[0] != 1].any())
    # With a mask that only hides what is later, it would be seen.
    if family == "deepdr_llm":
        leaking = [model.body(input_ids=i, position_ids=packed.places).logits[0] for i in (packed.words.ids, ids)]
        assert bool(((leaking[0] - leaking[1]).abs().amax(1) > 0)[packed.part[0] == 2].any())


def test_rows_are_filled_in_order_and_begin_with_no_answer():
    words = padded(
        [([1, 2, 3], [True] * 3), ([4, 5], [True] * 2), ([6], [True]), ([7, 8, 9], [True] * 3)], 0, left=False
    )
    made_of = pack(words, 5)
    assert made_of.part.tolist() == [[0, 0, 0, 1, 1], [2, 3, 3, 3, -1]]
    assert made_of.words.ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]
    assert made_of.words.answer.tolist() == [[False, True, True, False, True], [False, False, True, True, False]]
    assert made_of.words.mask.sum().item() == 9
    with pytest.raises(InvalidInput, match="has 3 tokens, a row 2"):
        pack(words, 2)
    with pytest.raises(InvalidInput, match="more than words"):
        pack(Words(ids=words.ids, mask=words.mask, answer=words.answer, extras={"q": words.ids}), 5)


def test_families_that_count_otherwise_are_refused():
    model = models.create("qwen2_5_vl.test")
    words = model.read(IMAGES, CHATS)
    with pytest.raises(InvalidInput, match="cannot be packed"):
        model.packed_logits(IMAGES, pack(words, 10_000), 3)
