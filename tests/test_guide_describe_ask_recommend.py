"""The guide on describe, ask and recommend says what is true: its commands and its code run, its tables are those of the package."""

import json
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.narrative.checker import KINDS
from fundusion.narrative.questions import MAX_QUESTION

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "guides" / "describe-ask-recommend.md").read_text("utf-8")
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "narrative_safety.json").read_text("utf-8"))


def test_the_commands_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = []
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.S):
        for line in block.splitlines():
            done = CliRunner().invoke(app, shlex.split(line)[1:])
            # A drawn eye may be refused by the gate; that is an answer too.
            assert done.exit_code in (0, 3), f"{line}\n{done.output}"
            ran.append(shlex.split(line)[1])
    assert set(ran) == {"draw", "describe", "recommend", "ask"}
    assert len(json.loads(Path("told.json").read_text("utf-8"))) == 4
    assert len(json.loads(Path("advice.json").read_text("utf-8"))) == 4


def test_the_code_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    exec(compile(code, "guide", "exec"), {})
    said = capsys.readouterr().out
    assert "The right eye shows signs of cataract." in said
    assert "{'wrong_eye': 1}" in said


def test_tables_are_those_of_the_package():
    assert tuple(re.findall(r"^\| `(\w+)` \|", GUIDE, re.M)) == KINDS
    assert f"{MAX_QUESTION:,} characters" in GUIDE
    rules = tomllib.loads((ROOT / "src/fundusion/narrative/recommendations.toml").read_text("utf-8"))["rules"]
    rows = re.findall(r"^\| (\d)[ a-z]* \| (yes|no)[^|]* \| ([^|]*) \| ([^|]*) \|$", GUIDE, re.M)
    assert len(rows) == 5
    for grade, referral, high, low in rows:
        rule = rules[f"icdr_{grade}"]
        assert (referral == "yes") == rule["referral"]
        for words, months in ((high, rule["months"]), (low, rule["months_low"])):
            assert [int(n) for n in re.findall(r"\d+", words)] == [m for m in months if m]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_numbers_are_those_that_were_measured(language):
    row = next(line for line in GUIDE.splitlines() if line.startswith({"en": "| English", "zh": "| Chinese"}[language]))
    found = RESULTS[language]
    cells = [c.strip() for c in row.split("|")[2:-1]]
    expected = [found["before"]["contradictions"], found["after"]["contradictions"], found["after"]["invented_numbers"],
                found["reports_with_a_survivor"] / found["reports"], found["true_sentences_kept"]]  # fmt: skip
    assert cells == [f"{100 * value:.1f} %" for value in expected]
    assert RESULTS["reports"] == 2000
    assert set(found["caught"].values()) == {1.0}
