"""From a photograph to masks in its own pixels."""

import json

import numpy as np
import pytest
import torch

from fundusion import segmenting
from fundusion.core.errors import IncompatibleWeights, InvalidInput, UnknownName
from fundusion.core.registry import models
from fundusion.core.study import Image
from fundusion.layers.weights import digest, save_state
from fundusion.segmenting import (
    Segmenter,
    Tiles,
    largest_region,
    load_segmenter,
    masks_of,
    segment_image,
    square_probabilities,
    surest_region,
    whole_frame,
)


class Bright(torch.nn.Module):
    """Says that bright green is a disc and very bright green a cup."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(60.0))

    def segment(self, images, prompts=None):
        green = images[:, 1:2]
        return self.scale * torch.cat([green - 0.5, green - 0.8], 1)


@pytest.fixture
def segmenter(tmp_path):
    torch.manual_seed(0)
    classes = ["disc", "cup"]
    model = models.create("unet.small", classes=classes, width=4, levels=3)
    save_state(tmp_path / "segmenter.safetensors", model.state_dict())
    facts = {
        "model": "unet.small",
        "options": {"classes": classes, "width": 4, "levels": 3},
        "classes": classes,
        "field_px": 64,
        "thresholds": {"disc": 0.5, "cup": 0.5},
        "inside": {"cup": "disc"},
        "sha256": digest(tmp_path / "segmenter.safetensors"),
    }
    (tmp_path / "segmenter.json").write_text(json.dumps(facts))
    return load_segmenter(tmp_path)


def photograph(height=150, width=170):
    rows, columns = np.mgrid[:height, :width]
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[(rows - 75) ** 2 + (columns - 85) ** 2 <= 70**2] = (120, 60, 30)
    pixels[(rows - 75) ** 2 + (columns - 110) ** 2 <= 15**2] = (220, 170, 90)
    pixels[(rows - 75) ** 2 + (columns - 110) ** 2 <= 6**2] = (250, 240, 200)
    # A second, smaller bright spot is not the disc.
    pixels[(rows - 60) ** 2 + (columns - 50) ** 2 <= 4**2] = (220, 170, 90)
    return pixels


def test_masks_lie_where_the_structures_are_at_any_size(segmenter):
    object.__setattr__(segmenter, "model", Bright())
    found = segment_image(segmenter, photograph(), precision="fp32")
    rows, columns = np.mgrid[:150, :170]
    disc = (rows - 75) ** 2 + (columns - 110) ** 2 <= 15**2
    overlap = 2 * (found.masks["disc"] & disc).sum() / (found.masks["disc"].sum() + disc.sum())
    assert overlap > 0.93
    assert not found.masks["disc"][60, 50]
    assert found.masks["cup"].any()
    assert not (found.masks["cup"] & ~found.masks["disc"]).any()
    assert found.probabilities["disc"].shape == (150, 170)
    assert found.probabilities["disc"].dtype == np.float32
    assert found.probabilities["disc"][0, 0] == 0
    assert found.provenance["thresholds"] == {"disc": 0.5, "cup": 0.5}


def test_mirror_images_make_the_answer_mirror_with_the_picture(segmenter):
    square = photograph()[:128, :128]
    whole = square_probabilities(segmenter, square, precision="fp32")
    mirrored = square_probabilities(segmenter, square[:, ::-1], precision="fp32")
    np.testing.assert_allclose(whole, mirrored[:, :, ::-1], atol=1e-5)
    single = square_probabilities(segmenter, square, flips=1, precision="fp32")
    assert not np.allclose(whole, single)


@pytest.mark.parametrize(("precision", "most"), [("auto", 0.005), ("bf16", 0.05)])
def test_other_precisions_give_nearly_the_same(segmenter, precision, most):
    square = photograph()[:128, :128]
    exact = square_probabilities(segmenter, square, precision="fp32")
    assert np.abs(square_probabilities(segmenter, square, precision=precision) - exact).max() < most
    with pytest.raises(InvalidInput, match="precision"):
        square_probabilities(segmenter, square, precision="int3")


def test_the_faster_way_is_used_only_where_it_passes_its_check(segmenter, monkeypatch):
    assert segment_image(segmenter, photograph()).provenance["precision"] in ("fp16 fused", "fp32 fused")
    monkeypatch.setattr(segmenting, "agrees_with", lambda *a: False)
    segmenter._routes.clear()
    found = segment_image(segmenter, photograph())
    assert found.provenance["precision"] == "fp32"
    assert segment_image(segmenter, photograph(), precision="bf16").provenance["precision"] == "bf16"
    with pytest.raises(InvalidInput, match="float16 on this machine"):
        segment_image(segmenter, photograph(), precision="fp16")
    monkeypatch.undo()
    # Another network under the same name is checked anew.
    object.__setattr__(segmenter, "model", Bright())
    assert segment_image(segmenter, photograph()).provenance["precision"] == "fp32"


def test_a_processor_without_float16_takes_float32(segmenter, monkeypatch):
    monkeypatch.setattr(segmenting, "computes_in_float16", lambda: False)
    assert segment_image(segmenter, photograph()).provenance["precision"] == "fp32 fused"


def test_parts_give_what_the_whole_gives(segmenter):
    generator = np.random.default_rng(0)
    square = np.repeat(np.repeat(generator.integers(0, 255, (40, 40, 3)), 8, 0), 8, 1).astype(np.uint8)
    for side in (320, 300):
        cut = np.ascontiguousarray(square[:side, :side])
        whole = square_probabilities(segmenter, cut, flips=1, precision="fp32")
        parts = square_probabilities(segmenter, cut, flips=1, precision="fp32", tiles=Tiles(size_px=128, overlap_px=64))
        assert parts.shape == whole.shape
        assert whole.std() > 0.005
        # Three levels see 16 px around a pixel, which is half of the overlap less its ramp: nothing is lost.
        assert np.abs(parts - whole).max() < 1e-5
    small = square_probabilities(segmenter, cut[:96, :96], flips=1, precision="fp32", tiles=Tiles())
    np.testing.assert_allclose(
        small, square_probabilities(segmenter, cut[:96, :96], flips=1, precision="fp32"), atol=1e-6
    )
    tiled = segment_image(segmenter, photograph(), flips=4, tiles=Tiles(size_px=64, overlap_px=32))
    assert tiled.masks["disc"].shape == (150, 170)


@pytest.mark.parametrize(("size", "overlap"), [(100, 32), (32, 32), (128, 0), (128, 96), (128, 40)])
def test_impossible_tiles_are_refused(size, overlap):
    with pytest.raises(InvalidInput, match="not possible"):
        Tiles(size_px=size, overlap_px=overlap)


def test_wrong_pictures_and_options_are_refused(segmenter):
    with pytest.raises(InvalidInput, match="flips"):
        segment_image(segmenter, photograph(), flips=3)
    with pytest.raises(InvalidInput, match="8 bits"):
        segment_image(segmenter, np.zeros((4, 40, 40), np.uint16))


def test_a_picture_without_aperture_is_used_whole(segmenter):
    scan = Image(pixels=np.full((60, 90, 3), 80, np.uint8), modality="ffa")
    found = segment_image(segmenter, scan)
    assert found.field.kind == "full"
    assert found.masks["disc"].shape == (60, 90)
    assert whole_frame((60, 90)).mask((60, 90)).all()


def test_an_exchanged_file_and_an_unknown_name_are_refused(segmenter, tmp_path):
    with pytest.raises(UnknownName, match="no segmenter is called 'vesels'"):
        load_segmenter("vesels")
    path = tmp_path / "segmenter.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(IncompatibleWeights, match="SHA-256"):
        load_segmenter(tmp_path)


def test_largest_region_of_nothing_is_nothing():
    assert not largest_region(np.zeros((5, 5), bool)).any()


def test_the_disc_is_the_surest_region_and_the_cup_lies_in_it():
    found = {n: np.zeros((40, 60), np.float32) for n in ("disc", "cup")}
    found["disc"][5:15, 5:15] = 0.95
    # A ring of exudates: larger, less sure, with a hole and a bright middle taken for a cup.
    found["disc"][14:32, 32:50] = 0.8
    found["disc"][20:24, 40:44] = 0.0
    found["cup"][16:30, 34:48] = 0.9
    found["cup"][8:12, 8:12] = 0.9
    # A speck is no disc, however sure.
    found["disc"][38, 2] = 1.0
    segmenter = Segmenter(name="a", model=torch.nn.Identity(), classes=("disc", "cup"), field_px=64,
                          thresholds={"disc": 0.5, "cup": 0.5}, inside={"cup": "disc"})  # fmt: skip
    masks = masks_of(segmenter, found)
    assert np.argwhere(masks["disc"]).mean(0).tolist() == [9.5, 9.5]
    assert int(masks["cup"].sum()) == 16


def test_the_surest_region_of_nothing_is_nothing():
    assert not surest_region(np.zeros((5, 5), bool), np.zeros((5, 5), np.float32)).any()
