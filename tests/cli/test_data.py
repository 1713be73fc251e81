"""`draw`."""

import pytest
from typer.testing import CliRunner

from fundusion.cli import app

run = CliRunner().invoke


@pytest.mark.parametrize("arguments", [["--count", "0"], ["--modalities", "xray"], ["--size", "8"]])
def test_draw_refuses_what_cannot_be_drawn(tmp_path, arguments):
    result = run(app, ["draw", "--out", str(tmp_path / "d"), *arguments])
    assert result.exit_code in (2, 4)
    assert "Traceback" not in result.output
