"""Steps of generators: decided by seed and step alone; the reference before adapters is the base."""

import numpy as np
import pytest
import torch

from fundusion.core.interfaces import Turn
from fundusion.core.registry import ImageInput, models, objectives
from fundusion.layers.lora import LANGUAGE_TARGETS, add_lora
from fundusion.readers.conversations import Conversation
from fundusion.train.data import PreparedSet
from fundusion.train.generator_steps import BeforeAdapters, ChatStep

CHAT = (Turn(role="user", text="eye"), Turn(role="assistant", text="normal"))


def step_of(strength=0.0):
    pictures = np.random.default_rng(0).integers(0, 255, (2, 64, 64, 3), np.uint8)
    data = PreparedSet(
        study_ids=("0", "1"), groups=("a", "b"), images={"cfp": pictures}, starts={"cfp": np.array([0, 1, 2])}
    )
    items = [Conversation(item_id=str(i), turns=CHAT) for i in range(3)]
    return ChatStep(
        None, None, "instruct", items=items, data=data, picture=np.array([1, -1, 0]), wanted=ImageInput(size=64), seed=3,
        strength=strength, is_packed=False,
    )  # fmt: skip


def test_pictures_stand_with_their_items():
    batch = step_of().still(np.array([0, 1, 2]))
    assert batch.present["cfp"].tolist() == [True, False, True]
    assert not bool(batch.images["cfp"][1].any())
    one = step_of().still(np.array([2]))
    assert torch.equal(batch.images["cfp"][2], one.images["cfp"][0])
    assert step_of().still(np.array([1])).images == {}
    assert len(batch.to("cpu")) == 3


def test_changes_are_decided_by_the_step_alone():
    rows = np.array([0, 2])
    first, again, other = (step_of(1.0).batch(rows, n, None).images["cfp"] for n in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(step_of().batch(rows, 5, None).images["cfp"], step_of().still(rows).images["cfp"])


@torch.no_grad()
def test_the_reference_is_the_model_before_its_adapters_and_adapters_come_back():
    torch.manual_seed(0)
    base = models.create("llava.test").eval()
    images, words = torch.randn(1, 3, 64, 64), None
    words = base.read(images, [CHAT])
    plain = base.token_logits(images, words)
    adapted = add_lora(base, rank=2, targets=LANGUAGE_TARGETS)
    for name, p in adapted.named_parameters():
        if ".lora_B" in name:
            p.fill_(0.3)
    learned = {n for n, p in adapted.named_parameters() if p.requires_grad}
    changed = adapted.token_logits(images, words)
    assert not torch.equal(changed, plain)
    assert torch.equal(BeforeAdapters(adapted).token_logits(images, words), plain)
    assert torch.equal(adapted.token_logits(images, words), changed)
    assert {n for n, p in adapted.named_parameters() if p.requires_grad} == learned
    loss = objectives.create("preference.dpo", reference=BeforeAdapters(adapted))
    value = loss(adapted, images, [(CHAT[:1], "normal", "drusen")]).total
    assert float(value) != pytest.approx(0.6931, abs=1e-4)
