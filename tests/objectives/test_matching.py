"""Semantic matching: the formula, the released variant, and that pictures and texts need no pairing."""

import pytest
import torch
import torch.nn.functional as F

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import objectives

from .pairs import NAN, random_given, rows

IMAGES = torch.tensor([[1, 0, 0, -1], [0, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0.0]])
TEXTS = torch.tensor([[1, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, -1.0]])


def unpaired(**more):
    labels = torch.cat([IMAGES, TEXTS])
    return rows([0, 1, 2, 3, 4, None, None, None], [None] * 5 + [0, 1, 2], findings=labels, **more)


def by_hand(network, images, texts, normalise):
    """Equations 3 to 6 of the paper, one row at a time."""
    logits = F.normalize(network.images[:5], dim=1) @ F.normalize(network.texts[:3], dim=1).T * network.scale()
    sides = []
    for z, labels, others in ((logits, images, texts), (logits.T, texts, images)):
        rows_ = []
        for i, label in enumerate(labels):
            similar = torch.stack([label @ o for o in others])
            if normalise:
                similar = torch.stack([label @ o / (label.norm() * o.norm()).clamp_min(1e-8) for o in others])
            target = torch.exp(similar) / torch.exp(similar).sum()
            rows_.append(-(target * torch.log_softmax(z[i], 0)).sum())
        sides.append(torch.stack(rows_).mean())
    return (sides[0] + sides[1]) / 2


def test_the_formula_of_the_paper_and_of_the_released_code():
    network = random_given(log_scale=1.0)
    paper = objectives.create("matching.medclip")(network, unpaired())
    torch.testing.assert_close(paper.total, by_hand(network, IMAGES, TEXTS, True))
    # A picture without any finding is "no finding", here column 3.
    released = objectives.create("matching.medclip", variant="released", no_finding=3)(network, unpaired())
    filled = IMAGES.clone()
    filled[4, 3] = 1.0
    torch.testing.assert_close(released.total, by_hand(network, filled, TEXTS, False))
    assert abs((paper.total - released.total).item()) > 1e-3


def test_changed_copies_are_a_second_loss_of_equal_weight():
    network = random_given(log_scale=1.0)
    objective = objectives.create("matching.medclip", variant="released")
    labels = torch.cat([IMAGES, TEXTS, TEXTS])
    both = rows(
        [0, 1, 2, 3, 4, *[None] * 6], [None] * 5 + [0, 1, 2, 3, 4, 5], findings=labels, copies=[0] * 8 + [1] * 3
    )
    loss = objective(network, both)
    assert set(loss.parts) == {"texts", "copies"}
    torch.testing.assert_close(loss.total, sum(loss.parts.values()))
    torch.testing.assert_close(loss.parts["texts"] * 2, objective(network, unpaired()).total)


def test_pairs_and_their_two_halves_say_the_same():
    network = random_given()
    objective = objectives.create("matching.medclip")
    paired = rows([0, 1, 2], [0, 1, 2], findings=IMAGES[:3])
    halves = rows([0, 1, 2, None, None, None], [None] * 3 + [0, 1, 2], findings=torch.cat([IMAGES[:3]] * 2))
    torch.testing.assert_close(objective(network, paired).total, objective(network, halves).total)


def test_what_is_not_annotated_is_not_mentioned():
    network = random_given()
    objective = objectives.create("matching.medclip")
    unknown = torch.where(IMAGES[:3] == 0, torch.tensor(NAN), IMAGES[:3])
    one, other = (objective(network, rows(range(3), range(3), findings=x)).total for x in (IMAGES[:3], unknown))
    torch.testing.assert_close(one, other)


def test_findings_are_needed_and_the_variant_is_known():
    with pytest.raises(InvalidInput, match="needs the findings"):
        objectives.create("matching.medclip")(random_given(), rows([0], [0]))
    with pytest.raises(InvalidInput, match="paper or released"):
        objectives.create("matching.medclip", variant="code")
