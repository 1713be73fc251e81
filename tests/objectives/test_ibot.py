import pytest
import torch
from safetensors.torch import load_file

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models, objectives
from fundusion.layers.plain_vit import PlainViT
from fundusion.objectives.ibot import IBOT, IBOTLoss, masked_tokens, teacher_momentum, teacher_temperature


@pytest.fixture
def official(golden_root):
    return load_file(golden_root / "visionfm" / "tiny_ibot.safetensors")


@pytest.fixture
def pair(official):
    body = PlainViT(image_size=64, embed_dim=48, depth=2, num_heads=4)
    pair = IBOT(body, 48, outputs=64, hidden=96, bottleneck=32)
    for side in ("student", "teacher"):
        cut = len(side) + 1
        getattr(pair, side).load_state_dict(
            {k[cut:]: v for k, v in official.items() if k.startswith(side + ".") and "masked_embed" not in k}
        )
    pair.masked_embed.data.copy_(official["student.backbone.masked_embed"])
    return pair


def close(a, b):
    return float((a.detach() - b).abs().max() / b.abs().max()) <= 1e-4


def test_answers_loss_and_centres_equal_the_official_ones(pair, official):
    images = torch.cat([official["view0"], official["view1"]])
    masks = [official["mask0"], official["mask1"]]
    hidden = torch.cat(masks).bool()
    answers = pair.student["head"](masked_tokens(pair.student["backbone"], images, hidden, pair.masked_embed))
    assert close(answers[0], official["student_cls"])
    assert close(answers[1], official["student_patch"])
    whole = pair.teacher["head"](masked_tokens(pair.teacher["backbone"], images))
    assert close(whole[0], official["teacher_cls"])
    assert close(whole[1], official["teacher_patch"])
    loss = pair.forward_loss([official["view0"], official["view1"]], masks, epoch=5)
    assert close(loss.total, official["loss"])
    assert close(loss.parts["cls"], official["loss_cls"])
    assert close(loss.parts["patch"], official["loss_patch"])
    assert close(pair.loss.center, official["center_after"])
    assert close(pair.loss.center2, official["center2_after"])


def test_temperatures_of_the_teacher():
    found = [teacher_temperature(e, start=0.07, end=0.04, warmup=30) for e in (0, 5, 29, 30, 400)]
    assert found == pytest.approx([0.07, 0.06482758620689656, 0.04, 0.04, 0.04])


@pytest.mark.parametrize("name", ["vit.test", "visionfm.test"])
def test_only_the_student_learns_and_the_teacher_follows(name):
    torch.manual_seed(0)
    body = models.create(name).body
    pair = objectives.create("ibot.default", body=body, embed_dim=16, outputs=32, hidden=24, bottleneck=8)
    views = [torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)]
    masks = [torch.rand(2, 4, 4) < 0.4 for _ in views]
    loss = pair.forward_loss(views, masks, epoch=3)
    torch.testing.assert_close(loss.total, sum(loss.parts.values()))
    loss.total.backward()
    assert all(p.grad is None for p in pair.teacher.parameters())
    assert pair.masked_embed.grad.abs().sum() > 0
    assert pair.student["head"].last_layer.weight_v.grad.abs().sum() > 0
    with torch.no_grad():
        for p in pair.student.parameters():
            p.add_(1.0)
    before = pair.teacher["backbone"].cls_token.clone()
    pair.move_teacher(0.0)
    torch.testing.assert_close(pair.teacher["backbone"].cls_token, before + 0.004, rtol=1e-3, atol=1e-5)
    still = pair.teacher["backbone"].cls_token.clone()
    pair.move_teacher(1.0)
    assert torch.equal(pair.teacher["backbone"].cls_token, still)


def test_the_inertia_of_the_teacher_rises_along_a_cosine():
    found = [teacher_momentum(p, start=0.99) for p in (0.0, 0.25, 0.5, 1.0, 2.0)]
    assert found == pytest.approx([0.99, 0.99 + 0.01 * 0.14644661, 0.995, 1.0, 1.0])
    pair = objectives.create(
        "ibot.default",
        body=models.create("vit.test").body,
        embed_dim=16,
        outputs=8,
        hidden=8,
        bottleneck=4,
        momentum=0.5,
    )
    before = pair.teacher["head"].last_layer.weight_v.clone()
    with torch.no_grad():
        pair.student["head"].last_layer.weight_v.add_(1.0)
    pair.move_teacher(0.5)
    torch.testing.assert_close(pair.teacher["head"].last_layer.weight_v, before + 0.25)


def test_prototypes_are_frozen_in_the_first_epochs_and_nothing_else_changes():
    torch.manual_seed(0)
    pair = IBOT(
        models.create("vit.test").body, 16, outputs=32, hidden=24, bottleneck=8, freeze_epochs=2, warmup_epochs=0
    )
    views = [torch.rand(2, 3, 64, 64), torch.rand(2, 3, 64, 64)]
    masks = [torch.rand(2, 4, 4) < 0.4 for _ in views]
    found = {}
    for epoch in (0, 1, 2):
        pair.zero_grad(set_to_none=True)
        pair.loss.center.zero_()
        pair.loss.center2.zero_()
        pair.forward_loss(views, masks, epoch=epoch).total.backward()
        found[epoch] = {n: p.grad for n, p in pair.student.named_parameters() if p.requires_grad}
    for epoch in (0, 1):
        # An optimiser passes over what has no gradient, so weight decay does not move it either.
        assert [n for n, g in found[epoch].items() if g is None] == ["head.last_layer.weight_v"]
    assert found[2]["head.last_layer.weight_v"].abs().sum() > 0
    for name, gradient in found[2].items():
        if name != "head.last_layer.weight_v":
            torch.testing.assert_close(found[0][name], gradient)


def test_a_mask_without_hidden_patches_gives_no_patch_loss():
    loss = IBOTLoss(8)
    answers = torch.randn(4, 8), torch.randn(4, 4, 8)
    found = loss(answers, answers, [torch.zeros(2, 2, 2)] * 2, temperatures=(0.04, 0.07))
    assert float(found.parts["patch"]) == 0.0
    assert float(found.parts["cls"]) > 0


def test_a_network_without_patches_is_refused():
    with pytest.raises(InvalidInput, match="plain vision transformer"):
        IBOT(models.create("resnet.test"), 16)
