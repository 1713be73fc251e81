"""Configurations: typed, complete when written, wrong keys named with the right ones."""

import tomllib
from pathlib import Path

import pytest

from fundusion.core.errors import InvalidInput, ReadError
from fundusion.train.config import load_config, parse_config, to_toml

#: Those of supervised training; the others are read by their own commands and tested there.
RECIPES = [
    path
    for path in sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
    if "network" in tomllib.loads(path.read_text("utf-8"))
]
SMALL = {"network": {"encoders": {"cfp": "resnet.18"}}, "tasks": {"dr_grade": {}}}


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda p: p.stem)
def test_recipes_are_valid_and_survive_being_written(recipe):
    config = load_config(recipe)
    again = parse_config(tomllib.loads(to_toml(config)))
    assert again.digest() == config.digest()


def test_there_are_recipes_to_test():
    assert {"quick", "screen"} <= {path.stem for path in RECIPES}


def test_what_is_written_is_complete():
    table = tomllib.loads(to_toml(parse_config(SMALL)))
    assert table["train"]["warmup_steps"] == 300
    assert table["augment"]["flip"] is True
    assert table["data"]["validation_fraction"] == 0.2


@pytest.mark.parametrize(
    ("section", "key", "right"),
    [
        ("train", "batchsize", "batch_size"),
        ("network", "fusoin", "fusion"),
        ("tasks.dr_grade", "wieght", "weight"),
        ("data", "manifests", "manifest"),
    ],
)
def test_a_wrong_key_names_the_right_one(section, key, right):
    value = {k: dict(v) for k, v in SMALL.items()}
    target = value
    for part in section.split("."):
        target[part] = dict(target.get(part, {}))
        target = target[part]
    target[key] = 1
    with pytest.raises(InvalidInput) as caught:
        parse_config(value, name="my.toml")
    assert caught.value.code == "config.invalid"
    assert f"{section}.{key}" in caught.value.message
    assert right in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"batch_size": 1}},
        {"train": {"learning_rate": -1}},
        {"data": {"validation_fraction": 1.5}},
        {"tasks": {"x": {"kind": "binary", "auxiliary": True}}},
    ],
)
def test_values_out_of_range_are_refused(change):
    with pytest.raises(InvalidInput) as caught:
        parse_config({**SMALL, **change})
    assert caught.value.code == "config.invalid"


def test_paths_are_relative_to_the_file_and_options_override(tmp_path):
    (tmp_path / "c.toml").write_text(
        '[data]\nmanifest = "a/t.csv"\n[network]\nencoders = { cfp = "resnet.18" }\n[tasks.dr_grade]\n'
    )
    config = load_config(tmp_path / "c.toml", encoder="frozen", device="cuda:1")
    assert config.data.manifest == str(tmp_path / "a/t.csv")
    assert (config.network.encoder, config.train.device) == ("frozen", "cuda:1")


def test_device_and_cache_do_not_decide_the_weights():
    base = parse_config(SMALL)
    assert parse_config({**SMALL, "train": {"device": "cuda"}, "data": {"cache": "x"}}).digest() == base.digest()
    assert parse_config({**SMALL, "train": {"seed": 1}}).digest() != base.digest()


def test_files_that_are_none(tmp_path):
    with pytest.raises(ReadError) as caught:
        load_config(tmp_path / "none.toml")
    assert caught.value.code == "config.missing"
    (tmp_path / "c.toml").write_text("[data\n")
    with pytest.raises(InvalidInput) as caught:
        load_config(tmp_path / "c.toml")
    assert caught.value.code == "config.syntax"


def test_a_task_of_no_fixed_meaning_needs_a_kind():
    config = parse_config({**SMALL, "tasks": {"oedema": {}}})
    with pytest.raises(InvalidInput, match="kind"):
        config.tasks["oedema"].task("oedema")
