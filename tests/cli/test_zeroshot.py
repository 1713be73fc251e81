import csv
import json

import pytest
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.cli.zeroshot import options_of
from fundusion.core.errors import InvalidInput

RUN = CliRunner()
MODEL = ["--model", "clip.test", "--weights", "fresh"]


def run(*arguments):
    return RUN.invoke(app, [str(a) for a in arguments])


def test_labels_are_asked_and_unknown_ones_are_named(cohort, tmp_path):
    done = run("zeroshot", cohort, "--labels", "normal fundus, ERM, sea fan", *MODEL, "--out", tmp_path)
    # Two of the drawn photographs are spoilt.
    assert done.exit_code == 3, done.output
    assert "24 studies: 22 answered, 2 rejected, 0 pending" in done.output
    assert "'sea fan' is no known finding" in done.output
    assert "no probabilities" in done.output
    rows = list(csv.DictReader((tmp_path / "summary.csv").open()))
    assert len(rows) == 24
    assert {"zeroshot.p.ERM", "zeroshot.p.sea fan"} <= set(rows[0])


def test_a_set_is_calibrated_and_the_calibration_is_used_again(cohort, tmp_path):
    done = run(
        "zeroshot", cohort, "--set", "icdr", *MODEL, "--calibrate", cohort, "--coverage", "0.5", "--out", tmp_path / "a",
        "--workers", "0", "--batch-size", "8",
    )  # fmt: skip
    assert done.exit_code == 3, done.output
    assert "Calibrated on 22 eyes of 12 patients" in done.output
    assert "1 x quality.not_fundus" in done.output
    assert "prediction set" in done.output
    first = list(csv.DictReader((tmp_path / "a" / "summary.csv").open()))
    assert all(row["dr_grade.set"] for row in first if row["status"] == "ok")
    assert any(row["dr_grade.decision"] == "uncertain" for row in first)
    fit = json.loads((tmp_path / "a" / "calibration.json").read_text())
    assert fit["signature"]["model"] == "clip.test"
    # Fresh weights are other weights: the calibration is not theirs.
    done = run(
        "zeroshot",
        cohort,
        "--set",
        "icdr",
        *MODEL,
        "--calibration",
        tmp_path / "a" / "calibration.json",
        "--out",
        tmp_path / "b",
    )
    assert done.exit_code == 4
    assert "zeroshot.other_fit" in done.output


@pytest.mark.parametrize(
    ("arguments", "says", "code"),
    [
        (["--labels", "drusen"], "no choice", 2),
        ([], "either --labels or --set", 2),
        (["--labels", "a, b", "--set", "odir"], "either --labels or --set", 2),
        (["--set", "odirr"], "Known: odir", 4),
        (["--labels", "drusen, glau\u200bcoma"], "cannot be seen", 4),
        (["--labels", "drusen, sea fan", "--known-only"], "no finding is called 'sea fan'", 4),
        (["--labels", "drusen, glaucoma", "--calibrate", "no.csv"], "does not exist", 4),
        (["--labels", "drusen, glaucoma", "--coverage", "1.5"], "not between 0 and 1", 2),
        (["--labels", "drusen, glaucoma", "--language", "fr"], "'fr'", 4),
        (["--labels", "drusen, glaucoma", "--template", "a picture"], "no place for the finding", 2),
        (["--labels", "drusen, glaucoma", "--calls", "all"], "choose one of", 2),
        (["--labels", "drusen, glaucoma", "--option", "pooling"], "not NAME=VALUE", 2),
        (["--labels", "drusen, glaucoma", "--knowledge", "no.toml"], "no file", 4),
    ],
)
def test_wrong_questions_end_with_a_sentence(cohort, tmp_path, arguments, says, code):
    done = run("zeroshot", cohort, *arguments, *MODEL, "--out", tmp_path / "o")
    assert done.exit_code == code, done.output
    assert says in " ".join(done.output.split())
    assert "Traceback" not in done.output
    assert not (tmp_path / "o" / "results.jsonl").exists()


def test_too_few_labelled_eyes_are_said(cohort, tmp_path):
    done = run(
        "zeroshot", cohort, "--labels", "0 = a quiet eye, 1 = a bleeding eye", "--task", "referable", *MODEL,
        "--calibrate", cohort, "--eyes", "8", "--out", tmp_path, "--coverage", "0.95",
    )  # fmt: skip
    assert done.exit_code == 3, done.output
    assert "needed are 19" in done.output
    rows = list(csv.DictReader((tmp_path / "summary.csv").open()))
    assert {r["zeroshot.set"] for r in rows if r["status"] == "ok"} == {"0|1"}


def test_no_weights_and_wrong_models_are_named(cohort, tmp_path):
    done = run("zeroshot", cohort, "--set", "odir", "--model", "flair", "--out", tmp_path)
    assert done.exit_code == 4
    assert "--weights published" in done.output
    done = run("zeroshot", cohort, "--set", "odir", "--model", "resnet.test", "--weights", "fresh", "--out", tmp_path)
    assert done.exit_code == 4
    assert "does not compare images with texts" in done.output


def test_a_phrase_is_shown_on_a_picture(cohort, tmp_path):
    picture = next((cohort.parent / "images").glob("*cfp*"))
    done = run("ground", picture, "hard exudates", *MODEL, "--out", tmp_path / "o.png", "--against", "normal fundus")
    assert done.exit_code == 0, done.output
    assert "Whole picture" in done.output
    assert (tmp_path / "o.png").read_bytes().startswith(b"\x89PNG")
    done = run("ground", picture, "hard exudates", *MODEL, "--out", tmp_path / "p.png", "--method", "heat")
    assert done.exit_code == 2
    assert "'heat'" in done.output


def test_options_of_a_model_are_read():
    assert options_of(["a=1", "b=mean", "c=true", "d=x=y"]) == {"a": 1, "b": "mean", "c": True, "d": "x=y"}
    assert options_of(None) == {}
    with pytest.raises(InvalidInput):
        options_of(["=1"])
