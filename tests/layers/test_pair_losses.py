"""Soft targets by hand, and wrong partners that are never the own one."""

import torch
import torch.nn.functional as F

from fundusion.layers.pair_losses import soft_contrast, wrong_partners


def test_without_a_teacher_it_is_cross_entropy():
    logits = torch.randn(4, 7)
    own = torch.arange(4)
    torch.testing.assert_close(soft_contrast(logits, None, alpha=0.4), F.cross_entropy(logits, own))
    smoothed = F.cross_entropy(logits, own, label_smoothing=0.1)
    torch.testing.assert_close(soft_contrast(logits, None, alpha=0.0, smoothing=0.1), smoothed)


def test_the_teacher_has_its_share():
    logits, teacher = torch.randn(3, 5), torch.randn(3, 5)
    targets = 0.4 * teacher.softmax(1) + 0.6 * torch.eye(3, 5)
    torch.testing.assert_close(soft_contrast(logits, teacher, alpha=0.4), F.cross_entropy(logits, targets))


def test_wrong_partners_are_wrong_likely_alike_and_decided_by_the_generator():
    alike = torch.full((3, 3), -20.0)
    alike[0, 2] = alike[1, 0] = alike[2, 1] = 20.0
    alike.fill_diagonal_(50.0)
    drawn = torch.stack([wrong_partners(alike, torch.Generator().manual_seed(s)) for s in range(40)])
    assert not bool((drawn == torch.arange(3)).any())
    flat = torch.zeros(3, 3)
    same = [wrong_partners(flat, torch.Generator().manual_seed(4)).tolist() for _ in range(2)]
    assert same[0] == same[1]
    # The own partner is the likest; among the others likeness decides.
    alike.fill_diagonal_(-20.0)
    liked = torch.stack([wrong_partners(alike, torch.Generator().manual_seed(s)) for s in range(200)])
    assert (liked == torch.tensor([2, 0, 1])).float().mean() > 0.95
