"""What all generators share: checks of pictures, streaming, whole answers; the rest is in the contract of generators."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Decoding, Turn
from fundusion.core.registry import models
from fundusion.layers.generator import pictures_of

ASKED = [[Turn(role="user", text="what is seen?")], [Turn(role="user", text="eye")]]


@pytest.fixture(scope="module")
def writer():
    torch.manual_seed(0)
    return models.create("llava.test").eval()


def test_presence_and_shapes_are_checked():
    good = torch.zeros(2, 3, 8, 8)
    assert pictures_of({"cfp": good}, {"cfp": torch.tensor([True, False])}, 2).only().shape[0] == 1
    assert pictures_of(good, torch.zeros(2, dtype=torch.bool), 2).only() is None
    for images, present in (
        (torch.zeros(2, 1, 8, 8), None), ([good], None), (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), None), (good[:1], None), (good, torch.ones(2)), (good, torch.ones(1, dtype=torch.bool)),
        ({"cfp": good}, {"oct": torch.ones(2, dtype=torch.bool)}), (None, torch.ones(2, dtype=torch.bool)),
    ):  # fmt: skip
        with pytest.raises(InvalidInput) as caught:
            pictures_of(images, present, 2)
        assert caught.value.code == "chat.images"
    # What stands in an absent row does not matter.
    spoilt = torch.stack([good[0], torch.full((3, 8, 8), torch.nan)])
    assert pictures_of(spoilt, torch.tensor([True, False]), 2).only().shape[0] == 1


def test_answers_can_be_watched_as_they_grow(writer):
    images = torch.randn(2, 3, 64, 64)
    seen = []
    made = writer.generate(images, ASKED, max_tokens=5, watch=seen.append, decoding=Decoding(temperature=1.0), seed=3)
    assert 1 <= len(seen) <= 5
    assert [s.strip() for s in seen[-1]] == made


def test_beams_and_penalties_are_obeyed(writer):
    images = torch.randn(2, 3, 64, 64)
    plain = writer.generate(images, ASKED, max_tokens=8)
    assert len(writer.generate(images, ASKED, max_tokens=8, decoding=Decoding(beams=2))) == 2
    once = writer.generate(images, ASKED, max_tokens=8, decoding=Decoding(repetition_penalty=1e6))
    assert all(len(set(t.split())) == len(t.split()) for t in once)
    assert plain != once


def test_stop_words_and_lengths_must_make_sense(writer):
    for told in ({"max_tokens": 0}, {"stop": ("",)}):
        with pytest.raises(InvalidInput, match="must be positive"):
            writer.generate(None, ASKED, **told)


@torch.no_grad()
def test_a_row_without_its_picture_is_a_conversation_in_words(writer):
    images, present = torch.randn(2, 3, 64, 64), torch.tensor([True, False])
    both = writer.read(images, ASKED, answers=False, present=present)
    assert both.mask.sum(1)[0] > both.mask.sum(1)[1] + 15
    mixed = writer.generate(images, ASKED, max_tokens=4, present=present)
    assert mixed[1:] == writer.generate(None, ASKED[1:], max_tokens=4)
    assert mixed[:1] == writer.generate(images[:1], ASKED[:1], max_tokens=4)
