"""Pictures are cut and fitted as released models do it: against stored pixels, a reference library, and the way back."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import ImageInput, models
from fundusion.transforms.fit import fit_image, foreground_box, li_threshold
from fundusion.transforms.image import model_input, prepare, preprocessing_signature

RAW = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "crop": "none", "resample": "bilinear"}
CORNER = ImageInput(size=512, fit="corner", **RAW)
STRETCH = ImageInput(size=224, fit="stretch", **RAW)


@pytest.mark.parametrize("system", ["flair", "keepfit"])
def test_corner_gives_the_stored_pixels_of_the_released_code(golden_root, system):
    stored = load_file(golden_root / system / "tiny.safetensors")
    raw = stored["raw_image_u8"].numpy()
    found = model_input(raw, CORNER)
    assert np.abs(found[:, :4, :4] - stored["pixels_stats_first"].numpy()).max() < 1e-6
    # 300 x 420 becomes 365 x 512: the side is cut to a whole number, not rounded, and nothing is below.
    assert found[:, 364, :].max() > 0
    assert found[:, 365:, :].max() == 0
    rounded = prepare(raw, CORNER).pixels.transpose(2, 0, 1) / 255.0
    assert np.abs(rounded - found).max() <= 0.5 / 255 + 1e-6


def test_stretch_gives_the_stored_pixels_of_the_released_code(golden_root):
    stored = load_file(golden_root / "retizero" / "tiny.safetensors")
    wanted = ImageInput(size=224, fit="stretch", resample="bilinear", crop="none")
    found = model_input(stored["raw_image_u8"].numpy(), wanted)
    assert np.abs(found[:, :4, :4] - stored["pixels_stats_first"].numpy()).max() < 1e-6


def test_center_equals_the_processor_of_transformers(generator):
    transformers = pytest.importorskip("transformers")
    pixels = generator.integers(0, 256, (300, 421, 3), dtype=np.uint8)
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    expected = processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
    base = models.card("clip.test").input
    assert base.size == 64
    assert np.abs(model_input(pixels, base) - expected).max() < 1e-5


def test_stretch_equals_the_processor_of_transformers(generator):
    transformers = pytest.importorskip("transformers")
    pixels = generator.integers(0, 256, (300, 421, 3), dtype=np.uint8)
    processor = transformers.ViTImageProcessorPil(
        size={"height": 224, "width": 224}, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    expected = processor(Image.fromarray(pixels), return_tensors="np")["pixel_values"][0]
    assert np.abs(model_input(pixels, models.card("retizero.retrieval").input) - expected).max() < 1e-5


def test_li_threshold_equals_the_reference_library(generator):
    filters = pytest.importorskip("skimage.filters")
    for low, high in ((0, 256), (3, 40), (200, 202)):
        plane = generator.integers(low, high, (40, 50), dtype=np.uint8)
        plane[:15] = low
        assert li_threshold(plane) == pytest.approx(filters.threshold_li(plane), rel=1e-9)
    assert li_threshold(np.full((4, 4), 9, np.uint8)) == 9.0


def test_foreground_is_the_largest_bright_region_of_the_red_channel():
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[10:40, 20:70, 0] = 120
    pixels[45:50, 2:8, 0] = 200
    pixels[:, :, 1] = 255
    assert foreground_box(pixels) == (10, 20, 40, 70)
    assert foreground_box(np.full((5, 7, 3), 3, np.uint8)) == (0, 0, 5, 7)
    cut = ImageInput(size=64, fit="stretch", **{**RAW, "crop": "foreground"})
    assert prepare(pixels, cut).pixels[..., 0].min() == 120
    house = ImageInput(size=64, crop="foreground")
    ready = prepare(pixels, house)
    assert ready.pixels[32, 32, 0] == 120
    assert (ready.to_original @ [32, 32, 1]).round().tolist() == [45, 25]


@given(
    st.sampled_from(["corner", "stretch", "center", "square"]),
    st.integers(40, 90),
    st.integers(40, 90),
    st.sampled_from(["bilinear", "bicubic"]),
)
def test_the_way_back_finds_the_place_a_pixel_came_from(fit, height, width, resample):
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([rows * 2, columns * 2, np.full_like(rows, 200)], -1).astype(np.uint8)
    wanted = ImageInput(size=32, fit=fit, **{**RAW, "resample": resample})
    fitted, affine = fit_image(pixels, wanted)
    inside = np.argwhere(np.abs(fitted[..., 2] - 200) < 0.01)
    assert len(inside) > 32 * 14
    for row, column in inside[:: max(1, len(inside) // 40)]:
        x, y = affine @ [column, row, 1]
        if 2 < x < width - 3 and 2 < y < height - 3:
            assert fitted[row, column, 0] / 2 == pytest.approx(y, abs=0.7)
            assert fitted[row, column, 1] / 2 == pytest.approx(x, abs=0.7)


def test_a_picture_reduced_while_decoding_is_placed_the_same(generator):
    pixels = np.repeat(np.repeat(generator.integers(0, 256, (75, 105, 3), dtype=np.uint8), 4, 0), 4, 1)
    whole, reduced = prepare(pixels, CORNER), pixels[::4, ::4]
    ready = prepare(np.ascontiguousarray(reduced), CORNER, reduction=4, full_shape=(300, 420))
    np.testing.assert_allclose(ready.to_original, whole.to_original)
    assert (ready.pixels[364:, 100, 0] == 0).tolist() == (whole.pixels[364:, 100, 0] == 0).tolist()


def test_options_are_checked_and_part_of_the_signature():
    with pytest.raises(InvalidInput, match="needs resample"):
        ImageInput(fit="corner")
    with pytest.raises(InvalidInput, match="not usable"):
        ImageInput(fit="round")
    assert "fit=corner resample=bilinear" in preprocessing_signature(CORNER)
    assert "fit" not in preprocessing_signature(ImageInput())
    assert preprocessing_signature(STRETCH) != preprocessing_signature(
        ImageInput(size=224, **{**RAW, "resample": "area"})
    )
    grey = model_input(np.full((30, 40, 1), 51, np.uint8), CORNER)
    assert torch.from_numpy(grey).shape == (3, 512, 512)
