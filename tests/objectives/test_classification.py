"""Losses against their formulas, by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from fundusion.core.errors import InvalidInput
from fundusion.core.tasks import Binary, MultiClass, MultiLabel, Ordinal
from fundusion.objectives import classification as c

Z = torch.tensor([[1.0, -0.5, 0.2], [0.3, 0.8, -1.0]], dtype=torch.float64)
Y = torch.tensor([2.0, 0.0], dtype=torch.float64)
P = [[math.exp(v) / sum(map(math.exp, row)) for v in row] for row in Z.tolist()]


def test_focal_with_no_focus_is_cross_entropy_and_with_focus_the_formula():
    assert c.focal(Z, Y, gamma=0.0).item() == pytest.approx(F.cross_entropy(Z, Y.long()).item())
    expected = sum(-((1 - p) ** 2) * math.log(p) for p in (P[0][2], P[1][0])) / 2
    assert c.focal(Z, Y).item() == pytest.approx(expected)


def test_logit_adjustment_moves_by_the_log_prior():
    prior = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    assert c.logit_adjusted(Z, Y, prior=prior).item() == pytest.approx(
        F.cross_entropy(Z + prior.log(), Y.long()).item()
    )


def test_asymmetric_by_hand():
    z, y = torch.tensor([[0.4, -1.0]], dtype=torch.float64), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    p = [1 / (1 + math.exp(-v)) for v in z[0].tolist()]
    shifted = max(p[1] - 0.05, 0)
    expected = -(math.log(p[0]) + shifted**4 * math.log(1 - shifted)) / 2
    assert c.asymmetric(z, y).item() == pytest.approx(expected)
    # A negative whose probability is under the margin costs nothing.
    assert c.asymmetric(torch.tensor([[-9.0]]), torch.tensor([[0.0]])).item() == 0


def test_corn_asks_each_threshold_only_where_it_applies():
    z = torch.tensor([[0.5, -0.5, 1.0]], dtype=torch.float64)
    bce = lambda v, t: F.binary_cross_entropy_with_logits(torch.tensor(v), torch.tensor(float(t))).item()  # noqa: E731
    # Grade 1 of 0-3: over 0 yes, over 1 no, threshold 2 is not asked.
    expected = (bce(0.5, 1) + bce(-0.5, 0)) / 2
    assert c.ordinal(z, torch.tensor([1.0])).item() == pytest.approx(expected, rel=1e-6)
    expected = (bce(0.5, 1) + bce(-0.5, 0) + bce(1.0, 0)) / 3
    assert c.ordinal(z, torch.tensor([1.0]), method="coral").item() == pytest.approx(expected, rel=1e-6)


def test_weights():
    balanced = c.class_weights([90, 10], "balanced")
    assert (balanced * torch.tensor([90.0, 10.0])).sum().item() == pytest.approx(100)
    assert (balanced[1] / balanced[0]).item() == pytest.approx(9)
    root = c.class_weights([90, 10], "sqrt")
    assert (root[1] / root[0]).item() == pytest.approx(3)
    assert c.positive_weights([10, 0], [90, 100], "balanced").tolist() == [9.0, 20.0]
    assert c.positive_weights([10, 100], [90, 10], "sqrt").tolist() == [3.0, 1.0]
    with pytest.raises(InvalidInput, match="sqrt"):
        c.class_weights([1], "cube")


def test_smoothing_of_a_multilabel_head():
    z, y = torch.tensor([[2.0]]), torch.tensor([[1.0]])
    p = 1 / (1 + math.exp(-2))
    assert c.multilabel(z, y, smoothing=0.1).item() == pytest.approx(
        -0.95 * math.log(p) - 0.05 * math.log(1 - p), rel=1e-5
    )


@pytest.mark.parametrize(
    ("task", "name"), [(MultiLabel("AB"), "focal"), (Ordinal(3), "focal"), (Binary(), "asymmetric")]
)
def test_a_loss_that_does_not_fit_is_refused(task, name):
    with pytest.raises(InvalidInput, match="does not fit"):
        c.head_loss(task, name=name)


def test_logit_adjustment_needs_counts():
    with pytest.raises(InvalidInput, match="class counts"):
        c.head_loss(MultiClass("AB"), name="logit_adjusted")
