"""The page on the captioner gives the numbers that were measured, and its commands exist."""

import json
import re
from pathlib import Path

from fundusion.cli import app

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "guides" / "captioner.md").read_text("utf-8")
CARD = (ROOT / "src/fundusion/shipped/captioner/CARD.md").read_text("utf-8")
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "captioner.json").read_text("utf-8"))
FACTS = json.loads((ROOT / "src/fundusion/shipped/captioner/captioner.json").read_text("utf-8"))


def shown(estimate, sign=""):
    return f"{estimate['value']:{sign}.3f} ({estimate['low']:{sign}.3f} to {estimate['high']:{sign}.3f})"


def test_numbers_are_those_that_were_measured_on_these_weights():
    assert RESULTS["weights_sha256"] == FACTS["sha256"]
    found = RESULTS["odir"]
    for name in ("macro_f1", "macro_f1_usual_findings"):
        for estimate in found[name].values():
            assert shown(estimate) in GUIDE
        for estimate in found[f"{name}_gain_over"].values():
            assert shown(estimate, "+") in GUIDE
            assert shown(estimate, "+") in CARD
    for kind in ("modality", "laterality", "retinopathy"):
        answer = RESULTS["drawn"][kind]
        assert f"{answer['accuracy']:.3f} ({answer['low']:.3f} to {answer['high']:.3f})" in GUIDE
        assert f"{answer['accuracy']:.3f}" in CARD


def test_commands_exist():
    names = {c.name or c.callback.__name__ for c in app.registered_commands}
    assert set(re.findall(r"^fundusion ([\w-]+)", GUIDE, re.M)) <= names
