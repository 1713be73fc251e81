"""Configurations of image-text training: defaults, errors, and the recipe that is shipped."""

from pathlib import Path

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.train.config import load_config
from fundusion.train.pair_config import load_pair_config, pair_config


def test_configurations(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text('objective = "clip"\n[data]\ncache = "kept"\n[train]\nepochs = 2\n')
    config = load_pair_config(file)
    assert config.data.cache == str(tmp_path / "kept")
    # What `train` leaves out is not what supervised training takes.
    assert (config.train.epochs, config.train.clip, config.train.ema) == (2, 1.0, 0.0)
    file.write_text('objective = "clip"\nfrozzen = true\n')
    with pytest.raises(InvalidInput, match="frozzen") as caught:
        load_pair_config(file)
    assert "frozen" in caught.value.hint
    for value in ({"objective": "gan"}, {"objective": "clip", "train": 3}, {"objective": "clip", "strength": -1}):
        with pytest.raises(InvalidInput):
            pair_config(value)


def test_the_recipe_is_a_configuration():
    recipe = load_pair_config(Path(__file__).parents[2] / "recipes" / "image_text.toml")
    screen = Path(__file__).parents[2] / "recipes" / "screen.toml"
    # The patients held out are those the tower never saw.
    assert recipe.data.validation_fraction == load_config(screen).data.validation_fraction
    assert recipe.data.seed == load_config(screen).data.seed
