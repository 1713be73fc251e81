"""Portable pixmaps: read, or refused before anything is unpacked."""

import gzip

import numpy as np
import pytest

from fundusion.core.errors import ReadError
from fundusion.readers import read_images
from fundusion.readers.netpbm import read_netpbm

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
HEAD = b"P6\n# a comment\n50 40\n255\n"


@pytest.mark.parametrize("zipped", [False, True])
def test_pixels_are_those_of_the_file(tmp_path, zipped):
    path = tmp_path / ("a.ppm.gz" if zipped else "a.ppm")
    data = HEAD + PIXELS.tobytes()
    path.write_bytes(gzip.compress(data) if zipped else data)
    (image,) = read_images(path, modality="cfp")
    assert np.array_equal(image.pixels, PIXELS)
    assert len(image.digest) == 64


def test_grey_becomes_three_channels_for_photographs_only(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 50 40 255\n" + PIXELS[..., 0].tobytes())
    assert read_netpbm(tmp_path / "a.pgm").pixels.shape == (40, 50, 3)
    assert read_netpbm(tmp_path / "a.pgm", modality="ffa").pixels.shape == (40, 50, 1)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (HEAD + b"\0" * 100, "image.truncated"),
        (gzip.compress(HEAD + PIXELS.tobytes())[:200], "image.truncated"),
        (b"P3\n50 40\n255\n1 2 3", "image.not_an_image"),
        (b"<html>", "image.not_an_image"),
        (b"", "image.not_an_image"),
        (b"P6 60000 60000 255\n", "image.too_large"),
        (b"P6 1 60000 255\n", "image.too_small"),
        (b"P6 50 40 65535\n" + b"\0" * 12000, "image.unsupported"),
        (b"\x1f\x8b" + b"garbage" * 20, "image.corrupt"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, data, code):
    (tmp_path / "a.ppm.gz").write_bytes(data)
    with pytest.raises(ReadError) as caught:
        read_netpbm(tmp_path / "a.ppm.gz")
    assert caught.value.code == code


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ReadError) as caught:
        read_netpbm(tmp_path / "gone.ppm")
    assert caught.value.code == "file.missing"


def test_an_archive_of_zeros_is_unpacked_only_as_far_as_the_picture(tmp_path):
    body = gzip.compress(HEAD + PIXELS.tobytes() + b"\0" * 50_000_000, 9)
    (tmp_path / "a.ppm.gz").write_bytes(body)
    assert np.array_equal(read_netpbm(tmp_path / "a.ppm.gz").pixels, PIXELS)
