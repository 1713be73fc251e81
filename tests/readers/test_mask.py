"""Masks: every format gives the same mask, bits are 0 and 255, and what is no mask is refused."""

import gzip
import io

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from fundusion.core.errors import ReadError
from fundusion.readers.mask import read_artery_vein, read_mask


@pytest.fixture
def disc():
    rows, columns = np.mgrid[:60, :80]
    return np.where((rows - 30) ** 2 + (columns - 41) ** 2 <= 400, 255, 0).astype(np.uint8)


def saved(tmp_path, picture, name, **options):
    picture.save(tmp_path / name, **options)
    return tmp_path / name


def code_of(path):
    with pytest.raises(ReadError) as caught:
        read_mask(path)
    assert str(path.parent) not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize("name", ["m.gif", "m.png", "m.tif", "m.bmp", "m.pgm"])
@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_every_format_gives_the_same_mask(tmp_path, disc, name, mode):
    picture = Pillow.fromarray(disc)
    if name.endswith(".pgm") and mode in ("1", "P"):
        pytest.skip("a PGM has neither bits nor a palette")
    path = saved(tmp_path, picture.convert(mode), name, **({"format": "PPM"} if name == "m.pgm" else {}))
    found = read_mask(path)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, disc)


def test_gzipped_ppm_as_stare_ships_it(tmp_path, disc):
    stream = io.BytesIO()
    Pillow.fromarray(disc).save(stream, "PPM")
    (tmp_path / "im0001.ah.ppm.gz").write_bytes(gzip.compress(stream.getvalue()))
    np.testing.assert_array_equal(read_mask(tmp_path / "im0001.ah.ppm.gz"), disc)


def test_jpeg_sixteen_bit_and_one_color(tmp_path, disc):
    cv2.imwrite(str(tmp_path / "m.jpg"), disc, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert ((read_mask(tmp_path / "m.jpg") > 127) == (disc > 127)).mean() > 0.995
    tifffile.imwrite(tmp_path / "m.tif", disc.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), disc)
    red = np.zeros((*disc.shape, 3), np.uint8)
    red[disc > 0] = (128, 0, 0)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, Pillow.fromarray(red), "red.png")), disc)


def test_several_colors_are_not_one_mask(tmp_path, disc):
    av = np.zeros((*disc.shape, 3), np.uint8)
    av[:30][disc[:30] > 0], av[30:][disc[30:] > 0] = (255, 0, 0), (0, 0, 255)
    assert code_of(saved(tmp_path, Pillow.fromarray(av), "av.png")) == "mask.colors"


def test_small_grades_are_kept(tmp_path):
    grades = np.arange(5, dtype=np.uint8).repeat(8)[None].repeat(6, 0)
    np.testing.assert_array_equal(read_mask(saved(tmp_path, Pillow.fromarray(grades), "g.png")), grades)


@pytest.mark.parametrize("name", ["m.gif", "m.png", "m.tif", "m.bmp", "m.jpg"])
def test_cut_masks_are_refused(tmp_path, disc, name):
    noisy = np.where(np.random.default_rng(0).random(disc.shape) > 0.5, disc, 255 - disc)
    path = saved(tmp_path, Pillow.fromarray(noisy), name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert code_of(path) in ("image.truncated", "image.corrupt")


def test_bombs_and_other_things_are_refused(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P5 60000 60000 255\n")
    assert code_of(tmp_path / "a.ppm") == "image.too_large"
    frame = bytearray(b"GIF89a")
    frame += (
        (60000).to_bytes(2, "little") * 2
        + b"\x80\0\0"
        + bytes(6)
        + b",\0\0\0\0"
        + (60000).to_bytes(2, "little") * 2
        + b"\0\x02"
    )
    (tmp_path / "b.gif").write_bytes(bytes(frame))
    assert code_of(tmp_path / "b.gif") == "image.too_large"
    (tmp_path / "c.png").write_bytes(b"<html>")
    assert code_of(tmp_path / "c.png") == "image.not_an_image"
    frames = [Pillow.new("L", (40, 40), v) for v in (0, 255)]
    frames[0].save(tmp_path / "d.gif", save_all=True, append_images=frames[1:])
    assert code_of(tmp_path / "d.gif") == "image.many_pages"


def test_arteries_and_veins_are_told_apart_by_colour(tmp_path):
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[0, 0], picture[0, 1], picture[0, 2], picture[0, 3], picture[0, 4] = (
        (255, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 255), (255, 255, 255),
    )  # fmt: skip
    path = saved(tmp_path, Pillow.fromarray(picture), "av.png")
    artery, vein, uncertain = read_artery_vein(path)
    assert artery[0].tolist() == [255, 0, 0, 255, 0, 0]
    assert vein[0].tolist() == [0, 255, 0, 255, 0, 0]
    assert uncertain[0].tolist() == [0, 0, 255, 0, 255, 0]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_map_without_colours_is_refused(tmp_path, disc, mode):
    path = saved(tmp_path, Pillow.fromarray(disc).convert(mode), "grey.png")
    with pytest.raises(ReadError, match="has no colours") as caught:
        read_artery_vein(path)
    assert caught.value.code == "mask.colors"
