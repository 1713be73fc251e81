"""PGM and PPM: round trips in 8 and 16 bit, comments, and headers that lie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fundusion.core.errors import ReadError
from fundusion.core.files import ReadLimits
from fundusion.core.netpbm import read_netpbm

SMALL = ReadLimits(min_side=1, max_aspect=20)


@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]), st.sampled_from([1, 100, 255, 4095, 65535]))
def test_round_trip(height, width, channels, top):
    samples = np.random.default_rng(height * width).integers(0, top + 1, (height, width, channels))
    stored = samples.astype(np.uint8 if top < 256 else ">u2").tobytes()
    header = f"P{5 if channels == 1 else 6}\n# made\n{width} {height}\n# by a test\n{top}\n".encode()
    found, greatest = read_netpbm(header + stored, "a.ppm", SMALL)
    assert greatest == top
    assert found.dtype == (np.uint8 if top < 256 else np.uint16)
    np.testing.assert_array_equal(found.reshape(samples.shape), samples)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"P5 65500 65500 255\n", "image.too_large"),
        (b"P6 2 2 255\n" + bytes(11), "image.truncated"),
        (b"P5 2 2 0\n" + bytes(4), "image.corrupt"),
        (b"P5 2 2 70000\n" + bytes(8), "image.corrupt"),
        (b"P5 2 2 9\n" + bytes([1, 2, 3, 200]), "image.corrupt"),
        (b"P5 2", "image.corrupt"),
        (b"P5 -2 2 255\n" + bytes(4), "image.corrupt"),
        (b"P5 " + b"#" * 5000, "image.corrupt"),
    ],
)
def test_headers_that_lie(data, code):
    with pytest.raises(ReadError) as caught:
        read_netpbm(data, "a.ppm", SMALL)
    assert caught.value.code == code
