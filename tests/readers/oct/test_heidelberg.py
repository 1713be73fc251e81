"""Heidelberg `.vol` and `.e2e`, written from the description of the formats and read through the libraries."""

import struct
from datetime import datetime

import numpy as np
import pytest

from fundusion.core.errors import MissingDependency, ReadError
from fundusion.core.vocabulary import Laterality
from fundusion.readers.oct import heidelberg, read_oct


@pytest.fixture
def floats(generator):
    return (generator.random((5, 40, 48)) ** 4).astype(np.float32)


@pytest.fixture
def planes(generator):
    """B-scans in the file's own 16-bit floats: 6 bits exponent, 10 bits mantissa, near 1.

    The libraries read the mantissa with its bits reversed; values that are the same either way take no side in that.
    """
    exponents, mantissas = (
        generator.integers(50, 63, (4, 40, 48)),
        generator.choice([0, 1023, 0b1000000001], (4, 40, 48)),
    )
    return (exponents << 10 | mantissas).astype(np.uint16)


def put(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def code_of(path, **options):
    with pytest.raises(ReadError) as caught:
        read_oct(path, **options)
    assert str(path.parent) not in str(caught.value)
    return caught.value.code


def shown(linear):
    """The display scale of the device. Source: eyepy `core/utils.py`, in turn from the vendor's description."""
    return np.rint(np.clip((np.log(linear.astype(np.float64) + 2.44e-4) + 8.3) / 8.285, 0, 1) * 255)


def test_vol_pixels_eye_spacing_time_and_lines(tmp_path, clinic, floats):
    (image,) = read_oct(put(tmp_path, "a.vol", clinic.vol(floats, eye="OS")))
    assert np.abs(image.pixels - shown(floats)).max() <= 1
    assert image.laterality is Laterality.LEFT
    assert image.spacing_um == pytest.approx((120, 3.9, 11.5))
    assert image.acquired == datetime(2017, 1, 1)
    # x 0.5 mm, y 3 mm at 0.1 and 0.2 mm per pixel of the localiser.
    np.testing.assert_allclose(image.frame_lines[0], [15, 5, 15, 50])
    assert "volume.bottom_up" in image.notes
    (slo,) = read_oct(tmp_path / "a.vol", modality="slo")
    assert slo.pixels.shape == (64, 64, 1)
    assert slo.laterality is Laterality.LEFT


def test_vol_names_no_patient(tmp_path, clinic, floats):
    path = put(tmp_path, "a.vol", clinic.vol(floats))
    assert b"CANARY" in path.read_bytes()
    assert "CANARY" not in repr(read_oct(path))


def test_vol_eye_is_never_guessed_and_star_has_no_spacing(tmp_path, clinic, floats):
    assert read_oct(put(tmp_path, "a.vol", clinic.vol(floats, eye="??")))[0].laterality is None
    angles = np.linspace(0, np.pi, 5, endpoint=False)
    star = [(3 - 2 * np.cos(a), 6 - 2 * np.sin(a), 3 + 2 * np.cos(a), 6 + 2 * np.sin(a)) for a in angles]
    (image,) = read_oct(put(tmp_path, "a.vol", clinic.vol(floats, lines=star, pattern=5)))
    assert image.spacing_um is None
    assert "volume.not_raster" in image.notes


def test_vol_missing_exchanged_and_cut_b_scans(tmp_path, clinic, floats):
    def lines(ys):
        return [(0.5, y, 5.0, y) for y in ys]

    assert code_of(put(tmp_path, "a.vol", clinic.vol(floats, lines=lines([5, 4, 3, 1, 0])))) == "volume.gap"
    assert code_of(put(tmp_path, "a.vol", clinic.vol(floats, lines=lines([5, 4, 2, 3, 1])))) == "volume.order"
    for cut in (1, 5000, 30000):
        assert code_of(put(tmp_path, "a.vol", clinic.vol(floats, cut=cut))) == "image.truncated"
    assert code_of(put(tmp_path, "a.vol", b"HSF-OCT-103\0")) == "oct.damaged"
    assert code_of(put(tmp_path, "a.vol", b"something else" * 99)) == "oct.damaged"
    forged = bytearray(clinic.vol(floats))
    forged[16:20] = (2000).to_bytes(4, "little")
    assert code_of(put(tmp_path, "a.vol", forged)) == "image.truncated"
    forged[16:20] = b"\xff\xff\xff\xff"
    assert code_of(put(tmp_path, "a.vol", forged)) == "oct.size"


def test_vol_angiography(tmp_path, clinic, floats):
    (image,) = read_oct(put(tmp_path, "a.vol", clinic.vol(floats)), modality="octa")
    assert np.abs(image.pixels - floats * 255).max() <= 0.51


def test_e2e_each_volume_has_its_own_eye(tmp_path, clinic, planes):
    path = put(tmp_path, "a.e2e", clinic.e2e([("R", planes), ("L", planes[:3])]))
    right, left = read_oct(path)
    assert (right.laterality, left.laterality) == (Laterality.RIGHT, Laterality.LEFT)
    assert (len(right.pixels), len(left.pixels)) == (4, 3)
    linear = (1 + (planes & 1023) / 1024) * 2.0 ** ((planes >> 10).astype(int) - 63)
    expected = np.where(linear <= 1, shown(linear), 255)
    assert np.abs(right.pixels - expected).max() <= 1
    # Across the retina the file counts in degrees: no micrometres.
    assert right.spacing_um is None
    assert "CANARY" not in repr((right, left))
    one, two = read_oct(path, modality="slo")
    assert (one.laterality, two.laterality) == (Laterality.RIGHT, Laterality.LEFT)


def test_both_libraries_read_the_same(tmp_path, clinic, planes):
    content = clinic.e2e([("R", planes), ("L", planes[:3])])
    path = put(tmp_path, "a.e2e", content)
    first, second = heidelberg._by_oct_converter(path), heidelberg._by_eyepy(path)
    assert first.keys() == second.keys() == heidelberg.e2e_layouts(content, "a").keys()
    for key in first:
        assert np.abs(np.array(first[key], int) - np.array(second[key], int)).max() <= 1
    assert heidelberg._counts_by_eyepy(path, content) == {k: len(v) for k, v in first.items()}


def test_the_other_library_is_taken_when_one_fails(tmp_path, clinic, planes, monkeypatch):
    path = put(tmp_path, "a.e2e", clinic.e2e([("R", planes)]))
    (normal,) = read_oct(path)
    assert "oct.by_oct_converter" in normal.notes

    def broken(path):
        raise ReadError("no", code="oct.damaged")

    monkeypatch.setattr(heidelberg, "_by_oct_converter", broken)
    (other,) = read_oct(path)
    assert "oct.by_eyepy" in other.notes
    assert np.abs(other.pixels.astype(int) - normal.pixels).max() <= 1
    monkeypatch.setattr(heidelberg, "_by_eyepy", broken)
    assert code_of(path) == "oct.damaged"


def test_libraries_that_count_differently_hold_the_volume(tmp_path, clinic, planes, monkeypatch):
    path = put(tmp_path, "a.e2e", clinic.e2e([("R", planes)]))
    monkeypatch.setattr(heidelberg, "_counts_by_eyepy", lambda *_: {"1_10_100": 3})
    assert code_of(path) == "volume.count"


def test_e2e_missing_double_and_contradictory_parts(tmp_path, clinic, planes):
    assert code_of(put(tmp_path, "a.e2e", clinic.e2e([("R", planes)], missing={(0, 1)}))) == "volume.gap"
    assert code_of(put(tmp_path, "a.e2e", clinic.e2e([("R", planes)], missing={(0, 3)}))) == "volume.count"
    assert code_of(put(tmp_path, "a.e2e", clinic.e2e([("R", planes)], say=9))) == "volume.count"
    assert code_of(put(tmp_path, "a.e2e", clinic.e2e([("R", planes[:0])]))) == "volume.empty"
    both = clinic.e2e([("R", planes)])
    at = both.index(bytes(14) + b"R" + bytes(12))
    assert code_of(put(tmp_path, "a.e2e", both[: at + 14] + b"L" + both[at + 15 :])) == "laterality.conflict"
    assert read_oct(put(tmp_path, "a.e2e", clinic.e2e([("?", planes)])))[0].laterality is None


def test_e2e_with_a_b_scan_of_an_impossible_number_makes_no_room_for_it(tmp_path, clinic, planes):
    content = clinic.e2e([("R", planes)])
    for number in (1 << 30, -4):
        wanted = struct.pack("<iiii", 1, 10, 100, 2)
        forged = content.replace(wanted, struct.pack("<iiii", 1, 10, 100, number))
        assert forged != content
        assert code_of(put(tmp_path, "a.e2e", forged)) == "oct.size"
    # In the element itself only, not in the directory.
    at = content.rindex(struct.pack("<iiii", 1, 10, 100, 2)) + 12
    forged = content[:at] + struct.pack("<i", 1 << 30) + content[at + 4 :]
    assert code_of(put(tmp_path, "a.e2e", forged)) == "oct.size"


def test_e2e_that_turns_in_a_circle_or_is_cut_comes_to_an_end(tmp_path, clinic, planes):
    assert code_of(put(tmp_path, "a.e2e", clinic.e2e([("R", planes)], circle=True))) == "oct.damaged"
    content = clinic.e2e([("R", planes)])
    for keep in (0, 50, 120, 600, len(content) // 2, len(content) - 2000):
        assert code_of(put(tmp_path, "a.e2e", content[:keep])) in (
            "oct.damaged", "volume.empty", "image.truncated", "volume.gap", "volume.count",
        )  # fmt: skip
    # The last element points back to the first directory: a reader that goes on from there would never end.
    last = 88 + 52 + 44 * (int.from_bytes(content[124:128], "little") - 1)
    turned = bytearray(content)
    turned[last + 4 : last + 12] = bytes(8)
    assert not heidelberg._runs_forward(bytes(turned), "a")
    assert heidelberg._counts_by_eyepy(put(tmp_path, "b.e2e", turned), bytes(turned)) is None


def test_without_libraries_the_extra_is_named(tmp_path, clinic, floats, planes, monkeypatch):
    import sys

    for name in ("eyepy.io.he.vol_reader", "eyepy.io.he", "eyepy", "oct_converter.readers", "oct_converter"):
        monkeypatch.setitem(sys.modules, name, None)
    for path in (
        put(tmp_path, "a.vol", clinic.vol(floats)),
        put(tmp_path, "a.e2e", clinic.e2e([("R", planes)])),
    ):
        with pytest.raises(MissingDependency, match="fundusion\\[oct\\]"):
            read_oct(path)
