"""One drawing as pixels and as vectors: the same things at the same places, and no markup from words."""

import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image as Pillow

from fundusion.report.canvas import PixelCanvas, VectorCanvas

RED, WHITE = (255, 0, 0), (255, 255, 255)


def everything(canvas):
    mask = np.zeros((10, 10), bool)
    mask[2:5, 2:5] = True
    canvas.picture(np.full((10, 10, 3), 90, np.uint8), (0, 0), 40)
    canvas.area(mask, (0, 0), 40, (0, 255, 0))
    canvas.line(np.array([[50.0, 10.0], [90.0, 10.0]]), RED, 4)
    canvas.line(np.array([[50.0, 30.0], [90.0, 30.0]]), RED, 2, dash=True)
    canvas.polygon(np.array([[50.0, 40.0], [60.0, 40.0], [60.0, 50.0]]), RED, 1.0)
    canvas.circle((75.0, 45.0), 5.0, RED)
    canvas.circle((90.0, 45.0), 5.0, RED, 2.0)
    canvas.text((5, 70), '<b> & "x"', 10, (0, 0, 0))
    return canvas


def test_pixels_are_where_they_were_drawn():
    canvas = everything(PixelCanvas(100, 80, WHITE))
    pixels = canvas.pixels()
    assert pixels.shape == (80, 100, 3)
    assert pixels[35, 35].tolist() == [90, 90, 90]
    # Tinted, not covered.
    assert pixels[14, 14, 1] > 150 > pixels[14, 14, 0]
    assert pixels[10, 70].tolist() == [255, 0, 0]
    assert pixels[45, 75].tolist() == [255, 0, 0]
    assert pixels[45, 90].tolist() == [255, 255, 255]
    dashes = (pixels[30, 50:90, 1] < 128).astype(int)
    assert 0 < dashes.sum() < 40
    assert (np.diff(dashes) != 0).sum() >= 4
    assert np.array_equal(np.asarray(Pillow.open(io.BytesIO(canvas.encoded()))), pixels)


def test_vectors_are_well_formed_and_words_are_no_markup():
    data = everything(VectorCanvas(100, 80, WHITE)).encoded()
    root = ElementTree.fromstring(data)
    tags = [e.tag.rpartition("}")[2] for e in root]
    assert tags == ["rect", "image", "path", "polyline", "polyline", "polygon", "circle", "circle", "text"]
    assert root[-1].text == '<b> & "x"'
    assert b"script" not in data
    # The tinted square lies over pixels 2 to 5 of ten, four units each.
    corners = [tuple(map(float, p.split())) for p in root[2].get("d").strip("MZ").split("L")]
    assert np.min(corners) == pytest.approx(10, abs=2.1)
    assert np.max(corners) == pytest.approx(18, abs=2.1)


def test_the_same_drawing_gives_the_same_bytes():
    for kind in (PixelCanvas, VectorCanvas):
        assert everything(kind(100, 80, WHITE)).encoded() == everything(kind(100, 80, WHITE)).encoded()


def test_signs_without_a_glyph_are_written_in_plain_letters():
    from fundusion.report.canvas import PixelCanvas

    def drawn(words):
        sheet = PixelCanvas(200, 40, (255, 255, 255))
        sheet.text((5, 30), words, 20, (0, 0, 0))
        return sheet.pixels()

    np.testing.assert_array_equal(drawn("3 µm²"), drawn("3 um^2"))
