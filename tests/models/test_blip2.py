"""BLIP-2: the answer alone comes back, fresh queries are not all the same."""

import pytest
import torch

from fundusion.core.errors import InvalidInput
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models
from fundusion.layers.generator import pictures_of

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
ASKED = [[Turn(role="user", text="what is seen?")], [Turn(role="user", text="eye")]]


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return models.create("blip2.test").eval()


@torch.no_grad()
def test_the_library_gives_back_the_prompt_and_we_do_not(model):
    words = model.read(IMAGES, ASKED, answers=False)
    given = model._feed.prompt(pictures_of(IMAGES, None, 2), words)
    whole = model.body.generate(**given, max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert torch.equal(whole[:, : words.ids.shape[1]], words.ids)
    said = [model._tokenizer.decode(row[words.ids.shape[1] :].tolist(), skip_special_tokens=True) for row in whole]
    assert model.generate(IMAGES, ASKED, max_tokens=4) == [s.strip() for s in said]


@torch.no_grad()
def test_fresh_queries_differ(model):
    # The library starts all at zero: they would see the same, get the same gradient and stay one query forever.
    seen = model.body.get_image_features(IMAGES, return_dict=True).pooler_output
    assert seen.shape[1] == 4
    assert float((seen[:, 0] - seen[:, 1]).abs().max()) > 1e-4
    assert float(models.create("instructblip.test").body.query_tokens.std()) > 0.01


def test_queries_stand_before_the_start_token(model):
    words = model.read(IMAGES, ASKED, answers=False)
    row = words.ids[0][words.mask[0]]
    assert model._tokenizer.convert_ids_to_tokens(row[:6].tolist()) == ["<image>"] * 4 + ["[CLS]", "what"]
    assert model.body.config.num_query_tokens == 4


@pytest.mark.parametrize("family", ["blip2", "instructblip"])
def test_an_unknown_language_model_is_named(family):
    with pytest.raises(InvalidInput, match="t5"):
        models.create(f"{family}.test", language="bert")
