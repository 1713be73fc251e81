"""Arrays of a NumPy archive: what is read, what is refused before it is loaded."""

import io
import zipfile

import numpy as np
import pytest

from fundusion.core.errors import ReadError
from fundusion.readers import read_images
from fundusion.readers.npz import read_npz


def code_of(path, **options):
    with pytest.raises(ReadError) as caught:
        read_npz(path, **options)
    return caught.value.code


@pytest.fixture
def archive(tmp_path, clinic, generator):
    arrays = {
        "oct_bscans": generator.integers(0, 256, (6, 40, 48)).astype(np.uint8),
        "slo_fundus": generator.integers(0, 256, (50, 60)).astype(np.uint8),
        "rnflt": generator.random((40, 40)) * 300,
        "race": np.array(2),
    }
    path = tmp_path / "data_00001.npz"
    path.write_bytes(clinic.npz(**arrays))
    return path, arrays


def test_volume_picture_and_map_of_the_harvard_sets(archive):
    path, arrays = archive
    (volume,) = read_images(f"{path}#oct_bscans", modality="oct")
    np.testing.assert_array_equal(volume.pixels, arrays["oct_bscans"])
    assert volume.is_volume
    assert volume.spacing_um is None
    (slo,) = read_images(f"{path}#slo_fundus", modality="slo")
    np.testing.assert_array_equal(slo.pixels[..., 0], arrays["slo_fundus"])
    assert len(volume.digest) == 64
    (layer,) = read_images(f"{path}#rnflt", modality="oct")
    assert np.abs(layer.pixels[..., 0] * (500 / 255) - arrays["rnflt"]).max() < 1
    assert "image.scaled_from_micrometres" in layer.notes


def test_the_array_must_be_named_and_exist(archive, tmp_path, clinic):
    path, arrays = archive
    with pytest.raises(ReadError, match="oct_bscans, race, rnflt, slo_fundus") as caught:
        read_npz(path)
    assert caught.value.code == "npz.key"
    assert code_of(path, key="bscans") == "npz.key"
    assert code_of(path, key="race") == "image.shape"
    (tmp_path / "one.npz").write_bytes(clinic.npz(oct_bscans=arrays["oct_bscans"]))
    np.testing.assert_array_equal(read_npz(tmp_path / "one.npz").pixels, arrays["oct_bscans"])


class Bomb:
    def __reduce__(self):
        return (open, ("bomb_went_off", "w"))


def test_python_objects_are_refused_and_never_run(tmp_path, clinic, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for array in (np.array([[Bomb()]], dtype=object), np.array([(1, Bomb())], dtype=[("a", int), ("b", object)])):
        (tmp_path / "a.npz").write_bytes(clinic.npz(oct_bscans=array))
        assert code_of(tmp_path / "a.npz", key="oct_bscans") == "npz.object"
    assert not (tmp_path / "bomb_went_off").exists()


def forged(path, shape, *, size=100, dtype="|u1"):
    header = str({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    header += b" " * (118 - len(header) - 1) + b"\n"
    content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(size)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("oct_bscans.npy", content)
    return path


def test_forged_headers_and_bombs_are_refused_before_allocation(tmp_path):
    path = tmp_path / "a.npz"
    assert code_of(forged(path, (1 << 20, 1 << 20))) == "image.too_large"
    assert code_of(forged(path, (400, 400, 400))) == "npz.damaged"
    assert code_of(forged(path, (-4, 400, 400))) in ("npz.damaged", "image.shape")
    assert code_of(forged(path, (0, 40, 40))) == "image.shape"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(300):
            archive.writestr(f"a{i}.npy", b"")
    assert code_of(path, key="a1") == "image.too_large"


def test_damaged_archives(archive, tmp_path):
    path, _ = archive
    content = path.read_bytes()
    for bad in (b"", b"PK\x03\x04", content[: len(content) // 2], content[:-30], b"no archive at all"):
        (tmp_path / "bad.npz").write_bytes(bad)
        assert code_of(tmp_path / "bad.npz", key="oct_bscans") == "npz.damaged"
    changed = bytearray(content)
    changed[len(content) // 3] ^= 0xFF
    (tmp_path / "bad.npz").write_bytes(changed)
    assert code_of(tmp_path / "bad.npz", key="oct_bscans") == "npz.damaged"
    assert code_of(tmp_path / "none.npz") == "file.missing"


@pytest.mark.parametrize(
    ("array", "code"),
    [
        (np.full((40, 40), np.nan), "image.float_range"),
        (np.linspace(0, 300, 1600).reshape(40, 40), "image.float_range"),
        (np.full((40, 40), -1.0), "image.float_range"),
        (np.full((40, 40), -3), "image.unsupported"),
        (np.full((40, 40), "a"), "image.unsupported"),
        (np.zeros((40, 40), complex), "image.unsupported"),
        (np.zeros((4, 4), np.uint8), "image.shape"),
    ],
)
def test_ranges_that_are_not_stated_are_refused(tmp_path, clinic, array, code):
    (tmp_path / "a.npz").write_bytes(clinic.npz(x=array))
    assert code_of(tmp_path / "a.npz") == code


def test_ranges_that_are_certain_are_read(tmp_path, clinic):
    ramp = np.arange(1600).reshape(40, 40) % 256
    wide = np.arange(8 * 40 * 48).reshape(8, 40, 48).astype(np.int32)
    for array, expected in ((ramp / 255, ramp), (ramp.astype(float), ramp), (ramp, ramp), (ramp > 9, (ramp > 9) * 255)):
        (tmp_path / "a.npz").write_bytes(clinic.npz(x=array))
        np.testing.assert_array_equal(read_npz(tmp_path / "a.npz", modality="slo").pixels[..., 0], expected)
    (tmp_path / "a.npz").write_bytes(clinic.npz(x=wide))
    volume = read_npz(tmp_path / "a.npz").pixels
    assert volume.dtype == np.uint16
    np.testing.assert_array_equal(volume, wide)
    assert io.BytesIO(clinic.npz(x=wide)).read(2) == b"PK"
