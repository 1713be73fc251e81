"""Strict reading: a damaged file is rejected even where a decoder would return something."""

import io
import os
import struct
import zipfile
import zlib

import cv2
import numpy as np
import pytest
import simplejpeg
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms

from fundusion.core.errors import ReadError
from fundusion.readers.image import ReadLimits, read_image


@pytest.fixture
def picture(generator):
    coarse = generator.integers(40, 220, (12, 16, 3)).astype(np.uint8)
    return cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)


def encoded(picture, kind, **options):
    stream = io.BytesIO()
    Pillow.fromarray(picture).save(stream, kind, **options)
    return stream.getvalue()


def written(tmp_path, content, name="eye.jpg"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def refused(path, **options):
    with pytest.raises(ReadError) as caught:
        read_image(path, **options)
    assert str(path.parent) not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize(
    ("kind", "name", "tolerance"), [("PNG", "e.png", 0), ("TIFF", "e.tif", 0), ("JPEG", "e.jpg", 16)]
)
def test_round_trip(tmp_path, picture, kind, name, tolerance):
    image = read_image(written(tmp_path, encoded(picture, kind), name))
    assert image.pixels.shape == picture.shape
    assert np.abs(image.pixels.astype(int) - picture).max() <= tolerance
    assert image.notes == ()
    assert len(image.digest) == 64


@pytest.mark.parametrize("share", [0.5, 0.9, 0.995])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_cut_files(tmp_path, picture, kind, share):
    content = encoded(picture, kind)
    code = refused(written(tmp_path, content[: int(len(content) * share)]))
    assert code in ("image.truncated", "image.corrupt")


def test_a_jpeg_that_lacks_only_its_end_marker_is_whole_and_noted(tmp_path, picture):
    content = encoded(picture, "JPEG")
    assert content.endswith(b"\xff\xd9")
    image = read_image(written(tmp_path, content[:-2]))
    assert image.notes == ("image.missing_eoi",)
    np.testing.assert_array_equal(image.pixels, read_image(written(tmp_path, content)).pixels)


@pytest.mark.parametrize("seed", range(6))
def test_random_bytes_in_the_scan_never_give_a_picture_silently(tmp_path, picture, seed):
    generator = np.random.default_rng(seed)
    content = bytearray(encoded(picture, "JPEG", quality=95))
    start = content.index(b"\xff\xda") + 20 + int(generator.integers(0, len(content) // 2))
    content[start : start + 64] = generator.integers(0, 255, 64).astype(np.uint8).tobytes()
    clean = read_image(written(tmp_path, encoded(picture, "JPEG", quality=95), "clean.jpg")).pixels
    # libjpeg names most such files; the few draws that are valid codes by chance still give a whole picture.
    code, found = outcome(written(tmp_path, bytes(content)))
    assert code in ("image.corrupt", "image.truncated", None)
    assert code or found.shape == clean.shape


def outcome(path):
    try:
        return None, read_image(path).pixels
    except ReadError as error:
        return error.code, None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff\xe0\x00\x10JFIF",
        b"<html>404 not found</html>",
        b"GIF89a" + b"\0" * 100,
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_what_is_no_picture(tmp_path, content):
    assert refused(written(tmp_path, content)) in ("image.not_an_image", "image.truncated")


def test_the_content_decides_and_a_wrong_suffix_is_noted(tmp_path, picture):
    image = read_image(written(tmp_path, encoded(picture, "PNG"), "eye.jpg"))
    assert image.notes == ("image.suffix_differs",)
    np.testing.assert_array_equal(image.pixels, picture)


def png_header(width, height):
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + ihdr + struct.pack(">I", zlib.crc32(b"IHDR" + ihdr))


@pytest.mark.parametrize(
    ("size", "code"),
    [
        ((60000, 60000), "image.too_large"),
        ((1, 60000), "image.too_large"),
        ((1, 1), "image.too_small"),
        ((40, 4000), "image.aspect"),
    ],
)
def test_sizes_are_refused_from_the_header(tmp_path, size, code):
    assert refused(written(tmp_path, png_header(*size), "e.png")) == code


def test_limits_are_arguments(tmp_path, picture):
    path = written(tmp_path, encoded(picture, "PNG"), "e.png")
    assert refused(path, limits=ReadLimits(max_pixels=1000)) == "image.too_large"
    assert refused(path, limits=ReadLimits(max_bytes=100)) == "image.too_large"


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_gives_the_pixels_of_the_turned_twin(tmp_path, picture, orientation):
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path = written(tmp_path, encoded(picture, "PNG", exif=exif), "e.png")
    image = read_image(path)
    from PIL import ImageOps

    np.testing.assert_array_equal(image.pixels, np.asarray(ImageOps.exif_transpose(Pillow.open(path))))
    assert ("orientation.mirrored" in image.notes) == (orientation in (2, 4, 5, 7))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_containers_are_scaled_and_not_clipped(tmp_path, bits, suffix):
    ramp = np.linspace(0, (1 << bits) - 1, 64 * 64).reshape(64, 64).round().astype(np.uint16)
    path = tmp_path / f"e.{suffix}"
    cv2.imwrite(str(path), ramp) if suffix == "png" else tifffile.imwrite(path, ramp)
    image = read_image(path)
    expected = np.rint(ramp / ((1 << bits) - 1) * 255)
    assert np.abs(image.pixels[..., 0] - expected).max() <= 1
    assert f"image.scaled_from_{bits}_bit" in image.notes


def test_floating_point_is_read_where_its_range_is_certain(tmp_path):
    values = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    tifffile.imwrite(tmp_path / "a.tif", values)
    assert np.abs(read_image(tmp_path / "a.tif").pixels[..., 0] - values * 255).max() <= 0.51
    for name, wrong in (("b", values * 300), ("c", np.where(values > 0.5, np.nan, values)), ("d", values - 0.5)):
        tifffile.imwrite(tmp_path / f"{name}.tif", wrong.astype(np.float32))
        assert refused(tmp_path / f"{name}.tif") == "image.float_range"


def test_polyglots_and_extra_segments_change_no_pixel(tmp_path, picture):
    content = encoded(picture, "JPEG")
    clean = read_image(written(tmp_path, content)).pixels
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("a.txt", "hidden")
    image = read_image(written(tmp_path, content + archive.getvalue()))
    np.testing.assert_array_equal(image.pixels, clean)
    assert image.notes == ("image.trailing_data",)
    comments = b"".join(b"\xff\xfe\x00\x06spam" for _ in range(5000))
    np.testing.assert_array_equal(read_image(written(tmp_path, content[:2] + comments + content[2:])).pixels, clean)
    # A thumbnail holds an end marker of its own; the picture after it is still cut off.
    thumb = encoded(picture[::8, ::8], "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumb) + 2) + thumb
    assert refused(written(tmp_path, content[:2] + segment + content[2 : len(content) // 2])) == "image.truncated"


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 2}, {"restart_marker_rows": 1}])
def test_unusual_but_whole_jpegs_are_read(tmp_path, picture, options):
    plain = read_image(written(tmp_path, encoded(picture, "JPEG", quality=95, subsampling=0))).pixels.astype(int)
    other = read_image(written(tmp_path, encoded(picture, "JPEG", quality=95, **{"subsampling": 0, **options}))).pixels
    assert np.abs(other - plain).mean() < 2


def test_transparency_and_palettes(tmp_path, picture):
    alpha = np.dstack([picture, np.full(picture.shape[:2], 255, np.uint8)])
    np.testing.assert_array_equal(read_image(written(tmp_path, encoded(alpha, "PNG"), "e.png")).pixels, picture)
    alpha[..., 3] = 0
    assert refused(written(tmp_path, encoded(alpha, "PNG"), "e.png")) == "image.transparent"
    palette = Pillow.fromarray(picture).quantize(64)
    path = tmp_path / "p.png"
    palette.save(path)
    np.testing.assert_array_equal(read_image(path).pixels, np.asarray(palette.convert("RGB")))


def test_grey_pictures_get_the_channels_their_modality_has(tmp_path, picture):
    path = written(tmp_path, simplejpeg.encode_jpeg(np.ascontiguousarray(picture[..., :1]), colorspace="GRAY"))
    assert read_image(path).pixels.shape == (240, 320, 3)
    assert read_image(path, modality="oct").pixels.shape == (240, 320, 1)


def test_a_colour_profile_is_applied_and_a_broken_one_noted(tmp_path, picture):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = written(tmp_path, encoded(picture, "PNG", icc_profile=srgb), "e.png")
    np.testing.assert_array_equal(read_image(path).pixels, picture)
    path = written(tmp_path, encoded(picture, "PNG", icc_profile=b"no profile" * 30), "e.png")
    assert read_image(path).notes == ("icc.unusable",)


def test_files_that_are_none(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    assert refused(tmp_path / "pipe.jpg") == "file.not_a_file"
    assert refused(tmp_path / "folder.jpg") == "file.not_a_file"
    assert refused(tmp_path / "loop.jpg") == "file.unreadable"
    assert refused(tmp_path / "none.jpg") == "file.missing"


def test_several_pages_are_not_one_photograph(tmp_path):
    tifffile.imwrite(tmp_path / "e.tif", np.zeros((3, 64, 64), np.uint8), photometric="minisblack")
    assert refused(tmp_path / "e.tif") == "image.many_pages"


def test_a_tiff_that_lost_strips_is_refused_and_not_shown_black(tmp_path, capfd):
    tifffile.imwrite(tmp_path / "a.tif", np.full((64, 64), 200, np.uint8), photometric="minisblack", rowsperstrip=8)
    content = bytearray((tmp_path / "a.tif").read_bytes())
    # Tag 279, StripByteCounts, becomes one that nobody knows.
    at = content.index((279).to_bytes(2, "little"))
    content[at : at + 2] = (65000).to_bytes(2, "little")
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(ReadError) as caught:
        read_image(tmp_path / "a.tif")
    assert caught.value.code == "image.corrupt"
    assert capfd.readouterr().err == ""
