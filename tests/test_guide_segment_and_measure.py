"""The guide on segmenting and measuring says what is true: its commands and options exist, its numbers are those of the code."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from fundusion import measuring, segmenting
from fundusion.biomarkers.eye import SURE, UNSURE
from fundusion.biomarkers.reference import BANDWIDTH, MIN_NEAR, MIN_PATIENTS
from fundusion.cli import app
from fundusion.transforms.squares import FRAME_PX

GUIDE = (Path(__file__).resolve().parent.parent / "docs" / "guides" / "segment-and-measure.md").read_text("utf-8")


def test_commands_and_options_exist():
    commands = get_command(app).commands
    lines = re.findall(r"^fundusion ([\w-]+)(.*)$", GUIDE, re.M)
    assert {name for name, _ in lines} >= {"segment", "measure", "analyze"}
    for name, rest in lines:
        known = {o for p in commands[name].params for o in (*p.opts, *p.secondary_opts)}
        assert set(re.findall(r"(?<!\S)--[\w-]+", rest)) <= known
    options = {
        o
        for n in ("measure", "analyze", "segment", "train-segmenter")
        for p in commands[n].params
        for o in (*p.opts, *p.secondary_opts)
    }
    for option in re.findall(r"`(--[\w-]+)", GUIDE):
        assert option in options


def test_numbers_are_those_of_the_code():
    assert f"brought to {FRAME_PX} px" in GUIDE
    assert segmenting.LEAST_SHARE == 0.5
    assert "less than half of those it was trained on" in GUIDE
    assert f"outer {measuring._RIM:.1%}".replace("%", " %") in GUIDE
    assert f"under {measuring._LEAST_PX} px" in GUIDE
    assert f"from {MIN_PATIENTS} patients on, and only at ages where {MIN_NEAR:.0f} are near" in GUIDE
    assert f"{BANDWIDTH:.0f} years, effective number" in GUIDE
    # "A fifth of the way up and down": from one half to 0.6 and 0.4.
    assert pytest.approx(0.2) == (0.5 - UNSURE) / 0.5
    assert pytest.approx(0.2) == (SURE - 0.5) / 0.5
