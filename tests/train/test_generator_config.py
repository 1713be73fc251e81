"""Configurations of generators: usual values, contradictions, what decides the weights."""

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.train.generator_config import generator_config


def made(**value):
    return generator_config({"objective": "instruct", "model": "llava.test", **value})


def test_usual_values_follow_the_objective():
    assert made().train.learning_rate == 2e-5
    assert made(lora_rank=8).train.learning_rate == 2e-4
    assert made(objective="dpo").train.learning_rate == 5e-6
    assert made(train={"learning_rate": 0.5}).train.learning_rate == 0.5
    assert made(objective="blip2").moved == ("queries",)
    assert made(objective="blip2", stage=2).moved == ("queries", "projector")
    assert made(objective="caption").moved == ()
    assert made(parts=("projector",)).moved == ("projector",)


@pytest.mark.parametrize(
    "value",
    [
        {"objective": "sing"}, {"stage": 3}, {"lora_rank": 4, "parts": ("projector",)}, {"objective": "caption", "lora_rank": 4}, {"merge": True},
        {"objective": "dpo", "packing": True}, {"train": {"ema": 0.9}}, {"colour": 1}, {"beta": 0}, {"train": 3},
    ],
)  # fmt: skip
def test_contradictions_are_refused(value):
    with pytest.raises(InvalidInput):
        made(**value)


def test_the_digest_is_of_what_decides_the_weights():
    assert made(lora_rank=2, merge=True).digest() == made(lora_rank=2).digest()
    assert made(checkpointing=True).digest() == made().digest()
    assert made(packing=True).digest() != made().digest()
    assert made(weights="x").digest() != made().digest()
