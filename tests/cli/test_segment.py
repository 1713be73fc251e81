"""`segment` and `train-segmenter` as a user calls them."""

import pytest
from typer.testing import CliRunner

from fundusion.cli import app

RUN = CliRunner()
RECIPE = """
classes = ["vessel"]
options = { width = 4, levels = 2 }
sets = [{ name = "hrf", root = "hrf" }]
field_px = 64
patch_px = 32
patches = 2

[train]
epochs = 1
batch_size = 2
warmup_steps = 1
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory, draw_vessels):
    root = tmp_path_factory.mktemp("data")
    for number in range(1, 5):
        draw_vessels(root / "hrf", number)
    (root / "r.toml").write_text(RECIPE)
    return root


def test_train_then_segment(data, tmp_path):
    run = tmp_path / "run"
    done = RUN.invoke(app, ["train-segmenter", str(data / "r.toml"), "--data", str(data), "--out", str(run)])
    assert done.exit_code == 0, done.output
    done = RUN.invoke(app, ["segment", str(data / "hrf/images"), "--model", str(run), "--out", str(tmp_path / "masks")])
    assert done.exit_code == 0, done.output
    assert "4 studies: 4 ok, 0 rejected, 0 pending" in done.output
    assert len(list((tmp_path / "masks").glob("*/overlay.png"))) == 4


def test_errors_are_for_people(data, tmp_path):
    for arguments, words in (
        (["segment", str(data / "absent"), "--out", str(tmp_path)], "does not exist"),
        (["segment", str(data), "--model", "nothing", "--out", str(tmp_path)], "no segmenter is called"),
        (["train-segmenter", str(tmp_path / "none.toml"), "--out", str(tmp_path)], "no recipe"),
    ):
        done = RUN.invoke(app, arguments)
        assert done.exit_code in (2, 4), done.output
        assert words in done.output
        assert "Traceback" not in done.output
