"""The commands and the code of the guide run as they stand, without a network."""

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from fundusion.cli import app

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "pretrain-and-adapt.md").read_text("utf-8")


def test_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.S) for line in block.splitlines() if line]
    assert len(commands) == 5
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "fundusion"
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, f"{command}\n{done.output}"
    for name in ("run/encoder.json", "run/pictures/epoch-0003.png", "joint/encoder.safetensors", "adapted/index.html"):
        assert (tmp_path / name).is_file(), name
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    names = {}
    exec(compile(code, "guide", "exec"), names)
    assert names["network"].modalities == ("cfp", "oct", "ffa")
