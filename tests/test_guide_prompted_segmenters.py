"""The guide on prompts says what is true: its code runs, in order, and the names in it exist."""

import re
from pathlib import Path

import numpy as np
import torch

from fundusion.core.registry import models, objectives

GUIDE = (Path(__file__).resolve().parent.parent / "docs" / "guides" / "prompted-segmenters.md").read_text("utf-8")


def test_the_code_runs_in_order():
    names = {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for code in re.findall(r"```python\n(.*?)```", GUIDE, re.S):
            exec(compile(code, "prompted-segmenters.md", "exec"), names)
    assert names["mask"].shape == names["other"].shape == (1, 1, 96, 128)
    assert names["answer"].scores.shape == (1, 1)
    assert len(names["spare"]) == 7
    assert set(names["refined"].boxes) == {"disc"}
    assert np.isfinite(names["refined"].masks.probabilities["disc"]).all()


def test_names_in_the_guide_are_registered():
    known = {*models.names(), *objectives.names()}
    found = set(re.findall(r"`((?:sam|medsam|medsegx|promptable)\.\w+)`", GUIDE))
    assert len(found) >= 10
    assert found <= known
