"""`analyze` and `demo` as a user calls them."""

import csv
import json
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from fundusion.cli import app

run = CliRunner().invoke


@pytest.fixture(scope="module")
def analyzed(cohort, tiny_model, tmp_path_factory):
    out = tmp_path_factory.mktemp("analyzed") / "out"
    result = run(app, ["analyze", str(cohort), "-o", str(out), "--model", str(tiny_model), "--workers", "0"])
    return result, out


def test_files_and_counts(analyzed, cohort):
    result, out = analyzed
    assert result.exit_code in (0, 3), result.output
    rows = [json.loads(line) for line in (out / "results.jsonl").open()]
    with cohort.open() as stream:
        listed = [r["study_id"] for r in csv.DictReader(stream)]
    assert [r["study_id"] for r in rows] == listed
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert counts["ok"] + counts["rejected"] + counts["pending"] == counts["total"] == len(listed)
    assert counts["ok"] == sum(r["status"] == "ok" for r in rows) > 0
    assert len(list((out / "reports").glob("*.html"))) == len(listed)
    assert result.exit_code == (3 if counts["rejected"] else 0)
    assert "index.html" in result.output
    assert "Not a medical device" in result.output


def test_the_same_command_again_is_quick_and_changes_nothing(analyzed, cohort, tiny_model):
    _, out = analyzed
    before = (out / "results.jsonl").read_bytes()
    again = run(app, ["analyze", str(cohort), "-o", str(out), "--model", str(tiny_model), "--workers", "0"])
    assert again.exit_code in (0, 3)
    assert (out / "results.jsonl").read_bytes() == before
    other = run(app, ["analyze", str(cohort), "-o", str(out), "--model", str(tiny_model), "--explain", "none"])
    assert other.exit_code == 4
    assert "run.other_config" in other.output


def test_files_of_every_kind_in_one_call(cohort, tiny_model, tmp_path):
    pictures = sorted((cohort.parent / "images").rglob("*cfp*.png")) or sorted(
        (cohort.parent / "images").rglob("*.png")
    )
    good, bad = tmp_path / "eye_left.png", tmp_path / "page.jpg"
    shutil.copyfile(pictures[0], good)
    bad.write_text("<html>404</html>")
    out = tmp_path / "out"
    result = run(
        app,
        ["analyze", str(good), str(bad), "-o", str(out), "--model", str(tiny_model), "--no-report", "--workers", "0"],
    )
    assert result.exit_code == 3, result.output
    rows = {r["study_id"]: r for r in map(json.loads, (out / "results.jsonl").open())}
    assert rows["page"]["code"] == "image.not_an_image"
    assert rows["page"]["hint"]
    assert [r["laterality"] for n, r in rows.items() if n.startswith("eye")] == ["OS"]
    assert not (out / "reports").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere.jpg"], 4, "input.missing"),
        (["."], 4, "input.empty"),
        ([".", "--explain", "all"], 2, "config.explain"),
        ([".", "--batch-size", "0"], 2, "batch-size"),
        ([], 2, "Missing argument"),
    ],
)
def test_wrong_calls_say_what_is_wrong(tmp_path, monkeypatch, arguments, code, words):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    result = run(app, ["analyze", *arguments, "--out", str(tmp_path / "o")])
    assert result.exit_code == code, result.output
    assert words in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "o" / "results.jsonl").exists()


def test_a_model_that_does_not_exist_is_refused_before_work(cohort, tmp_path):
    result = run(app, ["analyze", str(cohort), "-o", str(tmp_path / "o"), "--model", "scren"])
    assert result.exit_code == 4
    assert "screen" in result.output


def test_demo_on_drawn_eyes_works_offline_with_the_shipped_model(tmp_path):
    command = [sys.executable, "-m", "fundusion", "demo", "--count", "2", "--out", "d", "--data", "nothing"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Drawn eyes" in done.stdout
    assert str(tmp_path / "d" / "index.html") in done.stdout
    assert (tmp_path / "d" / "index.html").is_file()
