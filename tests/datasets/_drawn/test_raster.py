"""Coverage of lines and blobs, against areas worked out by hand."""

import numpy as np
import pytest

from fundusion.datasets._drawn.raster import add_blob, blur, cover_line, sample_line, smooth_noise


@pytest.mark.parametrize("width", [0.4, 1.0, 3.0, 6.0])
def test_a_line_covers_its_length_times_its_width(width):
    points = np.array([[32.0, 10.0], [32.0, 50.0]], np.float32)
    dense, widths = sample_line(points, np.full(2, width, np.float32))
    assert np.hypot(*np.diff(dense, axis=0).T).max() <= 0.51
    covered, _ = cover_line(dense, widths, (64, 64))
    # The middle part only: the ends are round.
    assert covered[:, 20:40].sum() == pytest.approx(20 * width, rel=0.2)
    assert 0 <= covered.min() <= covered.max() <= 1.0001


def test_a_blob_covers_its_area_and_a_tiny_one_fades():
    canvas = np.zeros((80, 80), np.float32)
    add_blob(canvas, (40.0, 40.0), 12.0)
    assert canvas.sum() == pytest.approx(np.pi * 144, rel=0.05)
    tiny = np.zeros((80, 80), np.float32)
    add_blob(tiny, (40.0, 40.0), 0.2)
    assert 0 < tiny.max() < 0.5
    outside = np.zeros((20, 20), np.float32)
    add_blob(outside, (-50.0, 5.0), 3.0)
    assert outside.sum() == 0


def test_noise_is_smooth_and_blur_keeps_the_mean(generator):
    noise = smooth_noise(generator, (64, 96), cells=6)
    assert 0.3 < noise.std() < 2
    assert np.abs(np.diff(noise, axis=1)).mean() < 0.3 * noise.std()
    assert blur(noise, 3.0).std() < noise.std()
    assert blur(noise, 0.1) is noise
