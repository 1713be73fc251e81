"""The equation of the paper by hand; steps make the chosen answer likelier than the other."""

import copy
import math

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models, objectives
from fundusion.layers.language_loss import answer_likelihood
from fundusion.objectives.preference import preference_loss

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
PAIRS = [
    ([Turn(role="user", text="what is seen?")], "drusen", "normal eye"),
    ([Turn(role="user", text="eye")], "a", "b c"),
]


def test_the_equation():
    # Rafailov et al. 2023, equation 7, for gains of 2 and -1 nats.
    wanted = -math.log(1 / (1 + math.exp(-0.5 * 3)))
    assert float(preference_loss(torch.tensor([2.0]), torch.tensor([-1.0]), beta=0.5)) == pytest.approx(wanted)


def test_at_the_reference_the_loss_is_log_two_and_steps_move_towards_the_choice():
    torch.manual_seed(0)
    model = models.create("llava.test").eval()
    before = copy.deepcopy(model)
    loss = objectives.create("preference.dpo", reference=before)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    values = []
    for _ in range(3):
        optimizer.zero_grad()
        total = loss(model, IMAGES, PAIRS).total
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[0] == pytest.approx(math.log(2), abs=1e-6)
    assert values[2] < values[1] < values[0]
    assert all(p.grad is None for p in before.parameters())

    def margin(network):
        sides = []
        for side in (1, 2):
            rows = [[*p[0], Turn(role="assistant", text=p[side])] for p in PAIRS]
            words = network.read(IMAGES, rows)
            with torch.no_grad():
                sides.append(answer_likelihood(network.token_logits(IMAGES, words), words))
        return sides[0] - sides[1]

    assert bool((margin(model) > margin(before)).all())


def test_no_choice_and_no_pull_are_refused():
    model = models.create("llava.test")
    with pytest.raises(InvalidInput, match="pair 0 are the same"):
        objectives.create("preference.dpo", reference=model)(model, IMAGES[:1], [(PAIRS[0][0], "a", "a")])
    with pytest.raises(InvalidInput, match="beta"):
        objectives.create("preference.dpo", reference=model, beta=0.0)
