"""`train-captioner` as a user calls it."""

import json

from typer.testing import CliRunner

from fundusion.cli import app

RECIPE = """
model = "captioner.test"
tower = ""
drawn = 24
drawn_px = 64
folds = 0
[train]
epochs = 1
batch_size = 8
warmup_steps = 1
"""


def test_it_trains_from_a_recipe_and_shows_scores(tmp_path):
    (tmp_path / "r.toml").write_text(RECIPE)
    done = CliRunner().invoke(app, ["train-captioner", str(tmp_path / "r.toml"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    assert "modality" in done.output
    assert json.loads((tmp_path / "run" / "captioner.json").read_text())["pictures"] < 24


def test_a_recipe_that_is_not_there_is_said_without_a_trace(tmp_path):
    done = CliRunner().invoke(app, ["train-captioner", str(tmp_path / "no.toml"), "--out", str(tmp_path / "run")])
    assert done.exit_code == 2
    assert "no recipe" in done.output
    assert "Traceback" not in done.output
