"""Decision-level fusion trains each modality's own answer on the studies that have it."""

import torch

from fundusion.core.interfaces import NetworkOutput
from fundusion.core.tasks import Binary
from fundusion.objectives.classification import head_loss
from fundusion.objectives.multitask import Multitask


def made(fused, unimodal):
    loss = head_loss(Binary())
    logits = {m: torch.tensor([[0.5], [9.0], [-1.0]], requires_grad=True) for m in ("cfp", "table")}
    presence = {"cfp": torch.tensor([True, True, False]), "table": torch.tensor([True, False, True])}
    output = NetworkOutput(
        logits={"t": torch.tensor([[1.0], [2.0], [3.0]])}, fused=None, features={}, presence=presence,
        by_modality={"t": logits},
    )  # fmt: skip
    target = torch.tensor([1.0, 0.0, 1.0])
    return Multitask({"t": loss}, {"t": 2.0}, unimodal, fused).of(output, {"t": target}), loss, logits, target


def test_absent_rows_are_not_asked():
    value, loss, logits, target = made(fused=1.0, unimodal=0.5)
    assert set(value.parts) == {"t", "t.cfp", "t.table"}
    torch.testing.assert_close(value.parts["t.cfp"], 2.0 * 0.5 * loss(logits["cfp"][:2], target[:2]))
    torch.testing.assert_close(value.parts["t.table"], loss(logits["table"][[0, 2]], target[[0, 2]]))
    torch.testing.assert_close(value.total, sum(value.parts.values()))
    value.total.backward()
    assert logits["cfp"].grad[2].item() == 0
    assert logits["table"].grad[1].item() == 0


def test_independent_experts_leave_the_fused_answer_out():
    value, *_ = made(fused=0.0, unimodal=1.0)
    assert set(value.parts) == {"t.cfp", "t.table"}


def test_a_task_without_targets_is_left_out():
    loss = head_loss(Binary())
    output = NetworkOutput(logits={"t": torch.randn(2, 1, requires_grad=True)}, fused=None, features={}, presence={})
    value = Multitask({"t": loss}, {}, 1.0).of(output, {})
    assert value.parts == {}
    assert value.total.item() == 0
    value.total.backward()
