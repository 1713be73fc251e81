"""The commands and the code of the guide run as they stand, without a network."""

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from fundusion.cli import app
from fundusion.train.config import parse_as
from fundusion.train.pair_config import PairConfig

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "guides" / "train-image-and-text.md").read_text("utf-8")


def test_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = [line for block in re.findall(r"```sh\n(.*?)```", GUIDE, re.S) for line in block.splitlines() if line]
    assert len(commands) == 2
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "fundusion"
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, f"{command}\n{done.output}"
    for name in ("words/encoder.json", "words/encoder.safetensors", "words/metrics.csv", "words/rejected.json"):
        assert (tmp_path / name).is_file(), name
    first, second = re.findall(r"```python\n(.*?)```", GUIDE, re.S)
    names = {}
    exec(compile(first, "guide", "exec"), names)
    assert names["result"].epochs == 1
    exec(compile(second, "guide", "exec"), names)
    assert names["network"].modalities == ("cfp",)
    assert names["texts"].shape[0] == 2


def test_the_piece_of_the_recipe_is_one():
    import tomllib

    (piece,) = re.findall(r"```toml\n(.*?)```", GUIDE, re.S)
    recipe = tomllib.loads((Path(__file__).resolve().parents[2] / "recipes" / "image_text.toml").read_text("utf-8"))
    given = tomllib.loads(piece)
    parse_as(PairConfig, given)
    for key, value in given.items():
        if isinstance(value, dict):
            assert value.items() <= recipe[key].items()
        else:
            assert recipe[key] == value
