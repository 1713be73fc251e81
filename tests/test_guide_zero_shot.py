"""The guide on questions in words says what is true: its commands and its code run, in order, in a folder of their own."""

import re
import shlex
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.knowledge import Knowledge

GUIDE = (Path(__file__).resolve().parent.parent / "docs" / "guides" / "zero-shot.md").read_text("utf-8")
#: Drawn eyes are all gradable unless a seed spoils some; a rejected one is no failure of a command.
FINE = (0, 3)


def commands(text):
    for block in re.findall(r"```sh\n(.*?)```", text, re.S):
        yield from (line for line in block.splitlines() if line.startswith("fundusion "))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("guide")


def test_code_and_commands_run_in_order(place, monkeypatch):
    monkeypatch.chdir(place)
    names = {}
    with torch.random.fork_rng(devices=[]):
        for code in re.findall(r"```python\n(.*?)```", GUIDE, re.S):
            exec(compile(code, "zero-shot.md", "exec"), names)
    assert names["known"].find("软性渗出").id == "cotton_wool_spot"
    assert names["p"].shape == (40, 5)
    ran = []
    for line in commands(GUIDE):
        done = CliRunner().invoke(app, shlex.split(line)[1:])
        assert done.exit_code in FINE, f"{line}\n{done.output}"
        ran.append(shlex.split(line)[1])
    assert {"draw", "zeroshot", "ground", "adapt", "knowledge"} <= set(ran)
    for wanted in (
        "asked/summary.csv",
        "graded/calibration.json",
        "again/results.jsonl",
        "exudates.png",
        "adapted/index.html",
        "mine.toml",
    ):
        assert (place / wanted).is_file(), wanted
    # The calibration that was fitted is the one that was used again.
    assert (place / "graded" / "calibration.json").read_text() == (place / "again" / "calibration.json").read_text()


def test_numbers_and_names_of_the_guide_are_those_of_the_package():
    known = Knowledge.read()
    assert f"{len(known)} findings" in GUIDE
    row = next(line for line in GUIDE.splitlines() if line.startswith("| a set |"))
    assert set(re.findall(r"`(?:--set )?(\w+)`", row)) == set(known.sets)
    every = {name.name or name.callback.__name__ for name in app.registered_commands}
    assert {line.split()[1] for line in commands(GUIDE)} <= every
    # Options that stand in tables exist too.
    text = " ".join(
        CliRunner().invoke(app, [c, "--help"], terminal_width=300).output
        for c in ("zeroshot", "adapt", "ground", "knowledge")
    )
    for option in set(re.findall(r"`(--[a-z-]+)", GUIDE)):
        assert option in text, option
