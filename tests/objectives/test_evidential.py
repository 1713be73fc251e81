"""Evidential contrast: stored losses of RetiZero, the ramp, and the terms against distributions of torch."""

import pytest
import torch
from safetensors.torch import load_file

from fundusion.core.registry import objectives
from fundusion.objectives.evidential import evidential_terms

from .pairs import Given, random_given, rows


def test_the_released_loss_of_retizero(golden_root):
    stored = load_file(golden_root / "retizero" / "tiny.safetensors")
    network = Given(stored["edl_img"], stored["edl_txt"], log_scale=float(stored["logit_scale"]))
    # The stored values are those of the third epoch: 3/15 of the divergence.
    loss = objectives.create("evidential.retizero")(network, rows(range(5), range(5)), epoch=3.0)
    for part, name in (("contrast", "clip_ce"), ("text evidence", "edl_text"), ("image evidence", "edl_vision")):
        assert abs(loss.parts[part].item() - float(stored[name])) <= 1e-4, part
    assert abs(loss.total.item() - float(stored["loss_total"])) <= 1e-4


def test_the_divergence_is_that_of_the_distributions():
    torch.manual_seed(0)
    logits, target = torch.randn(4, 5) * 3, torch.eye(5)[[0, 2, 4, 1]]
    risk, excess = evidential_terms(logits, target)
    alpha = torch.nn.functional.softplus(logits) + 1
    rest = (alpha - 1) * (1 - target) + 1
    expected = torch.distributions.kl_divergence(
        torch.distributions.Dirichlet(rest), torch.distributions.Dirichlet(torch.ones(5))
    )
    torch.testing.assert_close(excess, expected, rtol=1e-4, atol=1e-5)
    # The risk is the expected cross-entropy under the distribution, here by sampling.
    drawn = torch.distributions.Dirichlet(alpha).sample((20000,))
    torch.testing.assert_close(risk, -(target * drawn.log()).sum(2).mean(0), rtol=0.05, atol=0.02)


def test_the_divergence_grows_with_the_epochs_and_then_stays():
    network, batch, objective = random_given(log_scale=2.0), rows(range(6), range(6)), None
    objective = objectives.create("evidential.retizero", ramp=10)
    values = [objective(network, batch, epoch=e).total.item() for e in (0, 5, 10, 50)]
    assert values[0] < values[1] < values[2] == values[3]
    assert values[1] == pytest.approx((values[0] + values[2]) / 2, rel=1e-5)


def test_more_evidence_for_the_right_text_lowers_every_part():
    objective = objectives.create("evidential.retizero")
    vague, sure = (Given(torch.eye(4), torch.eye(4), log_scale=s) for s in (0.0, 3.0))
    one, other = (objective(n, rows(range(4), range(4)), epoch=15).parts for n in (vague, sure))
    assert all(other[k] < one[k] for k in one)
