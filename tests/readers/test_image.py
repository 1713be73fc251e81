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


def outcome(path, **options):
    try:
        return None, read_image(path, **options).pixels
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


@pytest.mark.parametrize(
    "options",
    [
        {"progressive": True},
        {"restart_marker_rows": 1},
        {"restart_marker_blocks": 3},
        {"optimize": True},
    ],
)
def test_coding_variants_equal_their_baseline_twin(tmp_path, picture, options):
    plain = read_image(written(tmp_path, encoded(picture, "JPEG", quality=90))).pixels.astype(int)
    other = read_image(written(tmp_path, encoded(picture, "JPEG", quality=90, **options))).pixels
    assert np.abs(other - plain).max() <= 2


def test_four_one_one_equals_its_twin_of_the_same_chroma(tmp_path, picture):
    flat = np.repeat(picture[..., :1], 3, axis=2)
    twin = simplejpeg.encode_jpeg(flat, quality=95, colorsubsampling="444")
    twin = read_image(written(tmp_path, twin)).pixels.astype(int)
    code = simplejpeg.encode_jpeg(flat, quality=95, colorsubsampling="411")
    assert np.abs(read_image(written(tmp_path, code)).pixels - twin).max() <= 2


def with_frame(content, marker, precision=8):
    """Change the frame marker and the bits per sample of a JPEG."""
    at = content.index(b"\xff\xc0")
    return content[: at + 1] + bytes([marker]) + content[at + 2 : at + 4] + bytes([precision]) + content[at + 5 :]


@pytest.mark.parametrize(("marker", "precision"), [(0xC9, 8), (0xCA, 8), (0xC1, 12), (0xC3, 8), (0xC5, 8)])
def test_arithmetic_twelve_bit_and_lossless_jpegs_are_named_unsupported(tmp_path, picture, marker, precision):
    assert refused(written(tmp_path, with_frame(encoded(picture, "JPEG"), marker, precision))) == "image.unsupported"


def forged_jpeg(picture):
    content = encoded(picture, "JPEG")
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", 65500, 65500) + content[at + 4 :]


@pytest.mark.parametrize("kind", ["png", "jpeg", "ppm"])
def test_bombs_are_refused_without_memory_and_at_once(tmp_path, picture, kind):
    import resource
    import time

    content = {
        "png": png_header(60000, 60000) + bytes(1 << 20),
        "jpeg": forged_jpeg(picture),
        "ppm": b"P6 60000 60000 255\n" + bytes(1 << 20),
    }[kind]
    path = written(tmp_path, content)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    # Also where the picture would be reduced: a scaled decoder sizes its buffers by the header too.
    for enough in (None, 64):
        assert refused(path, enough_px=enough) == "image.too_large"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000
    assert time.process_time() - start < 0.2


def test_fifty_megabytes_of_segments_and_ten_thousand_comments(tmp_path, picture):
    import time

    content = encoded(picture, "JPEG")
    clean = read_image(written(tmp_path, content)).pixels
    segment = b"\xff\xe5" + struct.pack(">H", 65535) + bytes(65533)
    comments = b"\xff\xfe\x00\x06spam" * 10_000
    start = time.process_time()
    image = read_image(written(tmp_path, content[:2] + segment * 800 + comments + content[2:]))
    assert time.process_time() - start < 5
    np.testing.assert_array_equal(image.pixels, clean)


@pytest.mark.parametrize("block", [1, 2, 7, 64])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_markers_are_found_wherever_the_blocks_of_a_file_end(tmp_path, picture, monkeypatch, block, options):
    data = encoded(picture[:96, :96], "JPEG", quality=85, **options)
    rest = data + b"\xff\xd9 and more"
    whole = read_image(written(tmp_path, rest))
    monkeypatch.setattr("fundusion.readers.image._BLOCK_BYTES", block)
    again = read_image(written(tmp_path, rest))
    assert whole.notes == again.notes == ("image.trailing_data",)
    assert np.array_equal(whole.pixels, again.pixels)
    assert read_image(written(tmp_path, data)).notes == ()


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("packed", [False, True])
def test_ppm_photographs_as_stare_ships_them(tmp_path, picture, bits, packed):
    import gzip

    top = (1 << bits) - 1
    samples = np.rint(picture / 255.0 * top).astype(np.uint8 if bits == 8 else ">u2")
    content = f"P6\n320 240\n{top}\n".encode() + samples.tobytes()
    name = "im0001.ppm.gz" if packed else "im0001.ppm"
    image = read_image(written(tmp_path, gzip.compress(content) if packed else content, name))
    assert np.abs(image.pixels.astype(int) - picture).max() <= 1
    assert image.notes == (() if bits == 8 else (f"image.scaled_from_{top}",))


