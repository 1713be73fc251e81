"""The captioner in the package is whole, small, says what it saw, is what its recipe makes, and answers offline."""

import json
from pathlib import Path

import pytest
import torch

from fundusion.core.durable import digest_of
from fundusion.core.errors import UnknownName
from fundusion.core.interfaces import Turn
from fundusion.core.registry import models
from fundusion.layers.eye_words import question
from fundusion.layers.weighed_findings import family_of
from fundusion.shipped import resolve_captioner, resolve_model, shipped_captioners
from fundusion.train.captioner import read_caption_recipe

ROOT = Path(__file__).parents[2]
FOLDER, _ = resolve_captioner("shipped")
FACTS = json.loads((FOLDER / "captioner.json").read_text("utf-8"))


def test_it_is_whole_small_and_carries_its_card():
    assert shipped_captioners() == ["captioner"]
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) <= 12_000_000
    assert digest_of(FOLDER / "captioner.safetensors") == FACTS["sha256"]
    card = (FOLDER / "CARD.md").read_text("utf-8")
    assert "not a medical device" in card.lower()
    assert FACTS["sha256"][:12] in card
    assert FACTS["license"] in card
    assert all(item.partition(" ")[0] in card for item in FACTS["training_data"])
    with pytest.raises(UnknownName, match="captioner"):
        resolve_captioner("no such captioner")


def test_it_is_what_its_recipe_makes():
    recipe = read_caption_recipe(ROOT / "recipes" / "captioner.toml")
    assert FACTS["recipe"] == recipe.digest()
    assert FACTS["model"] == recipe.model
    assert FACTS["epochs"] == recipe.train.epochs
    assert FACTS["training_data"] == list(recipe.training_data)
    assert FACTS["split"] == {"seed": recipe.train.seed, "validation_fraction": recipe.validation_fraction}
    assert FACTS["tower"]["network"] == recipe.tower
    tower, _ = resolve_model(recipe.tower)
    assert FACTS["tower"]["sha256"] == digest_of(tower / "weights.safetensors")


def test_it_answers_from_the_package_alone():
    model = models.create("captioner.small", weights="shipped").eval()
    pictures = torch.zeros(1, 3, 224, 224)
    for language in ("en", "zh"):
        (said,) = model.generate(pictures, [[Turn(role="user", text=question("caption", language))]])
        assert said.endswith((".", "。"))
        assert ("colour fundus photograph" in said) or ("彩色眼底照片" in said) or len(said) > 5
    assert set(model.cuts) >= {family_of(k) for k in ("normal", "dr2", "cataract", "glaucoma")}
