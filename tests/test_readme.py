"""The README says what is true: its example runs, its commands and components exist."""

import re
from pathlib import Path

import pytest

from fundusion.cli import app
from fundusion.core.registry import fusions, models

README = (Path(__file__).resolve().parent.parent / "README.md").read_text("utf-8")


def test_the_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) == 2
    names = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert (tmp_path / "report.html").stat().st_size > 10_000
    assert set(names["network"].modalities) == {"cfp", "oct", "text", "table"}


def test_every_command_is_shown_and_every_shown_command_exists():
    commands = {c.name or c.callback.__name__ for c in app.registered_commands}
    commands |= {g.typer_instance.info.name for g in app.registered_groups}
    shown = set(re.findall(r"^fundusion ([\w-]+)", README, re.M))
    assert shown <= commands
    assert commands - shown == {"demo"}


@pytest.mark.parametrize("family", sorted({n.partition(".")[0] for n in (*models.names(), *fusions.names())}))
def test_every_family_is_listed(family):
    assert f"`{family}`" in README


def test_linked_files_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (Path(__file__).resolve().parent.parent / target).exists(), target
