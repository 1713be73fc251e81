"""A batch moves whole and says what is present."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Batch, Decoding, Turn


def test_presence_by_name_and_move():
    batch = Batch(
        study_ids=("a", "b"),
        modalities=("cfp", "table"),
        present=torch.tensor([[True, False], [True, True]]),
        images={"cfp": torch.zeros(2, 3, 8, 8)},
        owner={"cfp": torch.tensor([0, 1])},
    )
    assert len(batch) == 2
    assert batch.presence()["table"].tolist() == [False, True]
    moved = batch.to("meta")
    assert moved.images["cfp"].device.type == "meta"
    assert moved.study_ids == ("a", "b")


def test_turns_have_known_sides_and_tokens_a_way_to_be_chosen():
    assert Turn(role="user", text="a").role == "user"
    with pytest.raises(InvalidInput, match="'doctor'"):
        Turn(role="doctor", text="a")
    for wrong in ({"temperature": -1.0}, {"top_p": 0.0}, {"beams": 0}, {"beams": 2, "temperature": 0.5}, {"top_k": -1}):
        with pytest.raises(InvalidInput, match="cannot be chosen"):
            Decoding(**wrong)