def test_a_packed_bomb_is_refused(tmp_path):
    import gzip

    path = written(tmp_path, gzip.compress(b"P6 9000 9000 255\n" + bytes(243_000_000), 9), "a.ppm.gz")
    assert refused(path, limits=ReadLimits(max_bytes=1 << 20)) == "image.too_large"


def test_ink_colors_are_converted_and_damage_in_them_is_found(tmp_path, picture):
    inks = encoded_mode(picture, "CMYK")
    image = read_image(written(tmp_path, inks))
    assert "image.cmyk" in image.notes
    assert np.abs(image.pixels.astype(int) - picture).mean() < 20
    spoilt = bytearray(inks)
    start = inks.index(b"\xff\xda") + 300
    spoilt[start : start + 64] = np.random.default_rng(1).integers(0, 255, 64).astype(np.uint8).tobytes()
    assert refused(written(tmp_path, bytes(spoilt))) in ("image.corrupt", "image.truncated")


def encoded_mode(picture, mode):
    stream = io.BytesIO()
    Pillow.fromarray(picture).convert(mode).save(stream, "JPEG", quality=92)
    return stream.getvalue()


def test_a_wide_gamut_profile_is_converted_the_same_at_every_scale(tmp_path):
    # Any profile that does not call itself sRGB is converted.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    other = profile.replace("sRGB".encode("utf-16-be"), "cam1".encode("utf-16-be"))
    assert other != profile
    large = cv2.resize(np.random.default_rng(0).integers(40, 200, (24, 32, 3)).astype(np.uint8), (1600, 1200))
    path = written(tmp_path, encoded(large, "JPEG", quality=95, icc_profile=other))
    full, reduced = read_image(path), read_image(path, enough_px=600)
    assert reduced.reduction == 2
    assert full.notes == reduced.notes
    means = cv2.resize(full.pixels, (800, 600), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(means - reduced.pixels).mean() < 1


def test_names_of_any_bytes(tmp_path, picture):
    for name in ("眼底 右.jpg", "a'b;c.jpg", os.fsdecode(b"\xff\xfe.jpg"), "-rf.jpg", "x" * 240 + ".jpg"):
        path = written(tmp_path, encoded(picture, "JPEG"), name)
        assert read_image(path).pixels.shape == picture.shape
        path.write_bytes(b"")
        assert refused(path) == "image.not_an_image"


def test_a_file_without_rights_names_no_folder(tmp_path, picture, monkeypatch):
    path = written(tmp_path, encoded(picture, "JPEG"))

    def denied(*_, **__):
        raise PermissionError(13, "denied")

    monkeypatch.setattr("builtins.open", denied)
    assert refused(path) == "file.permission"


def mutated(content, generator):
    """Return the content with a few bytes changed, dropped, repeated or cut."""
    spoilt = bytearray(content)
    for _ in range(int(generator.integers(1, 6))):
        at, count = int(generator.integers(0, len(spoilt))), int(generator.integers(1, 40))
        what = int(generator.integers(0, 4))
        if what == 0:
            spoilt[at : at + count] = generator.integers(0, 256, count).astype(np.uint8).tobytes()
        elif what == 1:
            del spoilt[at : at + count]
        elif what == 2:
            spoilt[at:at] = spoilt[at : at + count]
        elif len(spoilt) > 200:
            del spoilt[max(100, at) :]
    return bytes(spoilt)


def seeds_of(picture):
    import gzip

    small = np.ascontiguousarray(picture[::2, ::2])
    stream = io.BytesIO()
    tifffile.imwrite(stream, small)
    ppm = b"P6 160 120 255\n" + small.tobytes()
    return {
        "jpeg": encoded(small, "JPEG"),
        "progressive": encoded(small, "JPEG", progressive=True),
        "png": encoded(small, "PNG"),
        "tiff": stream.getvalue(),
        "ppm": ppm,
        "gz": gzip.compress(ppm),
    }


def fuzz(tmp_path, picture, *, rounds):
    for kind, content in seeds_of(picture).items():
        generator = np.random.default_rng(len(kind))
        for _ in range(rounds):
            path = written(tmp_path, mutated(content, generator), "e.img")
            code, pixels = outcome(path, enough_px=60)
            assert pixels.dtype == np.uint8 if code is None else code.startswith("image.")


@pytest.mark.filterwarnings("ignore")
def test_mutated_files_are_read_or_named(tmp_path, picture):
    fuzz(tmp_path, picture, rounds=60)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ten_thousand_mutated_files_of_each_format(tmp_path, picture):
    fuzz(tmp_path, picture, rounds=10_000)
