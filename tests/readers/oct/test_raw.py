"""Zeiss, Bioptigen and Optovue: sizes and eye stand in the name, the header, or a text beside the file."""

import numpy as np
import pytest

from fundusion.core.errors import ReadError
from fundusion.core.vocabulary import Laterality
from fundusion.readers.oct import read_oct
from fundusion.readers.oct.raw import eye_of


def put(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def code_of(path, **options):
    with pytest.raises(ReadError) as caught:
        read_oct(path, **options)
    return caught.value.code


@pytest.fixture
def cube(generator):
    return generator.integers(0, 255, (3, 1024, 16)).astype(np.uint8)


def cirrus(cube):
    """A-scans of a B-scan one after another, each from top to bottom."""
    return np.transpose(cube, (0, 2, 1)).tobytes()


def test_cirrus_cube(tmp_path, cube):
    name = "PCANARY123_Macular Cube 16x3_1-29-2001_9-16-20_OS_sn8112_cube_raw.img"
    (image,) = read_oct(put(tmp_path, name, cirrus(cube)))
    np.testing.assert_array_equal(image.pixels, cube)
    assert image.laterality is Laterality.LEFT
    # Month and day of the name could be exchanged, and the scan length is not in the file.
    assert image.acquired is None
    assert image.spacing_um is None
    assert "CANARY" not in repr(image)


def test_a_cube_whose_name_or_size_does_not_fit(tmp_path, cube):
    assert code_of(put(tmp_path, "cube_OS.img", cirrus(cube))) == "oct.no_size"
    assert code_of(put(tmp_path, "c 16x3_OS.img", cirrus(cube)[:-1])) == "image.truncated"
    assert code_of(put(tmp_path, "c 16x3_OS.img", cirrus(cube) + b"\0")) == "oct.size"
    assert code_of(put(tmp_path, "c 16x0_OS.img", b"")) == "oct.size"
    assert code_of(put(tmp_path, "c 16x3_OS.img", cirrus(cube)), modality="cfp") == "oct.no_localiser"


@pytest.mark.parametrize(
    ("name", "eye"),
    [
        ("a_OD_b.img", "OD"),
        ("a-os.img", "OS"),
        ("OD.OCT", "OD"),
        ("MOOD_1.img", None),
        ("a_OD_OS.img", None),
        ("O|.img", None),
    ],
)
def test_the_eye_of_a_name_stands_between_separators(name, eye):
    assert eye_of(name) == (Laterality(eye) if eye else None)


def test_bioptigen_volume_and_linear_scan(tmp_path, clinic, generator):
    frames = generator.integers(0, 4000, (6, 16, 32)).astype(np.uint16)
    (volume,) = read_oct(put(tmp_path, "a_OD_1.OCT", clinic.bioptigen(frames, lines=16, depth=32)))
    np.testing.assert_array_equal(volume.pixels, np.transpose(frames, (0, 2, 1)))
    assert volume.laterality is Laterality.RIGHT
    assert "CANARY" not in repr(volume)
    series = read_oct(put(tmp_path, "b.OCT", clinic.bioptigen(frames, lines=16, depth=32, scans=3)))
    assert [v.pixels.shape for v in series] == [(3, 32, 16)] * 2
    lines = read_oct(put(tmp_path, "c.OCT", clinic.bioptigen(frames[:2], lines=16, depth=32, kind=0)))
    assert [v.pixels.shape for v in lines] == [(32, 16, 1)] * 2
    assert lines[0].laterality is None


def test_bioptigen_cuts_never_show_memory_that_was_not_filled(tmp_path, clinic, generator):
    frames = generator.integers(0, 4000, (6, 16, 32)).astype(np.uint16)
    content = clinic.bioptigen(frames, lines=16, depth=32)
    for keep in (0, 5, 40, 300, len(content) // 2, len(content) - 100):
        assert code_of(put(tmp_path, "a.OCT", content[:keep])) in ("oct.damaged", "image.truncated")
    for key, value in ((b"FRAMECOUNT", 5), (b"FRAMECOUNT", 1 << 31), (b"LINELENGTH", 1 << 20), (b"SCANTYPE", 77)):
        at = content.index(key) + len(key) + 4
        wrong = content[:at] + value.to_bytes(4, "little") + content[at + 4 :]
        assert code_of(put(tmp_path, "a.OCT", wrong)) in ("oct.size", "volume.count", "image.truncated")


def test_optovue_takes_its_size_from_the_text_beside_it(tmp_path, generator):
    values = generator.integers(0, 4000, (3, 20, 24)).astype(np.float32)
    path = put(tmp_path, "a.oct", values.tobytes())
    assert code_of(path) == "oct.damaged"
    lines = ["Eye Scanned = OS", "Window Height = 24", "Scan Length = 20", "Scan Usage Number = 3"]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    (volume,) = read_oct(path)
    np.testing.assert_array_equal(volume.pixels, np.rot90(values, axes=(1, 2)))
    assert volume.laterality is Laterality.LEFT
    (tmp_path / "a.txt").write_text("\n".join([*lines, *lines[2:]]))
    assert code_of(path) == "image.truncated"
    put(tmp_path, "a.oct", values.tobytes() * 2)
    # The library would show the first scan twice.
    assert code_of(path) == "oct.size"
    (tmp_path / "a.txt").write_text("nothing")
    assert code_of(path) == "oct.no_size"
