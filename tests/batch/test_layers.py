"""Many OCT scans: every one ends ok or rejected, and what a person states never overrules a file."""

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from fundusion.batch import layers as module
from fundusion.batch.layers import measure_scans
from fundusion.biomarkers.oct_layers import SURFACES
from fundusion.core.study import Image
from fundusion.core.vocabulary import Laterality
from fundusion.segmenting import Segmenter


class Even(torch.nn.Module):
    """Finds eight level surfaces in anything that is not black."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def segment(self, images, prompts=None):
        rows = torch.arange(images.shape[2], dtype=torch.float32)[None, None, :, None].expand(1, 1, -1, images.shape[3])
        lit = (images.amax() > 0.1).float()
        below = [(rows - 15.5 - 4 * k) * 20 * lit - 60 * (1 - lit) for k in range(len(SURFACES))]
        return self.scale * torch.cat([*below, torch.full_like(rows, -40.0)], 1)


@pytest.fixture
def segmenter():
    classes = (*SURFACES, "fluid")
    return Segmenter(
        name="even", model=Even(), classes=classes, field_px=64, thresholds=dict.fromkeys(classes, 0.5),
        facts={"surfaces": list(SURFACES)},
    )  # fmt: skip


def test_every_scan_has_a_row(segmenter, tmp_path):
    for name, level in (("a b.png", 90), ("black.png", 0)):
        Pillow.fromarray(np.full((64, 64), level, np.uint8)).save(tmp_path / name)
    rows = measure_scans(
        [tmp_path / "a b.png", tmp_path / "black.png", tmp_path / "none.png"],
        tmp_path / "out",
        segmenter,
        spacing_um=(4.0, 12.0),
    )
    assert [r.status for r in rows] == ["ok", "rejected", "rejected"]
    assert rows[1].code == "oct.not_found"
    values = {(m.name, m.region): m for m in rows[0].measurements}
    assert values["retina_thickness", "scan"].value == pytest.approx(28 * 4)
    assert values["fluid_area", "scan"].value == 0
    assert (tmp_path / "out/overlay/a_b.png").is_file()
    assert len((tmp_path / "out/scans.csv").read_text().splitlines()) == 4
    twice = measure_scans([tmp_path / "a b.png"] * 2, tmp_path / "out", segmenter)
    assert [r.name for r in twice] == ["a_b", "a_b-2"]


@pytest.mark.parametrize(
    ("stated", "code"),
    [
        ({"spacing_um": (4.0, 13.0)}, "spacing.conflict"),
        ({"spacing_um": (1.0, 4.0, 12.0)}, "config.invalid"),
        ({"laterality": Laterality.LEFT}, "laterality.conflict"),
    ],
)
def test_a_file_that_says_otherwise_is_not_overruled(segmenter, tmp_path, monkeypatch, stated, code):
    image = Image(
        pixels=np.full((64, 64, 1), 90, np.uint8), modality="oct", spacing_um=(4.0, 12.0), laterality=Laterality.RIGHT
    )
    monkeypatch.setattr(module, "read_images", lambda *a, **k: [image])
    assert measure_scans(["x"], tmp_path, segmenter, **stated)[0].code == code
    monkeypatch.setattr(module, "read_images", lambda *a, **k: [image, image])
    assert measure_scans(["x"], tmp_path, segmenter)[0].code == "file.several"
