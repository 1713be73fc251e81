"""Preparation against exact area averages, the way back for maps, frames of a volume, the signature."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import ENHANCEMENTS, ImageInput
from fundusion.transforms.enhance import enhance
from fundusion.transforms.field_of_view import FieldOfView, find_field_of_view
from fundusion.transforms.image import (
    map_to_original,
    normalise,
    prepare,
    preprocessing_signature,
    select_frames,
)

PLAIN = ImageInput(size=64, crop="none")


def scene(shape=(240, 300), seed=0):
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    waves = [np.sin(rows / a + columns / b) for a, b in ((9, 13), (-17, 11), (23, -8))]
    picture = 120 + 40 * np.stack(waves, axis=2) + generator.normal(0, 4, (*shape, 3))
    return np.clip(picture, 0, 255).astype(np.uint8)


def area_average(pixels, ready):
    """Return the exact mean over the footprint of each output pixel, black outside the picture."""
    size, affine = ready.pixels.shape[0], ready.to_original

    def weights(count, step, first):
        matrix = np.zeros((size, count))
        start = first + 0.5 - step / 2
        for i in range(size):
            low, high = start + i * step, start + (i + 1) * step
            for j in range(max(0, int(np.floor(low))), min(count, int(np.ceil(high)))):
                matrix[i, j] = max(0.0, min(high, j + 1) - max(low, j)) / step
        return matrix

    rows = weights(pixels.shape[0], affine[1, 1], affine[1, 2])
    columns = weights(pixels.shape[1], affine[0, 0], affine[0, 2])
    return np.einsum("ih,hwc,jw->ijc", rows, pixels.astype(float), columns, optimize=True)


@pytest.mark.parametrize("shape", [(240, 300), (900, 700), (1500, 2000)])
@pytest.mark.parametrize("box", [None, (10.3, 20.7, 200.9, 230.2)])
def test_pixels_equal_the_exact_area_average(shape, box):
    pixels = scene(shape)
    field = None
    if box:
        scaled = tuple(b * shape[0] / 240 for b in box)
        field = FieldOfView(center=(0, 0), radius_px=1, box=scaled, kind="clipped", coverage=1, confidence=1)
    wanted = ImageInput(size=64, crop="field_of_view" if box else "none")
    ready = prepare(pixels, wanted, field=field)
    error = area_average(pixels, ready) - ready.pixels
    # Beyond the box the square is black, whatever the picture shows there.
    rows = np.arange(64) * ready.to_original[1, 1] + ready.to_original[1, 2]
    top, bottom = (field.box[0], field.box[2]) if field else (0, shape[0] - 1)
    inside = (rows > top + 2 * ready.to_original[1, 1]) & (rows < bottom - 2 * ready.to_original[1, 1])
    assert 10 * np.log10(255**2 / np.mean(error[inside, 2:-2] ** 2)) >= 38


@pytest.mark.parametrize("shape", [(700, 500), (2100, 1500), (5, 900), (64, 64), (31, 40)])
def test_every_shape_gives_the_wanted_square_and_a_true_affine(shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    ramp = np.stack([rows * 255 / shape[0], columns * 255 / shape[1], 0 * rows], axis=2).astype(np.uint8)
    ready = prepare(ramp, PLAIN)
    assert ready.pixels.shape == (64, 64, 3)
    y, x = 33, 30
    column, row = ready.to_original @ (x, y, 1)
    if 2 < row < shape[0] - 3 and 2 < column < shape[1] - 3:
        assert ready.pixels[y, x, 0] == pytest.approx(row * 255 / shape[0], abs=4)
        assert ready.pixels[y, x, 1] == pytest.approx(column * 255 / shape[1], abs=4)


def test_a_fractional_cut_is_not_rounded():
    rows, columns = np.mgrid[:1024, :1024].astype(float)
    bright = 255 * np.exp(-((rows - 512) ** 2 + (columns - 512) ** 2) / (2 * 60**2))
    pixels = np.repeat(bright[..., None], 3, axis=2).astype(np.uint8)
    centers = []
    for shift in (0.0, 0.5):
        box = (12 + shift, 12 + shift, 1012 + shift, 1012 + shift)
        field = FieldOfView(center=(512, 512), radius_px=500, box=box, kind="circle", coverage=1, confidence=1)
        ready = prepare(pixels, ImageInput(size=128), field=field)
        weight = ready.pixels[..., 0].astype(float)
        centers.append((weight * np.arange(128)).sum() / weight.sum())
        at = ready.to_original @ (centers[-1], centers[-1], 1)
        assert at == pytest.approx((512, 512), abs=0.15)
    assert centers[0] - centers[1] == pytest.approx(0.5 * 128 / 1000, abs=0.01)


def test_cut_fills_the_square_with_the_field():
    rows, columns = np.mgrid[:400, :600]
    disc = ((rows - 200) ** 2 + (columns - 300) ** 2 <= 150**2) * 120
    pixels = np.repeat(disc[..., None], 3, axis=2).astype(np.uint8)
    cut, whole = prepare(pixels, ImageInput(size=96)), prepare(pixels, ImageInput(size=96, crop="none"))
    assert (cut.pixels > 60).mean() == pytest.approx(np.pi / 4, abs=0.02)
    assert (whole.pixels > 60).mean() < 0.25
    given = prepare(pixels, ImageInput(size=96), field=find_field_of_view(pixels))
    assert np.array_equal(given.pixels, cut.pixels)


def test_padding_is_black_and_even():
    ready = prepare(np.full((50, 100, 3), 200, np.uint8), PLAIN)
    assert (ready.pixels[:15] == 0).all()
    assert (ready.pixels[-15:] == 0).all()
    assert (ready.pixels[18:46] == 200).all()


def test_grey_becomes_three_and_colour_becomes_one_channel():
    grey = np.arange(100, dtype=np.uint8).reshape(10, 10, 1).repeat(8, 0).repeat(8, 1)
    three = prepare(grey, PLAIN).pixels
    assert three.shape == (64, 64, 3)
    assert (three[..., 0] == three[..., 2]).all()
    one = prepare(three, ImageInput(size=64, crop="none", channels=1, mean=(0.5,), std=(0.5,)))
    assert one.pixels.shape == (64, 64, 1)
    assert np.array_equal(one.pixels[..., 0], three[..., 0])


def test_same_size_without_cut_is_unchanged():
    pixels = scene((64, 64))
    ready = prepare(pixels, PLAIN)
    assert np.array_equal(ready.pixels, pixels)
    assert ready.to_original == pytest.approx(np.array([[1, 0, 0], [0, 1, 0]]))


def test_preparation_is_deterministic_and_leaves_its_input_alone():
    pixels = scene()
    before = pixels.copy()
    pixels.setflags(write=False)
    first, second = prepare(pixels, ImageInput(size=100)), prepare(pixels.copy(), ImageInput(size=100))
    assert np.array_equal(first.pixels, second.pixels)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize(
    "wrong", [np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((5, 5, 2), np.uint8), None]
)
def test_other_arrays_are_refused(wrong):
    with pytest.raises(InvalidInput, match="expected"):
        prepare(wrong, PLAIN)


def test_normalise_matches_its_formula():
    batch = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    wanted = ImageInput(size=16)
    result = normalise(batch, wanted)
    assert result.shape == (2, 3, 8, 8)
    assert result.dtype == np.float32
    expected = (batch[1, 2, 3, 1] / 255 - wanted.mean[1]) / wanted.std[1]
    assert result[1, 1, 2, 3] == pytest.approx(expected, abs=1e-6)
    with pytest.raises(InvalidInput, match="expected uint8"):
        normalise(batch[..., :1], wanted)


@pytest.mark.parametrize("resolution", [7, 14, 64])
def test_a_hot_cell_returns_to_where_it_was_seen(resolution):
    pixels = scene((400, 600))
    box = (40.25, 90.5, 360.75, 420.5)
    field = FieldOfView(center=(200, 255), radius_px=165, box=box, kind="clipped", coverage=1, confidence=1)
    ready = prepare(pixels, ImageInput(size=64), field=field)
    heat = np.zeros((resolution, resolution))
    cell = resolution // 3
    heat[cell, cell + 1] = 1
    back = map_to_original(heat, ready, pixels.shape)
    assert back.shape == (400, 600)
    assert back.dtype == np.float32
    rows, columns = np.mgrid[:400, :600]
    found = (back * rows).sum() / back.sum(), (back * columns).sum() / back.sum()
    y, x = ((c + 0.5) * 64 / resolution - 0.5 for c in (cell, cell + 1))
    column, row = ready.to_original @ (x, y, 1)
    assert found == pytest.approx((row, column), abs=0.02 * 330)


def test_a_flat_map_covers_exactly_what_was_seen():
    pixels = scene((400, 600))
    box = (40.0, 90.0, 360.0, 420.0)
    field = FieldOfView(center=(200, 255), radius_px=165, box=box, kind="clipped", coverage=1, confidence=1)
    back = map_to_original(np.ones((7, 7)), prepare(pixels, ImageInput(size=64), field=field), pixels.shape)
    assert back[45:355, 95:415].min() == pytest.approx(1.0, abs=1e-5)
    assert back[:, :80].max() == 0
    assert back[:, 435:].max() == 0


def test_maps_follow_a_scaled_picture():
    ready = prepare(scene((400, 600)), PLAIN)
    half = replace(ready, to_original=np.diag([0.5, 0.5]) @ ready.to_original)
    heat = np.random.default_rng(0).random((8, 8))
    whole, small = map_to_original(heat, ready, (400, 600)), map_to_original(heat, half, (200, 300))
    assert np.abs(whole[::2, ::2] - small)[5:-5, 5:-5].max() < 0.05


@pytest.mark.parametrize("wrong", [np.ones((2, 2, 2)), np.full((3, 3), np.nan), np.ones((0, 4))])
def test_maps_that_are_none_are_refused(wrong):
    with pytest.raises(InvalidInput, match="finite map"):
        map_to_original(wrong, prepare(scene(), PLAIN), (10, 10))


@pytest.mark.parametrize(("count", "most"), [(1, 9), (9, 9), (10, 9), (49, 9), (128, 5), (3, 1)])
def test_frames_are_spread_evenly_and_in_order(count, most):
    chosen = select_frames(range(count), most)
    assert len(chosen) == min(count, most)
    assert chosen == sorted(set(chosen))
    assert (chosen[0] + chosen[-1]) / 2 == pytest.approx((count - 1) / 2, abs=1)
    gaps = np.diff(chosen)
    assert len(gaps) == 0 or gaps.max() - gaps.min() <= 1


def test_frames_need_a_positive_number():
    with pytest.raises(InvalidInput, match="max_frames"):
        select_frames([1], 0)


def test_signature_changes_with_everything_that_changes_pixels():
    base = ImageInput()
    changes = [{"size": 96}, {"crop": "none"}, {"mean": (0.4, 0.4, 0.4)}, {"std": (0.3, 0.3, 0.3)}, {"max_frames": 3}]
    changes += [{"enhance": name} for name in ENHANCEMENTS if name != "none"]
    texts = {preprocessing_signature(replace(base, **c)) for c in ({}, *changes)}
    assert len(texts) == 1 + len(changes)
    assert preprocessing_signature(base) == preprocessing_signature(ImageInput())
    assert preprocessing_signature(base).startswith("prepare-3 ")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ENHANCEMENTS)
def test_enhancement_is_the_last_step_and_leaves_the_geometry(name, channels):
    pixels = scene((240, 300))
    plain = ImageInput(size=96, crop="none", channels=channels, mean=(0.5,) * channels, std=(0.2,) * channels)
    before = prepare(pixels, replace(plain, channels=3, mean=(0.5,) * 3, std=(0.2,) * 3))
    made = prepare(pixels, replace(plain, enhance=name))
    assert made.pixels.shape == (96, 96, channels)
    assert np.array_equal(made.to_original, before.to_original)
    wanted = enhance(before.pixels, name)
    if channels == 1:
        wanted = cv2.cvtColor(wanted, cv2.COLOR_RGB2GRAY)[..., None]
    assert np.array_equal(made.pixels, wanted)
    assert np.array_equal(made.pixels, prepare(pixels, plain).pixels) == (name == "none")


def test_an_unknown_enhancement_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInput, match="clahe_green") as caught:
        ImageInput(enhance="sharpen")
    assert caught.value.code == "config.enhancement"


@pytest.mark.parametrize("share", [0.0, 0.31, 0.5, 0.77])
@pytest.mark.parametrize("size", [64, 224, 700])
def test_the_frame_ends_sharply_where_the_cut_goes_beyond_it(size, share):
    """A row of the square of which a share lies in the frame keeps that share, and nothing shines beyond it."""
    pixels = np.full((1200, 1800, 3), 200, np.uint8)
    box = (-300.5 - 7 * share, -0.5, 1199.5, 1799.5)
    field = FieldOfView(center=(450, 900), radius_px=900, box=box, kind="clipped", coverage=0.8, confidence=1)
    made = prepare(pixels, ImageInput(size=size), field=field)
    error = made.pixels - area_average(pixels, made)
    assert np.abs(error).max() <= 1.0
