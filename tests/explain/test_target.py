"""What is explained is a probability a reader knows."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import NetworkOutput
from fundusion.core.tasks import MultiClass, Ordinal, Regression
from fundusion.explain.target import Target


def output(name, logits):
    return NetworkOutput(logits={name: torch.tensor(logits)}, fused=None, features={}, presence={})


def test_ordinal_target_means_at_least_this_grade():
    target = Target(task_name="g", task=Ordinal(3), label="1")
    # CORN: P(y > 0) = sigmoid(0) = 0.5, whatever the second conditional says.
    assert target.probability(output("g", [[0.0, 3.0]]))[0].item() == pytest.approx(0.5)
    assert target.score(output("g", [[0.0, 3.0]]))[0].item() == pytest.approx(0.0, abs=1e-6)


def test_multiclass_and_regression():
    target = Target(task_name="m", task=MultiClass("ab"), label="b")
    assert target.probability(output("m", [[0.0, 0.0]]))[0].item() == pytest.approx(0.5)
    value = Target(task_name="r", task=Regression(unit="um"), label="value")
    assert value.score(output("r", [[2.5]]))[0].item() == 2.5


def test_unknown_label_is_refused():
    with pytest.raises(InvalidInput):
        Target(task_name="m", task=MultiClass("ab"), label="c")
