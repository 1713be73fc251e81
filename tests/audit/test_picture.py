"""Reading small and framing alike."""

import hashlib

import numpy as np
import pytest

from fundusion.audit.picture import SIDE_PX, folder_digest, normalise, open_picture
from fundusion.core.errors import ReadError


def test_a_large_jpeg_is_read_small_and_frames_alike(rgb, save):
    rows, columns = np.mgrid[:1600, :1800]
    disc = np.hypot(rows - 800, columns - 900) < 700
    photograph = np.stack([disc * (120 + 60 * np.sin(columns / 90)), disc * 80, disc * 40], 2)
    path = save("large.jpg", photograph)
    opened = open_picture(path)
    assert opened.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert 400 <= min(opened.pixels.shape[:2]) < 1000
    small, whole = normalise(opened.pixels)[0], normalise(rgb(path))[0]
    assert small.shape == (SIDE_PX, SIDE_PX, 3)
    assert np.abs(small.astype(int) - whole).mean() < 3


@pytest.mark.parametrize(("cut", "code"), [(0.5, "image.truncated"), (0.0, "image.not_an_image")])
def test_a_cut_file_is_refused_though_it_is_read_small(eyes, rgb, save, tmp_path, cut, code):
    data = save("whole.jpg", rgb(eyes[0])).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: int(cut * len(data))])
    with pytest.raises(ReadError) as caught:
        open_picture(tmp_path / "cut.jpg")
    assert caught.value.code == code


def test_the_circle_stays_when_black_borders_are_added(eyes, rgb):
    pixels = rgb(eyes[1])
    framed = np.pad(pixels, ((37, 10), (80, 5), (0, 0)))
    first, second = normalise(pixels)[0].astype(int), normalise(framed)[0].astype(int)
    assert np.abs(first - second).mean() < 4


def test_a_folder_is_known_by_its_files_and_an_empty_one_is_refused(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    before = folder_digest(tmp_path)
    (tmp_path / "b").write_bytes(b"2")
    assert folder_digest(tmp_path) != before
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError):
        folder_digest(tmp_path / "empty")
