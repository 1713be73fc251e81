"""Bounds on what a vendor file claims, and the comparison with what a library gives."""

from datetime import datetime

import numpy as np
import pytest

from fundusion.core.errors import ReadError
from fundusion.readers.oct.layout import Layout, check_size, content_of, image_of, moment, positive, tamed, text, unpack

FACTS = {"name": "a", "modality": "oct", "digest": "0"}


def code_of(function, *args, **options):
    with pytest.raises(ReadError) as caught:
        function(*args, **options)
    return caught.value.code


def test_fields_outside_the_file_are_refused():
    assert unpack("HI", b"\1\0\2\0\0\0", 0, "a") == (1, 2)
    for position in (-1, 1, 1 << 40):
        assert code_of(unpack, "HI", b"\1\0\2\0\0\0", position, "a") == "oct.damaged"


def test_sizes_no_device_makes():
    check_size(128, 1024, 512, "a")
    for size in ((0, 40, 40), (5000, 40, 40), (4, 4, 40), (4, 40, 1 << 31)):
        assert code_of(check_size, *size, "a") == "oct.size"
    assert code_of(check_size, 2048, 8192, 8192, "a") == "image.too_large"


def test_lengths_texts_and_times_that_are_none():
    assert positive(0.0039, scale=1000) == pytest.approx(3.9)
    assert [positive(v) for v in (0.0, -1.0, float("nan"), float("inf"), 1e30)] == [None] * 5
    assert text(b"DRI OCT\0rest\xff") == "DRI OCT"
    assert moment(2020, 2, 30, 0, 0, 0) is None
    assert moment(2020, 2, 3, 4, 5, 6) == datetime(2020, 2, 3, 4, 5, 6)


def test_what_a_library_prints_or_raises_becomes_a_code(capsys):
    def library():
        with tamed("a.vol", "Heidelberg"):
            print("secret")
            raise UnicodeDecodeError("ascii", b"secret", 0, 1, "no")

    with pytest.raises(ReadError) as caught:
        library()
    assert caught.value.code == "oct.damaged"
    assert "secret" not in str(caught.value) + capsys.readouterr().out


def test_counts_and_sizes_must_agree_with_the_file(generator):
    planes = list(generator.integers(0, 255, (4, 40, 48)).astype(np.uint8))
    layout = Layout(slices=4, height=40, width=48)
    assert image_of(planes, layout, **FACTS).pixels.shape == (4, 40, 48)
    assert code_of(image_of, planes[:3], layout, **FACTS) == "volume.count"
    assert code_of(image_of, [p.T for p in planes], layout, **FACTS) == "volume.size"
    assert code_of(image_of, [*planes[:3], planes[0][:-1]], layout, **FACTS) == "volume.size"


def test_spacing_needs_all_three_and_a_raster(generator):
    planes = list(generator.integers(0, 255, (4, 40, 48)).astype(np.uint8))
    full = Layout(slices=4, height=40, width=48, spacing_um=(100.0, 4.0, 11.0))
    assert image_of(planes, full, **FACTS).spacing_um == (100, 4, 11)
    for spacing, note in (
        ((None, 4.0, 11.0), "spacing.between_slices_missing"),
        ((100.0, None, 11.0), "spacing.missing"),
    ):
        image = image_of(planes, Layout(slices=4, height=40, width=48, spacing_um=spacing), **FACTS)
        assert image.spacing_um is None
        assert note in image.notes
    star = Layout(slices=4, height=40, width=48, spacing_um=(100.0, 4.0, 11.0), notes=("volume.not_raster",))
    assert image_of(planes, star, **FACTS).spacing_um is None


def test_a_single_b_scan_is_a_picture_and_floats_need_a_known_scale():
    plane = np.full((40, 48), 1000.0, np.float32)
    one = Layout(slices=1, height=40, width=48, spacing_um=(None, 4.0, 11.0))
    image = image_of([plane], one, **FACTS)
    assert image.pixels.shape == (40, 48, 1)
    assert image.spacing_um == (4, 11)
    for value in (np.nan, -1.0, 70000.0):
        assert code_of(image_of, [np.full((40, 48), value, np.float32)], one, **FACTS) == "image.float_range"


def test_missing_files(tmp_path):
    assert code_of(content_of, tmp_path / "none.vol") == "file.missing"
    assert code_of(content_of, tmp_path) == "file.missing"
