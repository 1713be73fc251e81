import json

import pytest
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.cli.pretrain_pairs import TEXTS
from fundusion.train.pair_config import PAIR_OBJECTIVES

RUN = CliRunner()
BASE = ["--model", "image_text.test", "--epochs", "1", "--batch-size", "4", "--image-size", "32"]


def test_every_objective_of_the_command_is_one_of_training():
    assert set(TEXTS) == set(PAIR_OBJECTIVES)


def test_texts_are_trained_with_and_the_result_is_used_by_name(cohort, tmp_path):
    out = tmp_path / "run"
    done = RUN.invoke(app, ["pretrain", "--objective", "clip", "--data", str(cohort), "--out", str(out), *BASE])
    assert done.exit_code == 0, done.output
    assert "measured" in done.output
    assert json.loads((out / "encoder.json").read_text())["model"] == "image_text.test"
    adapt = ["adapt", str(out), str(cohort), "--task", "dr_grade", "--protocol", "knn", "--out", str(tmp_path / "a")]
    done = RUN.invoke(app, adapt)
    assert done.exit_code == 0, done.output


def test_a_recipe_is_changed_by_options(cohort, tmp_path):
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        'objective = "clip"\nmodel = "image_text.test"\n[options]\nimage_size = 32\n[train]\nsizes = [[32, 9]]\nbatch_size = 4\n'
    )
    out = tmp_path / "run"
    command = ["pretrain", "--recipe", str(recipe), "--data", str(cohort), "--out", str(out), "--epochs", "1"]
    done = RUN.invoke(app, [*command, "--objective", "medclip", "--seed", "3"])
    assert done.exit_code == 0, done.output
    facts = json.loads((out / "encoder.json").read_text())
    assert (facts["objective"], facts["epochs"]) == ("medclip", 1)
    only = RUN.invoke(app, [*command[:-4], "--out", str(tmp_path / "b"), "--estimate-only"])
    assert only.exit_code == 0, only.output
    assert not (tmp_path / "b" / "encoder.json").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--objective", "clip"], "neither --data nor --recipe"),
        (["--objective", "clip", "--data", "{cohort}", "--mask-ratio", "0.5"], "--mask-ratio"),
        (["--objective", "clip", "--data", "{cohort}", "--model", "hashing.test"], "role align"),
        (["--objective", "clip", "--data", "{cohort}", "--knowledge", "absent.json", *BASE], "no knowledge file"),
        (["--objective", "mae", "--data", "{cohort}", "--knowledge", "x.json"], "training with texts"),
        (["--objective", "mae"], "no --data"),
        (["--recipe", "absent.toml"], "no configuration"),
    ],
)
def test_wrong_options_are_named(cohort, tmp_path, options, words):
    given = [o.replace("{cohort}", str(cohort)) for o in options]
    done = RUN.invoke(app, ["pretrain", "--out", str(tmp_path), *given])
    assert done.exit_code in (2, 4), done.output
    assert words in " ".join(done.output.split())
    assert "Traceback" not in done.output
