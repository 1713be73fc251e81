"""Records keep identity byte for byte and refuse what cannot be a study."""

import pickle

import numpy as np
import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.study import Image, Study, StudyRecord, groups_of, is_missing
from fundusion.core.vocabulary import Laterality


def picture(modality: str = "cfp", shape=(40, 50, 3)) -> Image:
    return Image(pixels=np.zeros(shape, np.uint8), modality=modality)


def test_identifiers_are_strings_and_never_numbers():
    assert StudyRecord(study_id="00123", patient_id="0123").study_id == "00123"
    with pytest.raises(InvalidInput, match="study_id"):
        StudyRecord(study_id=123)
    with pytest.raises(InvalidInput, match="study_id"):
        StudyRecord(study_id="")
    with pytest.raises(InvalidInput, match="patient_id"):
        StudyRecord(study_id="a", patient_id="")


def test_mappings_cannot_be_changed_and_pickling_keeps_everything():
    record = StudyRecord(
        study_id="a", patient_id="p", laterality=Laterality.LEFT, images={"cfp": ("x.jpg",)}, metadata={"age": 5.0}
    )
    with pytest.raises(TypeError):
        record.metadata["age"] = 6.0
    assert pickle.loads(pickle.dumps(record)) == record


def test_group_is_the_patient_and_else_the_study():
    records = [StudyRecord(study_id="a", patient_id="p"), StudyRecord(study_id="b")]
    assert groups_of(records) == ["p", "study:b"]


def test_unknown_modality_is_refused():
    with pytest.raises(InvalidInput, match="fundus_img") as error:
        StudyRecord(study_id="a", images={"fundus_img": ("x.jpg",)})
    assert error.value.code == "modality.unknown"


def test_images_must_stand_under_their_own_modality():
    with pytest.raises(InvalidInput) as error:
        Study(study_id="a", images={"cfp": (picture("oct", (8, 16, 16)),)})
    assert error.value.code == "modality.mismatch"


def test_modalities_present_ignore_blank_report_and_empty_table():
    study = Study(study_id="a", images={"cfp": (picture(),)}, report="  ", metadata={"age": None, "sex": ""})
    assert study.modalities == ("cfp",)
    full = Study(study_id="a", report="normal", metadata={"age": 0})
    assert full.modalities == ("text", "table")


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3, 1), (0, 50, 3)])
def test_pixels_of_another_shape_are_refused(shape):
    with pytest.raises(InvalidInput) as error:
        picture(shape=shape)
    assert error.value.code == "image.shape"


def test_planar_16_bit_and_float_pixels_are_refused():
    with pytest.raises(InvalidInput):
        Image(pixels=np.zeros((40, 50, 3), np.uint16), modality="cfp")
    with pytest.raises(InvalidInput):
        Image(pixels=np.zeros((40, 50, 3), np.float32), modality="cfp")


def test_spacing_is_positive_or_unknown():
    with pytest.raises(InvalidInput) as error:
        Image(pixels=np.zeros((40, 50, 3), np.uint8), modality="cfp", spacing_um=(0.0, 1.0))
    assert error.value.code == "image.spacing"


def test_planes_of_a_16_bit_volume_are_scaled_not_clipped():
    volume = np.full((3, 16, 20), 65535, np.uint16)
    planes = Image(pixels=volume, modality="oct").planes()
    assert len(planes) == 3
    assert planes[0].shape == (16, 20, 1)
    assert planes[0].max() == 255
    half = Image(pixels=(volume // 2).astype(np.uint16), modality="oct").planes()[0]
    assert half.max() == 127


@pytest.mark.parametrize(
    ("value", "missing"), [(None, True), (float("nan"), True), ("", True), (0, False), ("0", False)]
)
def test_zero_is_a_value(value, missing):
    assert is_missing(value) is missing


def test_masks_are_frozen_paths_by_structure():
    import pickle

    record = StudyRecord(study_id="1", masks={"vessels": ["/a/v.gif"], "disc": []})
    assert dict(record.masks) == {"vessels": ("/a/v.gif",)}
    with pytest.raises(TypeError):
        record.masks["cup"] = ("/a/c.png",)
    assert pickle.loads(pickle.dumps(record)).masks == record.masks
    assert dict(StudyRecord(study_id="1").masks) == {}


def test_places_of_b_scans_are_one_line_each():
    volume = np.zeros((5, 16, 16), np.uint8)
    assert Image(pixels=volume, modality="oct", frame_lines=np.zeros((5, 4)), device="Topcon").device == "Topcon"
    with pytest.raises(InvalidInput) as error:
        Image(pixels=volume, modality="oct", frame_lines=np.zeros((4, 4)))
    assert error.value.code == "image.frame_lines"
