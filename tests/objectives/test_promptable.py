"""Losses of several masks for one prompt: equal to their formulas, and only the nearest mask learns."""

import pytest
import torch
import torch.nn.functional as F

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import objectives
from fundusion.objectives.promptable import BestMaskLoss, overlap_with_truth

NAMES = ("promptable.sam", "promptable.medsam", "promptable.medsegx")


def example(seed=0, masks=3):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, masks, 8, 8, generator=g)
    target = (torch.rand(2, 1, 8, 8, generator=g) < 0.3).float()
    known = torch.rand(2, 1, 8, 8, generator=g) < 0.8
    return logits, target, known, torch.rand(2, masks, generator=g)


def test_the_loss_of_medsegx_is_its_formula():
    logits, target, _, _ = example()
    each = torch.zeros(2, 3)
    for i in range(2):
        for k in range(3):
            p, t = torch.sigmoid(logits[i, k]), target[i, 0]
            dice = 1 - (2 * (p * t).sum() + 1e-5) / ((p * p).sum() + (t * t).sum() + 1e-5)
            each[i, k] = dice + F.binary_cross_entropy_with_logits(logits[i, k], t)
    loss = objectives.create("promptable.medsegx")
    torch.testing.assert_close(loss.each(logits, target), each)
    torch.testing.assert_close(loss([logits], target).total, each.min(1).values.mean())


def test_the_loss_of_sam_is_its_formula():
    logits, target, _, scores = example()
    totals, errors = torch.zeros(2, 3), torch.zeros(2, 3)
    for i in range(2):
        for k in range(3):
            p, t = torch.sigmoid(logits[i, k]), target[i, 0]
            right = p * t + (1 - p) * (1 - t)
            alpha = 0.25 * t + 0.75 * (1 - t)
            focal = (-alpha * (1 - right) ** 2 * right.log()).mean()
            dice = 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
            totals[i, k] = 20 * focal + dice
            inside = logits[i, k] > 0
            overlap = (inside & (t > 0)).sum() / (inside | (t > 0)).sum()
            errors[i, k] = (scores[i, k] - overlap) ** 2
    loss = objectives.create("promptable.sam")([logits], target, scores=scores)
    torch.testing.assert_close(loss.total, totals.min(1).values.mean() + errors.mean())
    torch.testing.assert_close(torch.stack(list(loss.parts.values())).sum(), loss.total)


@pytest.mark.parametrize("name", NAMES)
def test_only_the_nearest_mask_of_each_picture_learns(name):
    logits, target, _, scores = example()
    logits[0, 1] = (target[0, 0] * 2 - 1) * 3
    logits[1, 2] = (target[1, 0] * 2 - 1) * 3
    logits.requires_grad_()
    objectives.create(name)([logits], target, scores=scores).total.backward()
    moved = logits.grad.abs().sum((2, 3)) > 0
    assert moved.tolist() == [[False, True, False], [False, False, True]]


@pytest.mark.parametrize("name", NAMES)
def test_unknown_pixels_and_pictures_count_nowhere(name):
    loss = objectives.create(name)
    logits, target, known, scores = example()
    logits.requires_grad_()
    value = loss([logits], target, known, scores=scores)
    value.total.backward()
    assert float((logits.grad * ~known).abs().max()) == 0
    other = torch.where(known, target, 1 - target)
    spoilt = torch.where(known, logits.detach(), torch.tensor(9.0))
    torch.testing.assert_close(loss([spoilt], other, known, scores=scores).total, value.total)
    # A picture without any known pixel does not dilute the others, and a batch of such has loss 0.
    half = known.clone()
    half[1] = False
    alone = loss([logits[:1]], target[:1], known[:1], scores=scores[:1]).total
    torch.testing.assert_close(loss([logits], target, half, scores=scores).total, alone)
    nothing = loss([logits], target, torch.zeros_like(known), scores=scores).total
    nothing.backward()
    assert nothing.item() == 0


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_mask_rewards_silence(name):
    loss = objectives.create(name)
    target, scores = torch.zeros(1, 1, 8, 8), torch.ones(1, 3)
    silent, loud = torch.full((1, 3, 8, 8), -20.0), torch.full((1, 3, 8, 8), -20.0)
    loud[..., 0] = 20.0
    assert float(loss([silent], target, scores=scores).total) < 1e-2
    assert float(loss([loud], target, scores=scores).total) > 0.5


def test_overlap_counts_known_pixels_and_two_empty_masks_agree():
    logits = torch.tensor([[[[1.0, 1.0, -1.0, 1.0]], [[-1.0, -1.0, -1.0, -1.0]]]])
    target = torch.tensor([[[[1.0, 0.0, 1.0, 0.0]]]])
    weight = torch.tensor([[[[1.0, 1.0, 1.0, 0.0]]]])
    torch.testing.assert_close(overlap_with_truth(logits, target, weight), torch.tensor([[1 / 3, 0.0]]))
    assert overlap_with_truth(logits, torch.zeros_like(target), weight).tolist() == [[0.0, 1.0]]


def test_what_does_not_fit_is_refused():
    logits, target, _, scores = example()
    with pytest.raises(InvalidInput, match="scores"):
        objectives.create("promptable.sam")([logits], target)
    with pytest.raises(InvalidInput, match="target"):
        objectives.create("promptable.medsam")([logits], target.expand(-1, 3, -1, -1))
    with pytest.raises(InvalidInput, match="negative"):
        objectives.create("promptable.medsam", dice=-1.0)
    with pytest.raises(InvalidInput, match="alpha"):
        BestMaskLoss(pixel=1.0, dice=1.0, alpha=2.0)
    assert "overlap" not in objectives.create("promptable.sam", overlap=0.0)([logits], target, scores=scores).parts
