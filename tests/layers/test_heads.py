"""Logits per task and the rule from logits to probabilities; torch and numpy agree."""

import numpy as np
import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.tasks import Binary, MultiClass, MultiLabel, Ordinal, Regression
from fundusion.decision.calibration import probabilities_from_logits
from fundusion.layers.heads import Head, probabilities

TASKS = [Binary(), MultiClass("ABC"), MultiLabel("ABCD"), Ordinal(5), Ordinal(4, method="coral")]


@pytest.mark.parametrize("task", TASKS, ids=lambda t: f"{t.kind}-{t.method}")
def test_probabilities_agree_with_the_numpy_rule(task):
    logits = torch.randn(50, task.outputs, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 3
    p = probabilities(task, logits)
    np.testing.assert_allclose(p.numpy(), probabilities_from_logits(task, logits.numpy()), atol=1e-12)
    assert p.shape == (50, len(task.labels))
    assert float(p.min()) >= 0
    if task.kind != "multilabel":
        torch.testing.assert_close(p.sum(1), torch.ones(50, dtype=torch.float64))


def test_coral_shares_one_weight_and_its_thresholds_start_in_order():
    head = Head(Ordinal(5, method="coral"), 6)
    assert head.linear.weight.shape == (1, 6)
    logits = head(torch.randn(3, 6))
    assert logits.shape == (3, 4)
    assert bool((logits.diff(dim=1) < 0).all())
    torch.testing.assert_close(logits.diff(dim=1), head.thresholds.diff().expand(3, -1))


def test_a_regression_has_no_probabilities():
    assert Head(Regression(unit="mmHg"), 3)(torch.zeros(2, 3)).shape == (2, 1)
    with pytest.raises(InvalidInput):
        probabilities(Regression(unit="mmHg"), torch.zeros(1, 1))
