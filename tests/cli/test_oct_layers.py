"""`oct-layers` refuses what cannot be meant, in words for people."""

import pytest
from typer.testing import CliRunner

from fundusion.cli import app

RUN = CliRunner()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--spacing-um", "3"], "2 or 3 numbers"),
        (["--fovea", "x,1"], "2 numbers"),
        (["--model", "nothing"], "no segmenter is called"),
        (["--model", "disc_cup"], "does not draw layers"),
    ],
)
def test_what_cannot_be_meant(options, words, tmp_path):
    from PIL import Image as Pillow

    Pillow.new("L", (64, 64), 90).save(tmp_path / "scan.png")
    arguments = [
        "oct-layers",
        str(tmp_path / "scan.png"),
        "--model",
        "vessels",
        "--out",
        str(tmp_path / "out"),
        *options,
    ]
    done = RUN.invoke(app, arguments)
    assert done.exit_code != 0
    assert words in " ".join(done.output.split())
    assert "Traceback" not in done.output
