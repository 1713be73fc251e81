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
