"""Enhancement: the fast ways equal the slow exact ones."""

import cv2
import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.registry import ENHANCEMENTS
from fundusion.transforms.enhance import clahe_green, clahe_lightness, enhance, subtract_background


@pytest.fixture
def picture(generator):
    coarse = generator.integers(20, 230, (14, 14, 3)).astype(np.uint8)
    return cv2.resize(coarse, (256, 256), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("size", [(96, 96), (224, 224), (512, 400), (1001, 1003)])
def test_background_by_an_eighth_is_the_wide_blur(generator, size):
    fine = cv2.resize(
        generator.integers(20, 230, (20, 20, 3)).astype(np.uint8), size[::-1], interpolation=cv2.INTER_CUBIC
    )
    sigma = max(size) / 30
    blurred = cv2.GaussianBlur(fine.astype(np.float64), (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    exact = np.clip(4 * (fine - blurred) + 128, 0, 255)
    error = np.abs(subtract_background(fine) - exact)
    # One level of the blur is four levels of the result.
    assert error.mean() < 2.5
    assert np.quantile(error, 0.99) <= 9


def test_clahe_touches_lightness_and_keeps_color(picture):
    before, after = (cv2.cvtColor(p, cv2.COLOR_RGB2LAB).astype(int) for p in (picture, clahe_lightness(picture)))
    lightness = cv2.createCLAHE(2.0, (8, 8)).apply(before[..., 0].astype(np.uint8)).astype(int)
    inside = (clahe_lightness(picture) > 3).all(axis=2) & (clahe_lightness(picture) < 252).all(axis=2)
    assert np.abs(after[..., 0] - lightness)[inside].mean() < 1.5
    assert np.abs(after[..., 1:] - before[..., 1:])[inside].mean() < 3


def exact_clahe(plane, clip, tiles):
    """Write out the method: a clipped histogram per tile, its cumulative map, bilinear between tile centres."""
    side = plane.shape[0] // tiles
    maps = np.zeros((tiles, tiles, 256))
    limit = max(int(clip * side * side / 256), 1)
    for i in range(tiles):
        for j in range(tiles):
            counts = np.bincount(plane[i * side : (i + 1) * side, j * side : (j + 1) * side].ravel(), minlength=256)
            excess = int(np.maximum(counts - limit, 0).sum())
            counts = np.minimum(counts, limit) + excess // 256
            # What does not divide evenly is spread over every n-th value.
            rest = excess % 256
            if rest:
                counts[:: max(256 // rest, 1)][:rest] += 1
            maps[i, j] = counts.cumsum() * 255 / (side * side)
    # The library takes the corner of a pixel for its place, half a pixel off.
    at = np.arange(plane.shape[0]) / side - 0.5
    low = np.clip(np.floor(at).astype(int), 0, tiles - 1)
    high, part = np.clip(np.floor(at).astype(int) + 1, 0, tiles - 1), at - np.floor(at)
    rows, columns = np.meshgrid(np.arange(len(at)), np.arange(len(at)), indexing="ij")
    value = lambda a, b: maps[a[rows], b[columns], plane]  # noqa: E731
    top = value(low, low) * (1 - part[columns]) + value(low, high) * part[columns]
    bottom = value(high, low) * (1 - part[columns]) + value(high, high) * part[columns]
    return top * (1 - part[rows]) + bottom * part[rows]


def test_clahe_of_green_is_the_written_out_method(picture):
    assert np.abs(clahe_green(picture) - exact_clahe(picture[..., 1], 2.0, 8)).max() <= 1.01


def test_names(picture):
    results = {m: enhance(picture, m) for m in ENHANCEMENTS}
    assert all(r.shape == picture.shape and r.dtype == np.uint8 for r in results.values())
    assert results["none"] is picture
    assert len({r.tobytes() for r in results.values()}) == len(ENHANCEMENTS)
    with pytest.raises(InvalidInput, match="not one of"):
        enhance(picture, "vivid")
    with pytest.raises(InvalidInput, match="expected"):
        enhance(picture[..., 0], "clahe")
