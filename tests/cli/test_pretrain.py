import csv
import json

from typer.testing import CliRunner

from fundusion.cli import app

RUN = CliRunner()
BASE = ["--model", "visionfm.test", "--epochs", "1", "--batch-size", "4", "--image-size", "32", "--decoder", "16,1,2"]


def test_pretrain_says_how_long_and_where(cohort, tmp_path):
    done = RUN.invoke(app, ["pretrain", "--data", str(cohort), "--out", str(tmp_path / "run"), *BASE])
    assert done.exit_code == 0, done.output
    assert "measured" in done.output
    assert json.loads((tmp_path / "run" / "encoder.json").read_text())["objective"] == "mae"
    # The drawn table has a part "test": who is measured later teaches nothing.
    with cohort.open() as file:
        tested = sum(row["split"] == "test" for row in csv.DictReader(file))
    assert f"Not seen: {tested} studies" in done.output
    assert list((tmp_path / "run" / "pictures").glob("*.png"))
    only = RUN.invoke(app, ["pretrain", "--data", str(cohort), "--out", str(tmp_path / "b"), *BASE, "--estimate-only"])
    assert only.exit_code == 0
    assert not (tmp_path / "b" / "encoder.json").exists()


def test_wrong_options_are_named(cohort, tmp_path):
    where = ["--data", str(cohort), "--out", str(tmp_path)]
    for options, words in (
        ([*BASE, "--objective", "gan"], "objective"),
        ([*BASE[:-1], "16,1"], "three whole numbers"),
        (["--model", "vit.enormous"], "vit.enormous"),
        ([*BASE, "--precision", "fp7"], "precision"),
    ):
        done = RUN.invoke(app, ["pretrain", *where, *options])
        assert done.exit_code in (2, 4), done.output
        assert words in done.output
        assert "Traceback" not in done.output


RECIPE = """
objective = "mae"
model = "visionfm.test"
decoder = [16, 1, 2]
side = 48
[options]
image_size = 32
[train]
epochs = 3
batch_size = 4
learning_rate = 1e-3
"""


def config_of(folder):
    return json.loads((folder / "config.toml").read_text().lstrip("# "))


def test_a_recipe_is_used_and_options_that_are_given_go_before_it(cohort, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE)
    where = ["pretrain", "--recipe", str(recipe), "--data", str(cohort), "--out", str(tmp_path / "run")]
    done = RUN.invoke(app, [*where, "--epochs", "1", "--seed", "5"])
    assert done.exit_code == 0, done.output
    found = config_of(tmp_path / "run")
    assert (found["side"], found["decoder"], found["options"]) == (48, [16, 1, 2], {"image_size": 32})
    train = found["train"]
    # A default of the command is no option that was given.
    assert (train["epochs"], train["seed"], train["batch_size"], train["learning_rate"]) == (1, 5, 4, 1e-3)
    assert (train["ema"], train["clip"]) == (0.0, 3.0)


def test_wrong_recipes_are_named(cohort, tmp_path):
    recipe = tmp_path / "recipe.toml"
    where = ["pretrain", "--recipe", str(recipe), "--data", str(cohort), "--out", str(tmp_path / "run")]
    for text, words in (
        (None, "no recipe"),
        ("objective = ", "no TOML"),
        ('model = "vit.test"', "needs objective and model"),
        (RECIPE.replace("side", "sides"), "recipe.toml: sides"),
        (RECIPE.replace("[options]\nimage_size = 32", "options = 32"), "no table"),
        (RECIPE.replace("visionfm.test", "vit.enormous"), "vit.enormous"),
    ):
        if text is not None:
            recipe.write_text(text)
        done = RUN.invoke(app, where)
        assert done.exit_code in (2, 4), done.output
        assert words in " ".join(done.output.split())
        assert "Traceback" not in done.output


def test_the_recipes_of_the_project_are_valid():
    from pathlib import Path

    from fundusion.cli.pretrain import _config, _read

    recipe = Path(__file__).resolve().parents[2] / "recipes" / "pretrain.toml"
    config = _config(_read(recipe), name=recipe.name)
    assert config.objective == "mae"
    assert Path(config.cache).is_absolute()
