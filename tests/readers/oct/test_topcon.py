"""Topcon `.fda` and `.fds`, written chunk by chunk and read through OCT-Converter."""

from datetime import datetime

import imagecodecs
import numpy as np
import pytest

from fundusion.core.errors import ReadError
from fundusion.core.vocabulary import Laterality
from fundusion.readers.oct import read_oct


@pytest.fixture
def planes(generator):
    return generator.integers(0, 65000, (4, 40, 48)).astype(np.uint16)


def put(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def code_of(path, **options):
    with pytest.raises(ReadError) as caught:
        read_oct(path, **options)
    return caught.value.code


@pytest.mark.parametrize(
    ("kind", "eye", "side"), [("fda", 0, Laterality.RIGHT), ("fds", 1, Laterality.LEFT), ("fda", 7, None)]
)
def test_pixels_eye_spacing_time_camera_and_lines(tmp_path, clinic, planes, kind, eye, side):
    (image,) = read_oct(put(tmp_path, f"a.{kind}", clinic.topcon(planes, kind=kind, eye=eye)))
    np.testing.assert_array_equal(image.pixels, planes)
    assert image.laterality is side
    assert image.spacing_um == pytest.approx((3000 / 4, 2.6, 6000 / 48))
    assert image.acquired == datetime(2019, 5, 6, 7, 8, 9)
    assert image.device == "Topcon DRI OCT Triton"
    np.testing.assert_allclose(image.frame_lines[[0, -1]], [[50, 100, 50, 300], [250, 100, 250, 300]])
    assert "CANARY" not in repr(image)


@pytest.mark.parametrize("form", ["jp2", "jpeg"])
def test_compressed_b_scans(tmp_path, clinic, planes, form):
    grey = (np.add.outer(np.arange(40), np.arange(48)) * 2).astype(np.uint8)
    encode = {
        "jp2": lambda p: imagecodecs.jpeg2k_encode(p, level=0, codecformat="jp2"),
        "jpeg": lambda p: imagecodecs.jpeg8_encode(p, level=98),
    }[form]
    coded = [encode(np.roll(grey, i, 0)) for i in range(4)]
    (image,) = read_oct(put(tmp_path, "a.fda", clinic.topcon(planes, coded=coded)))
    assert np.abs(image.pixels[2].astype(int) - np.roll(grey, 2, 0)).mean() < 3
    small = [*coded[:3], encode(grey[:-8])]
    assert code_of(put(tmp_path, "a.fda", clinic.topcon(planes, coded=small))) == "volume.size"
    assert (
        code_of(put(tmp_path, "a.fda", clinic.topcon(planes, coded=[*coded[:3], b"GIF89a" + bytes(99)])))
        == "image.corrupt"
    )
    assert code_of(put(tmp_path, "a.fda", clinic.topcon(planes, coded=coded[:3]))) in ("image.truncated", "oct.damaged")


def test_a_star_scan_has_neither_spacing_nor_lines(tmp_path, clinic, planes):
    (image,) = read_oct(put(tmp_path, "a.fds", clinic.topcon(planes, kind="fds", scan_mode=3)))
    assert image.spacing_um is None
    assert image.frame_lines is None
    assert "volume.not_raster" in image.notes


def test_wrong_size_fields_and_cuts(tmp_path, clinic, planes):
    content = clinic.topcon(planes)
    for keep in (0, 3, 14, 15, 200, len(content) // 2, len(content) - 1):
        assert code_of(put(tmp_path, "a.fda", content[:keep])) in ("oct.damaged", "image.truncated")
    at = content.index(b"@IMG_MOT_COMP_03") + 16
    wrong = bytearray(content)
    wrong[at : at + 4] = b"\xff\xff\xff\xff"
    assert code_of(put(tmp_path, "a.fda", wrong)) == "image.truncated"
    wrong = bytearray(content)
    wrong[at + 17 : at + 21] = (4000).to_bytes(4, "little")
    assert code_of(put(tmp_path, "a.fda", wrong)) in ("oct.size", "image.truncated")
    assert code_of(put(tmp_path, "a.fds", content)) == "volume.empty"
    assert code_of(put(tmp_path, "a.fda", clinic.topcon(planes, kind="fds"))) == "volume.empty"
    assert code_of(put(tmp_path, "a.fda", content), modality="cfp") in ("oct.no_localiser", "oct.damaged")


def test_the_photograph_of_a_topcon_file(tmp_path, clinic, planes, picture):
    import struct

    stream = imagecodecs.jpeg2k_encode(picture[..., ::-1].copy(), level=0, codecformat="jp2")
    data = struct.pack("<IIII4sI", 80, 64, 24, 1, b"jp2", len(stream)) + stream
    extra = bytes([11]) + b"@IMG_FUNDUS" + struct.pack("<I", len(data)) + data
    (image,) = read_oct(put(tmp_path, "a.fda", clinic.topcon(planes, extra=extra)), modality="cfp")
    np.testing.assert_array_equal(image.pixels, picture)
    assert image.laterality is Laterality.RIGHT
