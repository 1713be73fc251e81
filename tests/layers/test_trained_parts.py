"""Each stage of training moves its parts and nothing else."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models, objectives
from fundusion.layers.trained_parts import part_of, train_parts

CHAT = [[Turn(role="user", text="what is seen?"), Turn(role="assistant", text="drusen")]]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("blip.test", {"vision", "language"}),
        ("blip2.test", {"vision", "queries", "projector", "language"}),
        ("instructblip.test", {"vision", "queries", "projector", "language"}),
        ("llava.test", {"vision", "projector", "language"}),
        ("qwen2_5_vl.test", {"vision", "projector", "language"}),
        ("eyefm_copilot.test", {"vision", "projector", "language"}),
        ("deepdr_llm.test", {"language"}),
    ],
)
def test_every_weight_has_its_part(name, parts):
    model = models.create(name)
    names = {n: part_of(n) for n, _ in model.named_parameters()}
    assert set(names.values()) == parts
    language = [n for n, part in names.items() if part == "language"]
    assert all("language_model" in n or "text_decoder" in n or "lm_head" in n or "body.model" in n for n in language)


@pytest.mark.parametrize(
    ("name", "parts"), [("blip2.test", ("queries", "projector")), ("llava.test", ("projector",)), ("llava.test", ("projector", "language"))]
)  # fmt: skip
def test_a_stage_moves_its_parts_only(name, parts):
    torch.manual_seed(0)
    model = models.create(name)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    trained = train_parts(model, parts)
    assert trained
    optimizer = torch.optim.SGD(trained, lr=1.0)
    objectives.create("instruction.answers")(model, torch.randn(1, 3, 64, 64), CHAT).total.backward()
    optimizer.step()
    moved = {part_of(n) for n, p in model.named_parameters() if not torch.equal(p.detach(), before[n])}
    assert moved == set(parts)


def test_parts_that_are_not_there_are_named():
    with pytest.raises(InvalidInput, match="has no queries"):
        train_parts(models.create("llava.test"), ("queries",))
    with pytest.raises(InvalidInput, match="head"):
        train_parts(models.create("llava.test"), ("head",))
