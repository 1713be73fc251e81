"""Losses of masks: equal to their formulas, blind to unknown pixels, and fair to empty masks."""

import pytest
import torch
import torch.nn.functional as F

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import objectives
from fundusion.objectives.segmentation import MaskLoss

NAMES = ("segmentation.dice_ce", "segmentation.tversky", "segmentation.focal")


def example(seed=0):
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 3, 8, 8, generator=g)
    target = (torch.rand(2, 3, 8, 8, generator=g) < 0.3).float()
    known = torch.rand(2, 3, 8, 8, generator=g) < 0.8
    return logits, target, known


def test_cross_entropy_and_dice_are_the_formulas():
    logits, target, _ = example()
    known = torch.ones_like(target, dtype=torch.bool)
    loss = MaskLoss()([logits], target, known)
    p = torch.sigmoid(logits)
    dice = (2 * (p * target).sum((0, 2, 3)) + 2) / (p.sum((0, 2, 3)) + target.sum((0, 2, 3)) + 2)
    torch.testing.assert_close(loss.parts["overlap"], (1 - dice).mean())
    torch.testing.assert_close(loss.parts["cross_entropy"], F.binary_cross_entropy_with_logits(logits, target))


def test_tversky_counts_misses_more():
    target = torch.zeros(1, 1, 8, 8)
    target[..., :4] = 1
    known = torch.ones_like(target, dtype=torch.bool)
    less, more = torch.full_like(target, -20.0), torch.full_like(target, -20.0)
    less[..., :3], more[..., :5] = 20.0, 20.0
    loss = objectives.create("segmentation.tversky")
    assert loss([less], target, known).total > loss([more], target, known).total


def test_focal_without_exponent_is_cross_entropy_and_with_it_easy_pixels_weigh_less():
    logits, target, known = example()
    plain = MaskLoss(overlap=0.0)([logits], target, known).total
    torch.testing.assert_close(objectives.create("segmentation.focal", gamma=0.0)([logits], target, known).total, plain)
    assert objectives.create("segmentation.focal", gamma=2.0)([logits], target, known).total < plain


@pytest.mark.parametrize("name", NAMES)
def test_unknown_pixels_change_neither_value_nor_gradient(name):
    loss = objectives.create(name)
    logits, target, known = example()
    logits.requires_grad_()
    value = loss([logits], target, known)
    value.total.backward()
    assert float(logits.grad[~known].abs().max()) == 0
    assert float(logits.grad[known].abs().max()) > 0
    other = torch.where(known, target, 1 - target)
    spoilt = torch.where(known, logits.detach(), torch.tensor(9.0))
    torch.testing.assert_close(loss([spoilt], other, known).total, value.total)
    torch.testing.assert_close(sum(value.parts.values()), value.total)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_known_pixels_is_zero_and_differentiable(name):
    logits, target, known = example()
    logits.requires_grad_()
    value = objectives.create(name)([logits], target, torch.zeros_like(known))
    value.total.backward()
    assert float(value.total.detach()) == 0
    assert float(logits.grad.abs().sum()) == 0


def test_an_empty_mask_rewards_silence_and_punishes_false_alarms():
    target = torch.zeros(1, 1, 16, 16)
    known = torch.ones_like(target, dtype=torch.bool)
    silent, loud = torch.full_like(target, -12.0), torch.full_like(target, 2.0)
    loss = objectives.create("segmentation.dice_ce")
    assert float(loss([silent], target, known).total) < 0.01
    assert float(loss([loud], target, known).total) > 1.0


def test_earlier_stages_count_less_and_order_of_the_batch_does_not_matter():
    logits, target, known = example()
    one = MaskLoss(earlier=0.25)([logits, logits], target, known)
    torch.testing.assert_close(one.parts["overlap_stage_1"], 0.25 * one.parts["overlap"])
    assert "overlap_stage_1" not in MaskLoss(earlier=0.0)([logits, logits], target, known).parts
    turned = MaskLoss(earlier=0.25)([logits.flip(0)] * 2, target.flip(0), known.flip(0))
    torch.testing.assert_close(turned.total, one.total)


def test_weights_that_mean_nothing_are_refused():
    with pytest.raises(InvalidInput, match="negative"):
        MaskLoss(focal=-1.0)
    with pytest.raises(InvalidInput, match="above 0"):
        MaskLoss(cross_entropy=0.0, overlap=0.0)


def test_positive_weighs_pixels_of_its_structure_only():
    logits, target, known = example()
    plain = MaskLoss(overlap=0.0)([logits], target, known).total
    torch.testing.assert_close(MaskLoss(overlap=0.0, positive=(1.0, 1.0, 1.0))([logits], target, known).total, plain)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    each[:, 1] = torch.where(target[:, 1] > 0, 7 * each[:, 1], each[:, 1])
    weighed = objectives.create("segmentation.dice_ce", dice=0.0, positive=(1.0, 7.0, 1.0))([logits], target, known)
    torch.testing.assert_close(weighed.total, each[known].mean())


@pytest.mark.parametrize("positive", [(1.0, 0.0, 1.0), (1.0, 2.0)])
def test_positive_needs_a_weight_above_zero_for_each_structure(positive):
    with pytest.raises(InvalidInput):
        MaskLoss(positive=positive)([example()[0]], *example()[1:])
