"""BLIP: prompts lose no token, rows of other lengths change nothing, captions need pictures."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return models.create("blip.test").eval()


@torch.no_grad()
def test_no_token_of_the_prompt_is_dropped(model):
    words = model.read(IMAGES[:1], [[Turn(role="user", text="a b")]], answers=False)
    next_token = model.token_logits(IMAGES[:1], words)[0, -1].argmax()
    shown = model._feed.prompt(_pictures(1), words)
    made = model.body.generate(**shown, max_new_tokens=1, do_sample=False)
    # The prompt is there whole, and what follows is what the model finds likeliest after all of it.
    assert made[0].tolist() == [*words.ids[0].tolist(), int(next_token)]
    # The trap: the library given the prompt alone forgets its last token.
    forgot = model.body.generate(IMAGES[:1], input_ids=words.ids.clone(), max_new_tokens=1, do_sample=False)
    assert forgot[0, :-1].tolist() == words.ids[0, :-1].tolist()


def _pictures(count):
    from fundusion.layers.generator import pictures_of

    return pictures_of(IMAGES[:count], None, count)


def test_answers_start_with_the_decoders_mark_and_end_with_the_separator(model):
    chat = [Turn(role="user", text=""), Turn(role="assistant", text="drusen")]
    ids = model.read(IMAGES[:1], [chat]).ids[0].tolist()
    assert model._tokenizer.convert_ids_to_tokens(ids) == ["[DEC]", "drusen", "[SEP]"]


@torch.no_grad()
def test_published_ranges_would_be_blind_and_ours_are_not(model):
    from transformers import BlipVisionConfig

    assert BlipVisionConfig().initializer_range < 1e-6
    seen = model.body.vision_model(pixel_values=IMAGES).last_hidden_state
    assert float((seen[0] - seen[1]).abs().max()) > 1e-3


def test_pictures_are_needed_and_may_have_other_sizes(model):
    asked = [[Turn(role="user", text="")]] * 2
    with pytest.raises(InvalidInput, match="BLIP describes pictures"):
        model.generate(None, asked)
    with pytest.raises(InvalidInput, match="BLIP describes pictures"):
        model.generate(IMAGES, asked, present=torch.tensor([True, False]))
    larger = torch.randn(2, 3, 96, 80)
    assert len(model.generate(larger, asked, max_tokens=3)) == 2
