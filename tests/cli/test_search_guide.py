"""The commands and the code of the guide run as they stand, without a network."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.retrieval.changes import open_index
from fundusion.retrieval.index import counts_of

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "find-similar-eyes.md").read_text("utf-8")


def test_the_guide_runs(tmp_path, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.chdir(tmp_path)
    commands = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.S) for line in block.splitlines() if line]
    assert len(commands) == 15
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "fundusion"
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, f"{command}\n{done.output}"
    assert "data:image/jpeg" in Path("similar.html").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    names = {}
    exec(compile(code, "guide", "exec"), names)
    assert len(names["names"]) == 3
    with open_index("words.index") as index:
        counts = counts_of(index)
    # One eye of 46 is gone with its report.
    assert (counts["images"], counts["rejected"]) == (44, 0)
