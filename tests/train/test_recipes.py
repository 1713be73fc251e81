"""A recipe says by what it names which kind of segmenter it trains."""

from pathlib import Path

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.train.oct_layers import LayersConfig
from fundusion.train.promptable import PromptedConfig
from fundusion.train.recipes import read_any_recipe
from fundusion.train.segmentation import SegmentConfig

RECIPES = Path(__file__).parents[2] / "recipes"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("oct_layers", LayersConfig),
        ("prompted_disc", PromptedConfig),
        ("vessels", SegmentConfig),
        ("disc_cup", SegmentConfig),
    ],
)
def test_committed_recipes_are_what_they_say(name, kind):
    assert type(read_any_recipe(RECIPES / f"{name}.toml", "data")) is kind


def test_what_is_wrong_is_said(tmp_path):
    with pytest.raises(InvalidInput, match="no recipe"):
        read_any_recipe(tmp_path / "none.toml")
    for text, words in (
        ("classes = [", "no recipe"),
        ('model = "sam.test"\nclasses = ["disc"]\nsets = []\nrankk = 3', "rankk"),
        ("drawn_scans = 2", "drawn_scans"),
        ('drawn_scans = 9\nsets = [{ name = "hrf" }]', "no sets"),
    ):
        (tmp_path / "r.toml").write_text(text)
        with pytest.raises(InvalidInput, match=words):
            read_any_recipe(tmp_path / "r.toml")
