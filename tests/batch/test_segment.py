"""Masks of many pictures: every study ends ok or rejected, and a run that was killed does nothing twice."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from fundusion.batch import segment as module
from fundusion.batch.segment import segment_all
from fundusion.core.errors import InvalidInput
from fundusion.core.registry import models
from fundusion.datasets.folder import discover
from fundusion.prompting import Prompted
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
        for structure in ("artery", "vein", "artery_vein", "overlay", "artery_probability"):
            with Pillow.open(out / structure / f"{row['name']}.png") as picture:
                assert picture.size == (140, 120)
        mask = np.asarray(Pillow.open(out / "artery" / f"{row['name']}.png"))
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
    next((out / "vein").glob("*.png")).unlink()
    segment_all(records, out, segmenters, flips=1)
    assert len(calls) == 4


def test_identifiers_with_odd_characters_never_share_a_file():
    names = [module._safe(n) for n in ("a/b", "a\\b", "a b", "../x", "a_b")]
    assert len(set(names)) == 5
    assert all("/" not in n and not n.startswith(".") for n in names)
    assert module._safe("a_b") == "a_b"


def test_a_structure_without_detection_has_a_reason_and_no_mask(folder, segmenters, tmp_path):
    class Never(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(1))

        def segment(self, images, prompts=None):
            found = torch.full((1, 2, *images.shape[2:]), -9.0) * self.scale
            # Of the disc there is a square, of the exudates nothing.
            found[:, 0, 20:40, 60:80] = 9.0
            return found

    own = Segmenter(name="own", model=Never(), classes=("disc", "EX"), field_px=96, thresholds={"disc": 0.5, "EX": 0.5})
    prompted = Prompted(name="sam.test", models={"*": models.create("sam.test").eval()})
    records = list(discover([folder / "a.png"]))
    rows = segment_all(records, tmp_path / "out", [own], prompted=prompted, flips=1, probabilities=True)
    assert rows[0].status == "ok"
    assert set(rows[0].areas_px) == {"disc"}
    assert "no box to prompt with" in rows[0].skipped["EX"]
    assert rows[0].message.startswith("EX: ")
    assert (tmp_path / "out" / "disc").is_dir()
    assert not (tmp_path / "out" / "EX").exists()
    assert not (tmp_path / "out" / "EX_probability").exists()
    with (tmp_path / "out" / "segments.csv").open() as stream:
        assert next(csv.DictReader(stream))["EX_px"] == ""
    # Without prompts the same finding is a mask of its own: empty, and said to be of our segmenter.
    plain = segment_all(records, tmp_path / "plain", [own], flips=1)
    assert plain[0].areas_px["EX"] == 0
    again = segment_all(records, tmp_path / "out", [own], prompted=prompted, flips=1, probabilities=True)
    assert [(r.key, r.skipped, r.areas_px) for r in again] == [(r.key, r.skipped, r.areas_px) for r in rows]


def test_a_segmenter_of_another_kind_of_picture_is_refused_before_anything_is_written(folder, segmenters, tmp_path):
    of_angiograms = [replace(segmenters[0], facts={"modality": "ffa"})]
    with pytest.raises(InvalidInput, match="of ffa pictures, not of cfp") as caught:
        segment_all(list(discover([folder])), tmp_path / "out", of_angiograms, flips=1)
    assert caught.value.code == "segmenter.modality"
    assert "--modality ffa" in caught.value.hint
    assert not (tmp_path / "out").exists()
    rows = segment_all(
        list(discover([folder], modality="ffa")), tmp_path / "ffa", of_angiograms, flips=1, modality="ffa"
    )
    assert "ok" in {r.status for r in rows}


def test_what_a_segmenter_says_of_its_masks_stands_in_the_rows_and_beside_them(folder, segmenters, tmp_path):
    out = tmp_path / "out"
    records = list(discover([folder]))
    plain = segment_all(records, out, segmenters, flips=1)
    assert all(r.unproven is None for r in plain)
    assert not list(out.rglob("unproven.json"))
    doubtful = [replace(segmenters[0], facts={"unproven": {"vein": "Too wide elsewhere."}})]
    # The masks are the same and are not made again; the word on them is new.
    rows = segment_all(records, out, doubtful, flips=1)
    assert [r.unproven for r in rows if r.status == "ok"] == [{"vein": "Too wide elsewhere."}] * 2
    assert [r.unproven for r in rows if r.status == "rejected"] == [None]
    assert [p.parent.name for p in out.rglob("unproven.json")] == ["vein"]
    with (out / "segments.csv").open() as stream:
        assert [r["unproven"] for r in csv.DictReader(stream) if r["status"] == "ok"] == ["vein", "vein"]
    lines = [json.loads(x) for x in (out / "segments.jsonl").read_text().splitlines()]
    assert {r["study_id"]: r["unproven"] for r in lines if r["status"] == "ok"} == {
        r.study_id: r.unproven for r in rows if r.status == "ok"
    }
    segment_all(records, out, segmenters, flips=1)
    assert not list(out.rglob("unproven.json"))
