"""The guide on generators says what is true: its commands and its code run, its names exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.core.registry import models
from fundusion.narrative.instructions import KINDS

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "guides" / "generators.md").read_text("utf-8")


def test_the_commands_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = []
    for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.S):
        for line in block.splitlines():
            done = CliRunner().invoke(app, shlex.split(line)[1:])
            # A drawn eye may be refused by the gate; that is an answer too.
            assert done.exit_code in (0, 3), f"{line}\n{done.output}"
            ran.append(shlex.split(line)[1])
    assert {"draw", "instruct-data", "pretrain", "describe", "ask", "recommend", "adapt"} == set(ran)
    assert Path("tuned/adapter.safetensors").is_file()
    assert Path("queries/model").is_dir()


def test_commands_that_need_a_download_have_options_that_exist():
    for block in re.findall(r"```console\n(.*?)```", GUIDE, re.S):
        for line in block.splitlines():
            words = shlex.split(line)[1:]
            help_text = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "300"}).output
            for option in (w for w in words if w.startswith("--")):
                assert option in help_text, line


def test_the_code_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    exec(compile(code, "guide", "exec"), {})
    said = capsys.readouterr().out
    assert "The right eye shows signs of cataract." in said
    assert "healthy" not in said
    assert "Signs of cataract (probability 93 %)." in said


def test_names_and_kinds_exist():
    named = set(re.findall(r"`((?:blip2?|instructblip|llava|qwen2_5_vl|deepdr_llm|eyefm_copilot)\.\w+)`", GUIDE))
    # The small captioner has a page of its own.
    assert named >= {
        n for n in models.names()
        if "generate" in models.card(n).roles and not n.endswith(".test") and not n.startswith("captioner.")
    }  # fmt: skip
    assert named <= set(models.names())
    rows = re.search(r"\| kind \| from \|\n\|---\|---\|\n(.*?)\n\n", GUIDE, re.S)[1]
    assert set(re.findall(r"`(\w+)`", "".join(r.split("|")[1] for r in rows.splitlines()))) == set(KINDS)


@pytest.mark.parametrize("name", ["describe-ask-recommend.md"])
def test_links_lead_somewhere(name):
    assert (ROOT / "docs" / "guides" / name).is_file()
    assert "## Check a text of another generator" in (ROOT / "docs" / "guides" / name).read_text("utf-8")
