"""`measure`."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fundusion.cli import app

run = CliRunner().invoke


@pytest.fixture
def masks(tmp_path):
    folder = tmp_path / "masks"
    folder.mkdir()
    mask = np.zeros((120, 120), np.uint8)
    mask[58:63, 5:115] = 255
    Image.fromarray(mask).save(folder / "eye.png")
    return folder


def test_a_folder_becomes_tables_and_pictures(masks, tmp_path):
    out = tmp_path / "out"
    result = run(app, ["measure", str(masks), "--out", str(out), "--pictures", "--spacing-um", "10"])
    assert result.exit_code == 0, result.output
    assert "1 measured, 0 rejected, 0 pending" in result.output
    assert (out / "measurements.csv").is_file()
    assert len(list((out / "pictures").glob("*.png"))) == 1
    again = run(app, ["measure", str(masks), "--out", str(out), "--pictures", "--spacing-um", "10", "--no-resume"])
    assert again.exit_code == 4
    assert "run.exists" in again.output


def test_a_rejected_mask_is_counted_by_its_reason(masks, tmp_path):
    Image.fromarray(np.zeros((30, 30), np.uint8)).save(masks / "dark.png")
    result = run(app, ["measure", str(masks), "--out", str(tmp_path / "out"), "--format", "json"])
    assert result.exit_code == 3
    assert "mask.empty" in result.output


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--labels", "artery=x"], 2), (["--labels", "disc=1"], 2), (["--lesion", "EX"], 2), (["--lesion", "disc=a"], 2),
        (["--green", "blue"], 2), (["--disc", "nowhere"], 4), (["--format", "xls"], 2), (["--facts", "nowhere.csv"], 4),
    ],
)  # fmt: skip
def test_wrong_options_are_told_without_a_trace(masks, tmp_path, arguments, code):
    result = run(app, ["measure", str(masks), "--out", str(tmp_path / "out"), *arguments])
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert "error [" in result.output


def test_help_has_examples():
    result = run(app, ["measure", "--help"])
    assert result.exit_code == 0
    assert "Examples" in result.output
