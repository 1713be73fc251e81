"""Captions are learned with smoothing; a blank one is no caption."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models, objectives

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return models.create("blip.test").eval()


def test_the_loss_is_that_of_the_library_when_padding_is_minus_100(model):
    captions = ["drusen", "a normal eye is seen"]
    ours = objectives.create("captioning.blip", smoothing=0.1)(model, IMAGES, captions)
    from fundusion.core.interfaces import Turn

    rows = [[Turn(role="user", text=""), Turn(role="assistant", text=c)] for c in captions]
    words = model.read(IMAGES, rows)
    model.body.text_decoder.label_smoothing = 0.1
    labels = words.ids.masked_fill(~words.mask, -100)
    theirs = model.body(
        pixel_values=IMAGES, input_ids=words.ids, attention_mask=words.mask.long(), labels=labels
    ).loss  # fmt: skip
    torch.testing.assert_close(ours.total, theirs)
    torch.testing.assert_close(ours.parts["caption"], ours.total)
    # Padding learned as words is another loss: the trap.
    trapped = model.body(
        pixel_values=IMAGES, input_ids=words.ids, attention_mask=words.mask.long(), labels=words.ids
    ).loss  # fmt: skip
    assert abs(float(trapped.detach() - theirs.detach())) > 1e-4


def test_the_order_of_the_batch_does_not_matter(model):
    loss = objectives.create("captioning.blip", prompt="eye:")
    first, second = loss(model, IMAGES, ["a", "b c"]), loss(model, IMAGES.flip(0), ["b c", "a"])
    torch.testing.assert_close(first.total, second.total)


def test_blank_captions_and_bad_smoothing_are_refused(model):
    with pytest.raises(InvalidInput, match="caption 1 is blank"):
        objectives.create("captioning.blip")(model, IMAGES, ["drusen", " "])
    with pytest.raises(InvalidInput, match="smoothing"):
        objectives.create("captioning.blip", smoothing=1.0)
