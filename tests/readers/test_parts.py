"""From a path to images: parts of files, the format that is meant, and the eye that all of it agrees on."""

import numpy as np
import pytest

from fundusion.core.errors import FundusionError, ReadError
from fundusion.core.study import StudyRecord
from fundusion.core.vocabulary import Laterality
from fundusion.readers import read_images, read_study, split_part


def record(path, modality, eye=None):
    return StudyRecord(study_id="s", laterality=eye, images={modality: (str(path),)})


def code_of(function, *args, **options):
    with pytest.raises(FundusionError) as caught:
        function(*args, **options)
    return caught.value.code


@pytest.fixture
def planes(generator):
    return generator.integers(52000, 63000, (4, 40, 48)).astype(np.uint16)


def test_a_part_is_what_stands_behind_the_last_hash_unless_the_file_exists(tmp_path):
    assert split_part("a/b.npz#x") == (tmp_path.__class__("a/b.npz"), "x")
    assert split_part("a/b.npz")[1] is None
    assert split_part("a#b/c.npz")[1] is None
    (tmp_path / "odd#name.png").write_bytes(b"x")
    assert split_part(tmp_path / "odd#name.png") == (tmp_path / "odd#name.png", None)
    assert split_part("x" * 5000 + "#1")[1] == "1"


def test_frames_of_a_series_are_named_in_the_path(tmp_path, clinic, generator):
    series = generator.integers(0, 255, (6, 40, 48)).astype(np.uint8)
    path = clinic.written(tmp_path, clinic.dicom(series), "series.dcm")
    assert code_of(read_images, path, modality="ffa") == "dicom.many_frames"
    chosen = read_images(f"{path}#2,5-6", modality="ffa")
    np.testing.assert_array_equal([i.pixels[..., 0] for i in chosen], series[[1, 4, 5]])
    assert len(read_images(f"{path}#all", modality="ffa")) == 6
    for bad in ("0", "7", "3-2", "x", "1,,2", "1-99999", "1e9", "-1"):
        assert code_of(read_images, f"{path}#{bad}", modality="ffa") == "dicom.no_such_frame"
    assert code_of(read_images, tmp_path / "none.png#3", modality="cfp") == "file.no_parts"


def test_a_file_with_both_eyes_gives_the_eye_of_the_study(tmp_path, clinic, planes):
    path = tmp_path / "both.e2e"
    path.write_bytes(clinic.e2e([("R", planes), ("L", planes[:3]), ("L", planes[:2])]))
    right = read_study(record(path, "oct", Laterality.RIGHT))
    left = read_study(record(path, "oct", Laterality.LEFT))
    assert [len(i.pixels) for i in right.images["oct"]] == [4]
    assert [len(i.pixels) for i in left.images["oct"]] == [3, 2]
    assert "laterality.other_scans_left_out" in left.images["oct"][0].notes
    assert code_of(read_study, record(path, "oct")) == "laterality.conflict"


def test_volumes_of_no_stated_eye_are_not_guessed_into_a_file_of_two(tmp_path, clinic, planes):
    path = tmp_path / "both.e2e"
    path.write_bytes(clinic.e2e([("R", planes), ("L", planes[:3]), ("?", planes[:2])]))
    study = read_study(record(path, "oct", Laterality.LEFT))
    assert [len(i.pixels) for i in study.images["oct"]] == [3]


def test_a_file_of_the_other_eye_is_held(tmp_path, clinic, planes):
    path = tmp_path / "one.e2e"
    path.write_bytes(clinic.e2e([("R", planes)]))
    assert read_study(record(path, "oct")).laterality is Laterality.RIGHT
    assert code_of(read_study, record(path, "oct", Laterality.LEFT)) == "laterality.conflict"


@pytest.mark.parametrize(
    ("name", "tag", "held"),
    [
        ("4711_OD.dcm", "L", True),
        ("4711_OD.dcm", "R", False),
        ("os_4711.dcm", "R", True),
        ("right-eye.dcm", "L", True),
        ("MOOD.dcm", "L", False),
        ("OD_OS.dcm", "L", False),
        ("4711_OD.dcm", "", False),
    ],
)
def test_the_name_of_a_file_against_its_tag(tmp_path, clinic, picture, name, tag, held):
    path = clinic.written(tmp_path, clinic.dicom(picture, ImageLaterality=tag), name)
    if held:
        assert code_of(read_images, path, modality="cfp") == "laterality.conflict"
    else:
        assert read_images(path, modality="cfp")[0].laterality is {"R": Laterality.RIGHT, "L": Laterality.LEFT}.get(tag)


def test_messages_do_not_repeat_the_folder(tmp_path):
    with pytest.raises(ReadError) as caught:
        read_images(tmp_path / "patient_name" / "a.vol", modality="oct")
    assert "patient_name" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.dcm", "a.vol", "a.npz", "a.jpg", "a.tif"])
def test_a_fifo_and_a_folder_of_a_files_name_do_not_hang(tmp_path, name):
    import os

    os.mkfifo(tmp_path / name)
    assert code_of(read_images, tmp_path / name, modality="oct").startswith("file.")
    assert code_of(read_images, f"{tmp_path / 'none.npz'}#x", modality="oct") == "file.missing"
