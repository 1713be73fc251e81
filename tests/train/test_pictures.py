"""Pictures on disk behave like an array, and what the cache lost is computed again."""

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.train.pictures import CachedPictures
from fundusion.transforms.cache import PictureCache, cache_key


@pytest.fixture
def made(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), dtype=np.uint8)
    keys = [cache_key(str(i), "p") for i in range(7)]
    cache = PictureCache(tmp_path)
    cache.put(dict(zip(keys[:5], pixels[:5], strict=True)))
    calls = []
    again = lambda i: calls.append(i) or pixels[i]  # noqa: E731
    return (
        pixels,
        CachedPictures(cache, np.frombuffer(b"".join(keys), np.uint8).reshape(7, 32), (8, 8, 3), again=again),
        calls,
    )


def test_it_is_indexed_like_an_array(made):
    pixels, stored, _ = made
    assert (stored.shape, stored.ndim, len(stored)) == (pixels.shape, 4, 7)
    for index in (3, -1, slice(1, 6, 2), np.array([6, 0, 6]), pixels[:, 0, 0, 0] > 100):
        np.testing.assert_array_equal(stored[index], pixels[index])
    np.testing.assert_array_equal(np.asarray(stored), pixels)
    np.testing.assert_array_equal(np.stack(list(stored)), pixels)
    with pytest.raises(IndexError):
        stored[7]


def test_what_is_lost_is_computed_once(made):
    pixels, stored, calls = made
    for _ in range(2):
        np.testing.assert_array_equal(stored[np.arange(7)], pixels)
    assert calls == [5, 6]


def test_keys_of_another_shape_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="keys"):
        CachedPictures(PictureCache(tmp_path), np.zeros((3, 16), np.uint8), (8, 8, 3), again=lambda i: None)
