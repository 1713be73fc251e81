"""Place tokens stand where a picture is, and nowhere else."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Words
from fundusion.layers.generator import pictures_of
from fundusion.layers.query_feed import PlacedPictures

IDS = torch.zeros(2, 3, dtype=torch.long)
WORDS = Words(ids=IDS, mask=IDS == 0, answer=IDS > 0)


def test_rows_without_a_picture_have_no_places_and_send_none():
    feed = PlacedPictures("<image>", 2, 8, required=False, model="M")
    shown = pictures_of(torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)]), torch.tensor([False, True]), 2)
    assert feed.places(shown, 2) == ["", "<image><image>"]
    sent = feed.inputs(shown, WORDS)["pixel_values"]
    assert sent.shape[0] == 1
    assert float(sent.min()) == 1
    nothing = pictures_of(None, None, 2)
    assert feed.places(nothing, 2) == ["", ""]
    assert "pixel_values" not in feed.prompt(nothing, WORDS)


def test_missing_and_misfit_pictures_are_refused():
    feed = PlacedPictures("<image>", 2, 8, required=True, model="M")
    with pytest.raises(InvalidInput, match="M reads pictures; a conversation has none"):
        feed.places(pictures_of(torch.zeros(2, 3, 8, 8), torch.tensor([True, False]), 2), 2)
    with pytest.raises(InvalidInput, match="8 x 8 px, got"):
        feed.places(pictures_of(torch.zeros(2, 3, 8, 9), None, 2), 2)
