"""The segmenters in the package load, say what they saw, and find vessels."""

from pathlib import Path

import numpy as np
import pytest

from fundusion.core.registry import datasets
from fundusion.readers import read_study
from fundusion.readers.mask import read_mask
from fundusion.segmenting import load_segmenter, segment_image
from fundusion.shipped import resolve_segmenter, shipped_segmenters
from fundusion.train.segmentation import read_recipe


@pytest.mark.parametrize("name", shipped_segmenters())
def test_every_segmenter_loads_and_names_its_sets_on_its_card(name):
    segmenter = load_segmenter(name)
    card = (resolve_segmenter(name)[0] / "CARD.md").read_text("utf-8")
    for one in segmenter.facts["training_data"]:
        assert one.partition(".")[0].lower() in card.lower()
    assert "Not a medical device" in card
    assert segmenter.facts["terms"]
    assert set(segmenter.thresholds) == set(segmenter.classes)


@pytest.mark.parametrize("name", shipped_segmenters())
def test_every_segmenter_is_what_its_recipe_makes(name):
    segmenter = load_segmenter(name)
    facts = segmenter.facts
    recipes = Path(__file__).parents[2] / "recipes"
    # Where there are two phases the second one makes what is in the package.
    longer = recipes / f"{name}_longer.toml"
    recipe = read_recipe(longer if longer.is_file() else recipes / f"{name}.toml", "data")
    assert facts["model"] == recipe.model
    assert {k: v for k, v in facts["options"].items() if k != "classes"} == recipe.options
    assert (facts["field_px"], facts["epochs"]) == (recipe.scale_px, recipe.train.epochs)
    assert segmenter.trained_px == recipe.field_px
    assert segmenter.least_px == (recipe.least_px or recipe.field_px / 2)
    assert facts["modality"] == recipe.modality == ("ffa" if name == "ffa_areas" else "cfp")
    # An output that was not learned may be cut off; its card says so.
    assert set(facts["classes"]) <= set(recipe.classes)
    assert facts["thresholds"] == {c: recipe.thresholds.get(c, 0.5) for c in facts["classes"]}
    assert facts.get("inside", {}) == recipe.inside
    assert facts.get("unproven", {}) == recipe.unproven
    assert facts["terms"] == recipe.terms
    assert facts["training_data"] == sorted({s.name for s in recipe.sets})
    assert sorted(facts["held_out"]) == facts["training_data"]
    assert all(facts["held_out"].values())
    # Longer digests in a shared file would tell numbers of patients.
    assert {len(mark) for marks in facts["held_out"].values() for mark in marks} == {4}


def test_vessels_of_real_eyes_reach_what_the_card_says(data_root):
    """Held-out pictures of CHASE_DB1: 0.822 on the card."""
    segmenter = load_segmenter("vessels")
    scores = []
    for record in datasets.create("chase_db1", root=data_root / "chase_db1"):
        if record.study_id not in ("Image_04L", "Image_09R"):
            continue
        image = read_study(record).images["cfp"][0]
        found = segment_image(segmenter, image, flips=1)
        truth = (read_mask(record.masks["vessels"][0]) > 0) & found.field.mask(image.pixels.shape)
        scores.append(2 * (found.masks["vessel"] & truth).sum() / (found.masks["vessel"].sum() + truth.sum()))
    assert len(scores) == 2
    assert np.mean(scores) > 0.77
