"""Fixtures: real data and golden outputs where they exist, generators, drawn studies. Nothing here needs a network."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
# The same examples in every run, and no clock on a busy machine; `make test-all` looks for new ones.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("searching", deadline=None)
settings.load_profile("repeatable")


def _shared(variable: str, folder: str) -> Path:
    return Path(os.environ.get(variable) or ROOT.parent / "shared" / folder)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder of real labelled images."""
    root = _shared("FUNDUSION_DATA", "data")
    if not root.is_dir():
        pytest.skip(f"no real images: FUNDUSION_DATA is not set and {root.parent.name}/{root.name} does not exist")
    return root


@pytest.fixture(scope="session")
def golden_root() -> Path:
    """Folder of outputs of official implementations."""
    root = _shared("FUNDUSION_GOLDEN", "golden")
    if not root.is_dir():
        pytest.skip(f"no golden outputs: FUNDUSION_GOLDEN is not set and {root.parent.name}/{root.name} does not exist")
    return root


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(20240607)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> Path:
    """Manifest of 24 drawn eyes with photograph, B-scan, table and report; read only."""
    from fundusion.datasets.synthetic import write_cohort

    return write_cohort(
        tmp_path_factory.mktemp("cohort"), 24, seed=3, size=128, modalities=("cfp", "oct", "text", "table")
    )


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """Folder of a small untrained network on photograph and table; it answers only with a photograph."""
    from fundusion.core.table import TableSchema
    from fundusion.core.tasks import STANDARD_TASKS
    from fundusion.network import build_network

    rows = [{"age": 40, "sex": "female"}, {"age": 70, "sex": "male"}, {"age": 55, "sex": "male"}]
    network = build_network(
        {"cfp": "contrast_resnet.test", "table": "tabular.test"},
        "gated",
        {n: STANDARD_TASKS[n] for n in ("dr_grade", "disease", "gradable")},
        table=TableSchema.fit(rows),
        embed_dim=8,
        seed=5,
    )
    folder = tmp_path_factory.mktemp("model")
    network.save(folder, extra={"required": ["cfp"], "card": {"title": "Tiny", "terms": "tests"}})
    return folder


@pytest.fixture(scope="session")
def draw_vessels():
    """Call with a folder and a number to add a picture with one artery and one vein, laid out as HRF."""
    import cv2
    from PIL import Image as Pillow

    def draw(folder: Path, number: int, *, vein: bool = True) -> None:
        rows, columns = np.mgrid[:120, :140]
        inside = (rows - 60) ** 2 + (columns - 70) ** 2 <= 55**2
        pixels = np.zeros((120, 140, 3), np.uint8)
        pixels[inside] = (180, 90, 40)
        artery, other = np.zeros((120, 140), np.uint8), np.zeros((120, 140), np.uint8)
        cv2.line(artery, (30, 40 + number), (110, 50), 255, 3)
        cv2.line(other, (30, 80), (110, 70 + number), 255, 4)
        pixels[artery > 0] = (150, 40, 20)
        pixels[other > 0] = (110, 20, 20)
        name = f"{number:02d}_h"
        for place in ("images", "manual1", "av"):
            (folder / place).mkdir(parents=True, exist_ok=True)
        Pillow.fromarray(pixels).save(folder / "images" / f"{name}.jpg", quality=95)
        Pillow.fromarray(np.maximum(artery, other)).save(folder / "manual1" / f"{name}.png")
        colours = np.stack([artery, np.zeros_like(artery), other], 2)
        colours[58:62, 65:75] = (0, 255, 0)
        if vein:
            Pillow.fromarray(colours).save(folder / "av" / f"{name}_AVmanual.png")

    return draw


@pytest.fixture(scope="session")
def drawn_photograph():
    """Call for a drawn right eye of 720 px with vessels, disc, cup and exudates whose colours tell what they are."""
    import cv2

    def draw() -> np.ndarray:
        rows, columns = np.mgrid[:720, :760]
        inside = (rows - 360) ** 2 + (columns - 380) ** 2 <= 350**2
        pixels = np.zeros((720, 760, 3), np.uint8)
        pixels[inside] = (150, 80, 40)
        for turn in range(0, 360, 40):
            x, y = np.cos(np.radians(turn + 7)), np.sin(np.radians(turn + 7))
            along, across = (columns - 520) * x + (rows - 360) * y, (columns - 520) * y - (rows - 360) * x
            # Eight pixels wide.
            pixels[(along > 0) & (along < 400) & (np.abs(across) <= 4)] = (100, 20, 20)
        cv2.circle(pixels, (520, 360), 50, (250, 200, 100), -1)
        cv2.circle(pixels, (520, 360), 25, (255, 250, 230), -1)
        # Two exudates, one reflex at the rim, one speck.
        for center, radius in (((300, 300), 9), ((260, 420), 7), ((32, 360), 6), ((380, 600), 0)):
            cv2.circle(pixels, center, radius, (250, 235, 40), -1)
        pixels[~inside] = 0
        return pixels

    return draw


@pytest.fixture
def color_segmenter(tmp_path_factory, monkeypatch):
    """Call with a scale for the name of a segmenter that goes by the colours of `drawn_photograph`; `kinds` calls dark vessels veins."""
    import json

    import torch

    from fundusion import measuring
    from fundusion.segmenting import Segmenter

    class Colors(torch.nn.Module):
        def __init__(self, kinds: bool) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(60.0))
            self.kinds = kinds

        def segment(self, images, prompts=None):
            red, green, blue = images[:, :1], images[:, 1:2], images[:, 2:3]
            if self.kinds:
                vessel = 0.2 - green
                return self.scale * torch.cat([torch.minimum(vessel, red - 0.31), torch.minimum(vessel, 0.31 - red)], 1)
            return self.scale * torch.cat([0.2 - green, blue - 0.3, blue - 0.65, green - 0.86], 1)

    made: dict[str, Segmenter] = {}
    folders: dict[str, str] = {}

    def make(field_px: int = 256, *, kinds: bool = False) -> str:
        name = f"{'kinds' if kinds else 'colors'}_{field_px}"
        if name in folders:
            return folders[name]
        folder = tmp_path_factory.mktemp("segmenter") / name
        folder.mkdir()
        folders[name] = str(folder)
        classes = ("artery", "vein") if kinds else ("vessel", "disc", "cup", "EX")
        facts = {"classes": classes, "field_px": field_px, "thresholds": dict.fromkeys(classes, 0.5), "sha256": f"{field_px:064d}",
                 "inside": {} if kinds else {"cup": "disc"}, "terms": "tests"}  # fmt: skip
        (folder / "segmenter.json").write_text(json.dumps(facts))
        made[str(folder)] = Segmenter(
            name="colors", model=Colors(kinds).eval(), classes=classes, field_px=field_px, thresholds=facts["thresholds"],
            inside=facts["inside"], sha256=facts["sha256"], facts=facts,
        )  # fmt: skip
        return str(folder)

    monkeypatch.setattr(measuring, "_loaded", lambda name, device: made[name])
    return make
