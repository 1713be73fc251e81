"""Rate and average are functions of the step."""

import copy
import itertools

import pytest
import torch
from torch import nn

from fundusion.train.schedule import MovingAverage, decay_at, plateau_factor, rate_at


def test_warm_up_then_cosine_then_a_floor():
    rates = [rate_at(s, 1000, warmup=100, schedule="cosine") for s in range(1001)]
    assert rates[0] == pytest.approx(0.01)
    assert all(a < b for a, b in itertools.pairwise(rates[:91]))
    assert rates[500] == pytest.approx(0.5, abs=0.01)
    assert rates[-1] == rate_at(5000, 1000, warmup=100, schedule="cosine") == 0.001
    assert rate_at(700, 1000, warmup=100, schedule="constant") == 1.0


def test_weight_decay_is_constant_or_a_cosine_between_its_ends():
    assert [decay_at(s, 10, start=0.05, end=None) for s in (0, 5, 10)] == [0.05] * 3
    rising = [decay_at(s, 100, start=0.04, end=0.4) for s in range(101)]
    assert rising[0] == pytest.approx(0.04)
    assert rising[25] == pytest.approx(0.04 + 0.36 * 0.14644661)
    assert rising[-1] == decay_at(500, 100, start=0.04, end=0.4) == pytest.approx(0.4)
    assert all(a < b for a, b in itertools.pairwise(rising))


def test_a_plateau_lowers_the_rate_and_counts_anew():
    def factors(scores):
        return [plateau_factor(scores[:n], factor=0.5, patience=2) for n in range(len(scores) + 1)]

    assert factors([0.1, 0.2, 0.3]) == [1, 1, 1, 1]
    # Equal is not better; after a reduction two more epochs are given; a better one resets the count.
    assert factors([0.3, 0.3, 0.2, 0.2, 0.4, 0.3, 0.3]) == [1, 1, 1, 0.5, 0.5, 0.5, 0.5, 0.25]
    assert rate_at(700, 1000, warmup=100, schedule="plateau") == 1.0


def test_the_average_by_hand_and_buffers_that_count_are_copied():
    module = nn.BatchNorm1d(1)
    average = MovingAverage(copy.deepcopy(module), decay=0.9)
    expected = 1.0
    for step, value in enumerate((2.0, 3.0, 5.0)):
        with torch.no_grad():
            module.weight.fill_(value)
            module.num_batches_tracked.fill_(step + 1)
        average.update(module, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    assert average.module.weight.item() == pytest.approx(expected)
    assert average.module.num_batches_tracked.item() == 3
    assert not average.module.weight.requires_grad
    assert not average.module.training
