"""LLaVA: one place token per patch, left padding as the library wants it, numbers those of the library."""

import torch

from fundusion.core.interfaces import Turn
from fundusion.core.registry import models

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
ASKED = [[Turn(role="user", text="what is seen?")], [Turn(role="user", text="eye")]]


@torch.no_grad()
def test_numbers_and_places_are_those_of_the_library():
    torch.manual_seed(0)
    model = models.create("llava.test").eval()
    words = model.read(IMAGES, ASKED, answers=False)
    place = model.body.config.image_token_index
    assert (words.ids == place).sum(1).tolist() == [16, 16]
    theirs = model.body(input_ids=words.ids, attention_mask=words.mask.long(), pixel_values=IMAGES).logits
    assert torch.equal(model.token_logits(IMAGES, words), theirs)
    row = model._tokenizer.convert_ids_to_tokens(words.ids[1][words.mask[1]].tolist())
    assert "".join(row).replace("##", "") == "[CLS]user:" + "<image>" * 16 + "eyeassistant:"


@torch.no_grad()
def test_padding_on_the_wrong_side_would_answer_from_padding():
    torch.manual_seed(0)
    model = models.create("llava.test").eval()
    left = model.read(IMAGES, ASKED, answers=False)
    assert bool(left.mask[:, -1].all())
    right = model.read(IMAGES, [[*a, Turn(role="assistant", text="a")] for a in ASKED])
    assert not bool(right.mask[:, -1].all())
