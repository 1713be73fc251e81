"""The map equals Grad-CAM computed the long way, and points at what raises the target."""

import torch

from fundusion.core.interfaces import Batch
from fundusion.core.tasks import MultiLabel
from fundusion.explain.cam import class_activation_maps
from fundusion.explain.target import Target
from fundusion.network import build_network


def network_and_batch():
    network = build_network(
        {"cfp": "contrast_resnet.test"}, "gated", {"disease": MultiLabel("AB")}, embed_dim=8, seed=1
    )
    images = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    batch = Batch(
        study_ids=("a", "b"),
        modalities=("cfp",),
        present=torch.ones(2, 1, dtype=torch.bool),
        images={"cfp": images},
        owner={"cfp": torch.tensor([0, 1, 1])},
    )
    return network.eval(), batch


def test_equals_grad_cam_through_the_whole_network():
    network, batch = network_and_batch()
    target = Target(task_name="disease", task=MultiLabel("AB"), label="B")
    features = network.encode(batch)
    last = features["cfp"].maps[-1]
    score = target.score(network.fuse(features, batch.presence())).sum()
    (gradient,) = torch.autograd.grad(score, [last])
    expected = torch.relu((gradient.mean((2, 3), keepdim=True) * last).sum(1)) * last.shape[2] * last.shape[3]
    found = class_activation_maps(features, batch.presence(), target, fuse=network.fuse, pools=network.pools)
    assert torch.allclose(torch.from_numpy(found["cfp"]), expected.detach(), atol=1e-5)


def test_network_is_left_as_it_was():
    network, batch = network_and_batch()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    features = network.encode(batch)
    target = Target(task_name="disease", task=MultiLabel("AB"), label="A")
    class_activation_maps(features, batch.presence(), target, fuse=network.fuse, pools=network.pools)
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert not network.training
    assert all(p.grad is None for p in network.parameters())
