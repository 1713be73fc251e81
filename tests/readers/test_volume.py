"""OCT as a folder of B-scans or a multi-page TIFF."""

import cv2
import numpy as np
import pytest
import tifffile

from fundusion.core.errors import ReadError
from fundusion.readers.volume import read_volume


@pytest.fixture
def slices(generator):
    return generator.integers(0, 255, (12, 40, 48)).astype(np.uint8)


def folder_of(tmp_path, slices, numbers=None):
    folder = tmp_path / "scan"
    folder.mkdir()
    for i, n in enumerate(numbers if numbers is not None else range(len(slices))):
        cv2.imwrite(str(folder / f"slice_{n}.png"), slices[i])
    return folder


def test_a_folder_is_read_in_natural_order(tmp_path, slices):
    # As text, slice_10 would come before slice_2.
    image = read_volume(folder_of(tmp_path, slices))
    np.testing.assert_array_equal(image.pixels, slices)
    assert image.is_volume
    assert image.spacing_um is None


def test_pages_of_a_tiff_and_sixteen_bit(tmp_path, slices):
    tifffile.imwrite(tmp_path / "a.tif", slices, photometric="minisblack")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").pixels, slices)
    tifffile.imwrite(tmp_path / "b.tif", slices.astype(np.uint16) * 257, photometric="minisblack")
    np.testing.assert_array_equal(read_volume(tmp_path / "b.tif").pixels, slices)


def code_of(path):
    with pytest.raises(ReadError) as caught:
        read_volume(path)
    return caught.value.code


def test_a_gap_sizes_that_differ_and_damage_are_refused(tmp_path, slices):
    folder = folder_of(tmp_path, slices, numbers=[0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12])
    assert code_of(folder) == "volume.gap"
    cv2.imwrite(str(folder / "slice_5.png"), slices[0, :-4])
    assert code_of(folder) == "volume.size"
    (folder / "slice_5.png").write_bytes(b"no picture")
    assert code_of(folder) == "image.corrupt"
    (tmp_path / "empty").mkdir()
    assert code_of(tmp_path / "empty") == "volume.empty"
    tifffile.imwrite(tmp_path / "c.tif", slices, photometric="minisblack")
    (tmp_path / "c.tif").write_bytes((tmp_path / "c.tif").read_bytes()[:9000])
    assert code_of(tmp_path / "c.tif") == "image.corrupt"
    assert code_of(tmp_path / "none.tif") == "file.missing"


def test_what_is_no_file_and_what_is_too_large_in_a_folder(tmp_path, slices, monkeypatch):
    import os

    folder = folder_of(tmp_path, slices)
    monkeypatch.setattr("fundusion.readers.volume.MAX_BYTES", 3000)
    assert code_of(folder) == "image.too_large"
    monkeypatch.undo()
    (folder / "slice_3.png").unlink()
    # Reading from it would wait for ever.
    os.mkfifo(folder / "slice_3.png")
    assert code_of(folder) == "file.not_a_file"


def test_a_gap_of_any_width_costs_nothing(tmp_path, slices):
    folder = folder_of(tmp_path, slices[:3], numbers=[1, 2, 10**15])
    with pytest.raises(ReadError, match="first 3") as caught:
        read_volume(folder)
    assert caught.value.code == "volume.gap"
