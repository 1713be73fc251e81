"""Late fusion: weighted log-odds; one modality passes unchanged."""

import pytest
import torch

from fundusion.core.tasks import MultiLabel
from fundusion.fusion.late import Late


def test_log_odds_add_with_reliability_and_offset_where_several_are_there():
    fusion = Late(("b", "a"), {"t": MultiLabel("XY")})
    with torch.no_grad():
        # softplus(log(expm1(w))) = w, by modality in alphabetical order.
        fusion.reliability["t"].copy_(torch.log(torch.expm1(torch.tensor([[2.0, 2.0], [0.5, 0.5]]))))
        fusion.offset["t"].copy_(torch.tensor([[0.1, 0.0], [0.2, 0.0]]))
    logits = {"a": torch.tensor([[1.0, 2.0], [1.0, 2.0]]), "b": torch.tensor([[4.0, -4.0], [4.0, -4.0]])}
    present = {"a": torch.tensor([True, True]), "b": torch.tensor([True, False])}
    out = fusion.combine("t", logits, present)
    assert out[0].tolist() == pytest.approx([2 * 1 + 0.5 * 4 + 0.3, 2 * 2 - 0.5 * 4])
    assert out[1].tolist() == [1.0, 2.0]


def test_it_starts_as_the_plain_sum():
    fusion = Late(("a", "b"), {"t": MultiLabel("X")})
    yes = torch.tensor([True])
    out = fusion.combine("t", {"a": torch.tensor([[0.7]]), "b": torch.tensor([[-0.2]])}, {"a": yes, "b": yes})
    assert out.item() == pytest.approx(0.5)
