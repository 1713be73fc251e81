"""What every objective promises: finite, differentiable, parts sum to the total, unknown entries weigh nothing."""

import pytest
import torch

from fundusion.core.interfaces import Batch, NetworkOutput
from fundusion.core.registry import objectives
from fundusion.core.tasks import Binary, MultiClass, MultiLabel, Ordinal, Regression
from fundusion.objectives.classification import head_loss

from .pairs import random_given, rows

TASKS = {
    "binary": (Binary(), [0.0, 1.0, float("nan"), 1.0]),
    "multiclass": (MultiClass("ABC"), [0.0, 2.0, float("nan"), 1.0]),
    "multilabel": (MultiLabel("AB"), [[0.0, 1.0], [float("nan"), 1.0], [float("nan")] * 2, [1.0, 0.0]]),
    "ordinal": (Ordinal(4), [0.0, 3.0, float("nan"), 1.0]),
    "coral": (Ordinal(4, method="coral"), [0.0, 3.0, float("nan"), 1.0]),
    "regression": (Regression(unit="mmHg", center=15, scale=5), [10.0, 20.0, float("nan"), 15.0]),
}
CHOICES = [(n, "") for n in TASKS] + [
    ("multiclass", "focal"),
    ("multiclass", "logit_adjusted"),
    ("multilabel", "asymmetric"),
]
COUNTS = {"multiclass": torch.tensor([5.0, 3.0, 2.0])}


def loss_of(name, which):
    task, target = TASKS[name]
    return task, torch.tensor(target), head_loss(task, counts=COUNTS.get(name), name=which)


@pytest.mark.parametrize(("name", "which"), CHOICES)
def test_unknown_entries_weigh_nothing_in_value_and_gradient(name, which):
    task, target, loss = loss_of(name, which)
    logits = torch.randn(4, task.outputs, generator=torch.Generator().manual_seed(0)).requires_grad_()
    value = loss(logits, target)
    value.backward()
    assert bool(torch.isfinite(value))
    assert value > 0
    assert logits.grad[2].abs().sum() == 0
    assert logits.grad[3].abs().sum() > 0
    other = logits.detach().clone()
    other[2] += 5.0
    torch.testing.assert_close(loss(other, target), value)
    order = torch.tensor([3, 1, 0, 2])
    torch.testing.assert_close(loss(logits[order], target[order]), value)


@pytest.mark.parametrize(("name", "which"), CHOICES)
def test_a_batch_without_annotation_is_zero_and_still_differentiable(name, which):
    task, target, loss = loss_of(name, which)
    logits = torch.randn(4, task.outputs).requires_grad_()
    value = loss(logits, torch.full_like(target, torch.nan))
    value.backward()
    assert value.item() == 0
    assert logits.grad.abs().sum() == 0


@pytest.mark.parametrize(("name", "which"), CHOICES)
def test_descending_the_gradient_lowers_the_loss(name, which):
    task, target, loss = loss_of(name, which)
    logits = torch.zeros(4, task.outputs, requires_grad=True)
    first = loss(logits, target)
    (gradient,) = torch.autograd.grad(first, logits)
    assert loss(logits - 0.1 * gradient, target) < first


def test_registered_objectives_give_a_loss_whose_parts_sum_to_the_total():
    tasks = {"a": MultiLabel("AB"), "b": Ordinal(4)}
    targets = {"a": torch.tensor([[1.0, 0.0], [float("nan"), 1.0]]), "b": torch.tensor([2.0, float("nan")])}
    logits = {"a": torch.randn(2, 2, requires_grad=True), "b": torch.randn(2, 3, requires_grad=True)}
    output = NetworkOutput(logits=logits, fused=None, features={}, presence={})
    batch = Batch(
        study_ids=("1", "2"), modalities=("cfp",), present=torch.ones(2, 1, dtype=torch.bool), targets=targets
    )
    losses = {n: head_loss(t) for n, t in tasks.items()}
    many = objectives.create("multitask.default", tasks=tasks, losses=losses, weights={"b": 0.5})
    loss = many(lambda b, generator=None: output, batch)
    torch.testing.assert_close(loss.total, sum(loss.parts.values()))
    torch.testing.assert_close(loss.parts["b"], 0.5 * losses["b"](logits["b"], targets["b"]))
    one = objectives.create("classification.default", task_name="a", task=tasks["a"])
    single = one(lambda b, generator=None: output, batch)
    torch.testing.assert_close(single.total, losses["a"](logits["a"], targets["a"]))


#: Objectives of images and texts, with the options they need for vectors of width 8.
TEXTS = {
    "contrastive.clip": {}, "contrastive.flair": {}, "contrastive.siglip": {}, "matching.medclip": {},
    "knowledge.keepfit": {"width": 8, "dropout": 0.0}, "evidential.retizero": {},
}  # fmt: skip
FINDINGS = torch.eye(5)[[0, 1, 0, 2, 4, 3]]
TARGETS = {"category": [0, 1, 0, 2, 4, 3], "knowledge": [0, 0, 0, 1, 1, 1], "findings": FINDINGS}


def test_every_objective_of_images_and_texts_is_held_to_the_contract():
    families = {n.partition(".")[0] for n in TEXTS}
    assert {n for n in objectives.names() if n.partition(".")[0] in families} == set(TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_images_and_texts(name):
    torch.manual_seed(0)
    network, objective = random_given(log_scale=1.0), objectives.create(name, **TEXTS[name])
    batch = rows(range(6), range(6), **TARGETS)
    before = (network.images.clone(), network.texts.clone())
    loss = objective(network, batch, generator=torch.Generator(), epoch=4.0)
    torch.testing.assert_close(loss.total, sum(loss.parts.values()))
    loss.total.backward()
    assert bool(torch.isfinite(loss.total))
    for parameter in (network.images, network.texts):
        assert bool(torch.isfinite(parameter.grad).all())
        assert bool((parameter.grad.abs().sum(1) > 0).all())
    assert network.log_scale.grad.abs() > 0
    # The order of the batch says nothing.
    order = [3, 1, 5, 0, 4, 2]
    moved = rows(order, order, **{k: torch.as_tensor(v)[order] for k, v in TARGETS.items()})
    torch.testing.assert_close(objective(network, moved, epoch=4.0).total, loss.total)
    # Descending the gradient lowers it.
    with torch.no_grad():
        for parameter, old in zip((network.images, network.texts), before, strict=True):
            parameter.copy_(old - 1e-2 * parameter.grad)
    assert objective(network, batch, epoch=4.0).total < loss.total


@pytest.mark.parametrize("name", TEXTS)
def test_without_texts_or_without_pictures_the_loss_is_zero_and_still_differentiable(name):
    network, objective = random_given(), objectives.create(name, **TEXTS[name])
    for pictures, texts in ((range(6), [None] * 6), ([None] * 6, range(6))):
        network.zero_grad()
        loss = objective(network, rows(pictures, texts, **TARGETS))
        loss.total.backward()
        assert loss.total.item() == 0
        assert loss.parts == {}
        assert all(p.grad is None or p.grad.abs().sum() == 0 for p in network.parameters())
