"""Any number of images per study."""

import torch

from fundusion.layers.pooling import FramePool


def pool(seed=0):
    torch.manual_seed(seed)
    layer = FramePool(6)
    with torch.no_grad():
        layer.score.weight.normal_()
    return layer.eval()


def test_weights_are_those_of_a_softmax_over_each_study():
    layer, vectors = pool(), torch.randn(5, 6)
    owner = torch.tensor([2, 0, 2, 0, 2])
    pooled, attention, tokens, mask = layer(vectors, owner, 4)
    inside = layer.norm(vectors)
    scores = layer.score(torch.tanh(layer.content(inside)) * torch.sigmoid(layer.gate(inside)))[:, 0]
    for row, members in ((0, [1, 3]), (2, [0, 2, 4])):
        w = torch.softmax(scores[members], 0)
        torch.testing.assert_close(attention[members], w)
        torch.testing.assert_close(pooled[row], (vectors[members] * w[:, None]).sum(0))
        torch.testing.assert_close(tokens[row, : len(members)], vectors[members])
    assert mask.sum(1).tolist() == [2, 0, 3, 0]
    assert pooled[1].tolist() == pooled[3].tolist() == [0.0] * 6


def test_one_image_is_unchanged_and_a_fresh_layer_is_the_mean():
    vectors = torch.randn(3, 6)
    pooled, _, _, _ = pool()(vectors, torch.arange(3), 3)
    torch.testing.assert_close(pooled, vectors)
    pooled, _, _, _ = FramePool(6)(vectors, torch.zeros(3, dtype=torch.int64), 1)
    torch.testing.assert_close(pooled[0], vectors.mean(0))


def test_order_of_images_does_not_matter_and_far_scores_do_not_overflow():
    layer, vectors = pool(), torch.randn(6, 6)
    with torch.no_grad():
        layer.score.weight.mul_(1e4)
    owner = torch.tensor([0, 0, 0, 1, 1, 1])
    order = torch.tensor([5, 1, 3, 0, 2, 4])
    one, *_ = layer(vectors, owner, 2)
    two, *_ = layer(vectors[order], owner[order], 2)
    torch.testing.assert_close(one, two)
    assert bool(torch.isfinite(one).all())
