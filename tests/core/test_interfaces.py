"""A batch moves whole and says what is present."""

import torch

from fundusion.core.interfaces import Batch


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
