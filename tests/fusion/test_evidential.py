"""Dempster's rule for two opinions, by hand."""

import pytest
import torch

from fundusion.core.tasks import MultiLabel
from fundusion.fusion.evidential import Evidential, dempster


def test_the_rule_is_commutative_associative_and_has_ignorance_as_neutral_element():
    g = torch.Generator().manual_seed(0)
    mass = torch.rand(3, 5, 3, generator=g)
    mass = mass / mass.sum(2, keepdim=True)
    (b1, u1), (b2, u2), (b3, u3) = [(m[:, :2], m[:, 2:]) for m in mass]
    torch.testing.assert_close(dempster(b1, u1, b2, u2), dempster(b2, u2, b1, u1))
    torch.testing.assert_close(
        dempster(*dempster(b1, u1, b2, u2), b3, u3), dempster(b1, u1, *dempster(b2, u2, b3, u3)), rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(dempster(b1, u1, torch.zeros_like(b1), torch.ones_like(u1)), (b1, u1))
    belief, ignorance = dempster(b1, u1, b2, u2)
    torch.testing.assert_close(belief.sum(1, keepdim=True) + ignorance, torch.ones(5, 1))


def test_two_opinions_by_hand():
    # Evidence softplus(+-z): z = log(e^2 - 1) gives 2 for and softplus(-z) = 2 - z against.
    z = torch.log(torch.expm1(torch.tensor(2.0)))
    fusion = Evidential(("a", "b"), {"t": MultiLabel("X")})
    belief, ignorance = fusion.opinion("t", "a", z.reshape(1, 1))
    against = 2.0 - float(z)
    total = 2.0 + against + 2
    assert belief[0, 0].tolist() == pytest.approx([against / total, 2.0 / total], rel=1e-5)
    assert ignorance.item() == pytest.approx(2 / total, rel=1e-5)
    yes = torch.tensor([True])
    fused = fusion.combine("t", {"a": z.reshape(1, 1), "b": z.reshape(1, 1)}, {"a": yes, "b": yes})
    n, p, u = against / total, 2 / total, 2 / total
    left = 1 - 2 * n * p
    n2, p2, u2 = (n * n + 2 * n * u) / left, (p * p + 2 * p * u) / left, u * u / left
    import math

    assert fused.item() == pytest.approx(math.log(p2 + u2 / 2) - math.log(n2 + u2 / 2), rel=1e-4)


def test_agreement_is_surer_than_either_and_conflict_is_in_between():
    fusion = Evidential(("a", "b"), {"t": MultiLabel("X")})
    yes = torch.tensor([True])
    one, other = torch.tensor([[3.0]]), torch.tensor([[-3.0]])
    alone = fusion.combine("t", {"a": one}, {"a": yes})
    agree = fusion.combine("t", {"a": one, "b": one}, {"a": yes, "b": yes})
    conflict = fusion.combine("t", {"a": one, "b": other}, {"a": yes, "b": yes})
    assert agree > alone > conflict
    assert conflict.item() == pytest.approx(0, abs=1e-5)
