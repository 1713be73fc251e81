"""Masks of many pictures: every study ends ok or rejected, and a run that was killed does nothing twice."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from fundusion.batch import segment as module
from fundusion.batch.segment import segment_all
from fundusion.core.registry import models
from fundusion.datasets.folder import discover
from fundusion.segmenting import Segmenter


@pytest.fixture(scope="module")
def segmenters():
    torch.manual_seed(0)
    model = models.create("unet.small", classes=("artery", "vein"), width=4, levels=2).eval()
    return [
        Segmenter(
            name="av", model=model, classes=("artery", "vein"), field_px=64, thresholds={"artery": 0.5, "vein": 0.5}
        )
    ]


@pytest.fixture
def folder(tmp_path, generator):
    rows, columns = np.mgrid[:120, :140]
    for name in ("a.png", "b c.png"):
        pixels = generator.integers(60, 90, (120, 140, 3)).astype(np.uint8)
        pixels[(rows - 60) ** 2 + (columns - 70) ** 2 > 55**2] = 0
        Pillow.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:900])
    return tmp_path


def test_every_study_has_a_row_and_masks_of_its_size(folder, segmenters, tmp_path):
    out = tmp_path / "out"
    rows = segment_all(list(discover([folder])), out, segmenters, probabilities=True)
    assert sorted(r.status for r in rows) == ["ok", "ok", "rejected"]
    bad = next(r for r in rows if r.status == "rejected")
    assert bad.code in ("image.truncated", "image.corrupt")
    with (out / "segments.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [r["status"] for r in table].count("ok") == 2
    for row in (r for r in table if r["status"] == "ok"):
        place = out / row["folder"]
        for name in ("artery", "vein", "artery_vein", "overlay", "artery_probability"):
            with Pillow.open(place / f"{name}.png") as picture:
                assert picture.size == (140, 120)
        mask = np.asarray(Pillow.open(place / "artery.png"))
        assert set(np.unique(mask)) <= {0, 255}
        assert int((mask > 0).sum()) == int(row["artery_px"])


def test_a_second_run_does_only_what_is_new(folder, segmenters, tmp_path, monkeypatch):
    out = tmp_path / "out"
    records = list(discover([folder]))
    segment_all(records[:1], out, segmenters)
    # A kill may cut the last line.
    with (out / "segments.jsonl").open("a") as stream:
        stream.write('{"study_id": "b')
    calls = []
    real = module.segment_image
    monkeypatch.setattr(module, "segment_image", lambda *a, **k: calls.append(1) or real(*a, **k))
    segment_all(records, out, segmenters)
    assert len(calls) == 1
    assert all(json.loads(x) for x in (out / "segments.jsonl").read_text().splitlines() if x.endswith("}"))
    segment_all(records, out, segmenters, flips=1)
    assert len(calls) == 3


def test_identifiers_with_odd_characters_never_share_a_folder():
    names = [module._safe(n) for n in ("a/b", "a\\b", "a b", "../x", "a_b")]
    assert len(set(names)) == 5
    assert all("/" not in n and not n.startswith(".") for n in names)
    assert module._safe("a_b") == "a_b"
