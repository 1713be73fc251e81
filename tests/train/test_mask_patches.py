"""Random patches: decided by the generator, faithful to the picture, unknown where any source pixel is."""

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.train.mask_data import UNKNOWN, MaskData
from fundusion.train.mask_patches import cut_patches


@pytest.fixture
def data():
    rows, columns = np.mgrid[:96, :96]
    pixels = np.stack([rows * 2, columns * 2, rows + columns], 2).astype(np.uint8)[None]
    masks = np.zeros((1, 2, 96, 96), np.uint8)
    masks[0, 0, 70:74, 20:24] = 254
    masks[0, 1] = UNKNOWN
    return MaskData(pixels=pixels, masks=masks, names=("a/1",), groups=("a/1",), rejected=(), digest="")


def cut(data, seed, *, size=32, centred=0.0, zoom=1.4, turn=180.0, count=1, detail=1.0):
    rows, generator = np.zeros(count, np.int64), np.random.default_rng(seed)
    return cut_patches(data, rows, size, generator=generator, centred=centred, zoom=zoom, turn=turn, detail=detail)


def test_the_generator_decides_everything(data):
    first, again, other = cut(data, 1), cut(data, 1), cut(data, 2)
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(first[0], other[0])


def test_without_zoom_and_turn_a_patch_is_a_part_of_the_picture(data):
    images, _, _ = cut(data, 3, zoom=1.0, turn=0.0)
    row = images[0, 0, :, 5] * 255
    assert np.allclose(np.diff(row), 2.0, atol=1.0)
    assert abs(images[0, 0, 0, 0] * 255 / 2 - 48) < 48


def test_a_centred_patch_shows_the_structure(data):
    seen = [cut(data, s, centred=1.0, zoom=1.0)[1][0, 0].max() > 0.5 for s in range(40)]
    anywhere = [cut(data, s, centred=0.0, zoom=1.0)[1][0, 0].max() > 0.5 for s in range(40)]
    assert np.mean(seen) > 0.9
    assert np.mean(anywhere) < 0.6


def test_what_is_unknown_stays_unknown_and_shares_stay_shares(data):
    _, target, known = cut(data, 5, count=4)
    assert known[:, 0].all()
    assert not known[:, 1].any()
    assert target[:, 1].max() == 0
    assert 0 <= target.min() <= target.max() <= 1


def test_a_zoom_below_one_is_refused(data):
    with pytest.raises(InvalidInput, match="at least 1"):
        cut(data, 0, zoom=0.5)


def test_half_of_the_patches_lose_detail_and_no_mask_does(data):
    data.pixels[0] = np.random.default_rng(0).integers(0, 255, data.pixels[0].shape)
    sharp, coarse = (cut(data, 7, zoom=1.0, turn=0.0, count=40, detail=d) for d in (1.0, 0.4))
    spread = coarse[0].std((1, 2, 3))
    softened = (spread < 0.85 * np.median(sharp[0].std((1, 2, 3)))).mean()
    assert 0.25 < softened < 0.75
    assert cut(data, 7, centred=1.0, zoom=1.0, turn=0.0, detail=0.4)[1].max() == 1
    with pytest.raises(InvalidInput, match="detail"):
        cut(data, 0, detail=0.0)
