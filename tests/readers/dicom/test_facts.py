"""Eye, kind, spacing, time, camera and place of B-scans: from every place that carries them, never guessed."""

from datetime import datetime

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from fundusion.core.errors import ReadError
from fundusion.core.vocabulary import Laterality
from fundusion.readers.dicom import read_dicom


def item(**values):
    ds = Dataset()
    for name, value in values.items():
        setattr(ds, name, value)
    return ds


def sequence(*items):
    return Sequence(list(items))


def read(tmp_path, clinic, ds, **options):
    return read_dicom(clinic.written(tmp_path, ds), **options)


def code(value):
    return sequence(item(CodeValue=value, CodingSchemeDesignator="SCT", CodeMeaning="x"))


PLACES = {
    "image laterality": lambda side: {"ImageLaterality": side},
    "laterality": lambda side: {"Laterality": side},
    "shared anatomy": lambda side: {
        "SharedFunctionalGroupsSequence": sequence(item(FrameAnatomySequence=sequence(item(FrameLaterality=side))))
    },
    "per-frame anatomy": lambda side: {
        "PerFrameFunctionalGroupsSequence": sequence(item(FrameAnatomySequence=sequence(item(FrameLaterality=side))))
    },
    "modifier": lambda side: {
        "AnatomicRegionSequence": sequence(
            item(AnatomicRegionModifierSequence=code({"R": "24028007", "L": "7771000"}.get(side, "51440002")))
        )
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_the_eye_is_taken_from_every_place(tmp_path, clinic, picture, place):
    for side, eye in (("L", Laterality.LEFT), ("R", Laterality.RIGHT), ("B", None), ("U", None), ("", None)):
        assert read(tmp_path, clinic, clinic.dicom(picture, **PLACES[place](side)))[0].laterality is eye


@pytest.mark.parametrize("one", PLACES)
@pytest.mark.parametrize("other", PLACES)
def test_places_that_contradict_each_other_are_held(tmp_path, clinic, picture, one, other):
    if one == other:
        return
    tags = PLACES[one]("L") | PLACES[other]("R")
    with pytest.raises(ReadError) as caught:
        read(tmp_path, clinic, clinic.dicom(picture, **tags))
    assert caught.value.code == "laterality.conflict"


@pytest.mark.parametrize(
    ("tags", "spacing", "note"),
    [
        ({"PixelSpacing": [0.004, 0.012]}, (4, 12), None),
        ({"PixelSpacing": [0, 0.01]}, None, "spacing.invalid"),
        ({"PixelSpacing": [-0.1, 0.01]}, None, "spacing.invalid"),
        ({}, None, "spacing.missing"),
        ({"shared": [0.01, 0.02]}, (10, 20), None),
        ({"per_frame": [0.01, 0.02]}, (10, 20), None),
        ({"shared": [0.01, 0.02], "PixelSpacing": [0.05, 0.05]}, None, "spacing.varies"),
    ],
)
def test_spacing_is_micrometres_or_nothing(tmp_path, clinic, picture, tags, spacing, note):
    ds = clinic.dicom(picture)
    for name, value in tags.items():
        measures = sequence(item(PixelMeasuresSequence=sequence(item(PixelSpacing=value))))
        if name == "shared":
            ds.SharedFunctionalGroupsSequence = measures
        elif name == "per_frame":
            ds.PerFrameFunctionalGroupsSequence = measures
        else:
            ds.PixelSpacing = value
    image = read(tmp_path, clinic, ds)[0]
    assert image.spacing_um == (None if spacing is None else pytest.approx(spacing))
    assert [n for n in image.notes if n.startswith("spacing")] == ([note] if note else [])


def volume(clinic, *, places=None, lines=None, **tags):
    pixels = np.arange(5 * 40 * 48).reshape(5, 40, 48).astype(np.uint8)
    for i in range(5):
        pixels[i, 0, 0] = i
    groups = []
    for i in range(5):
        group = item()
        if places is not None:
            group.FrameContentSequence = sequence(item(StackID="1", InStackPositionNumber=places[i]))
        if lines is not None:
            group.OphthalmicFrameLocationSequence = sequence(item(ReferenceCoordinates=[float(v) for v in lines[i]]))
        groups.append(group)
    return pixels, clinic.dicom(
        pixels, sop=clinic.TOMOGRAPHY, PerFrameFunctionalGroupsSequence=Sequence(groups), **tags
    )


def test_a_tomogram_is_one_volume_with_lines_and_spacing(tmp_path, clinic):
    lines = [(10 + 8 * i, 5, 10 + 8 * i, 90) for i in range(5)]
    pixels, ds = volume(clinic, lines=lines, PixelSpacing=[0.004, 0.012], SpacingBetweenSlices=0.12)
    (image,) = read(tmp_path, clinic, ds)
    np.testing.assert_array_equal(image.pixels, pixels)
    np.testing.assert_array_equal(image.frame_lines, lines)
    assert image.spacing_um == pytest.approx((120, 4, 12))
    assert image.modality == "oct"
    assert image.notes == ()
    _, ds = volume(clinic, PixelSpacing=[0.004, 0.012])
    (image,) = read(tmp_path, clinic, ds)
    assert image.spacing_um is None
    assert "spacing.between_slices_missing" in image.notes


def test_frames_are_put_in_the_order_of_their_places_and_gaps_are_refused(tmp_path, clinic):
    places = [3, 1, 2, 5, 4]
    lines = [(10.0 * p, 5, 10.0 * p, 90) for p in places]
    _, ds = volume(clinic, places=places, lines=lines)
    (image,) = read(tmp_path, clinic, ds)
    assert image.pixels[:, 0, 0].tolist() == [1, 2, 0, 4, 3]
    assert image.frame_lines[:, 0].tolist() == [10, 20, 30, 40, 50]
    assert "volume.reordered" in image.notes
    for bad in ([1, 2, 3, 4, 6], [1, 2, 2, 3, 4], [0, 1, 2, 3, 4]):
        with pytest.raises(ReadError) as caught:
            read(tmp_path, clinic, volume(clinic, places=bad)[1])
        assert caught.value.code == "volume.gap"


def test_lines_out_of_order_or_with_a_hole_are_refused_and_a_reversed_raster_is_noted(tmp_path, clinic):
    for rows, expected in (([1, 2, 4, 3, 5], "volume.order"), ([1, 2, 3, 5, 6], "volume.gap")):
        with pytest.raises(ReadError) as caught:
            read(tmp_path, clinic, volume(clinic, lines=[(10 * r, 5, 10 * r, 90) for r in rows])[1])
        assert caught.value.code == expected
    (image,) = read(tmp_path, clinic, volume(clinic, lines=[(90 - 10 * r, 5, 90 - 10 * r, 90) for r in range(5)])[1])
    assert "volume.bottom_up" in image.notes


def test_time_and_camera(tmp_path, clinic, picture):
    tags = {"Manufacturer": "Topcon", "ManufacturerModelName": "TRC-NW8", "DeviceSerialNumber": "CANARY"}
    image = read(tmp_path, clinic, clinic.dicom(picture, AcquisitionDateTime="20240506070809.123+0800", **tags))[0]
    assert image.acquired == datetime(2024, 5, 6, 7, 8, 9)
    assert image.device == "Topcon TRC-NW8"
    parts = {"AcquisitionDate": "20240506", "AcquisitionTime": "070809.5"}
    assert read(tmp_path, clinic, clinic.dicom(picture, **parts))[0].acquired == datetime(2024, 5, 6, 7, 8, 9)
    same = {"Manufacturer": "ZEISS", "ManufacturerModelName": "ZEISS CLARUS 500"}
    assert read(tmp_path, clinic, clinic.dicom(picture, **same))[0].device == "ZEISS ZEISS CLARUS 500"
    for text in ("00000000000000", "2024", "20241399000000"):
        assert read(tmp_path, clinic, clinic.dicom(picture, AcquisitionDateTime=text))[0].acquired is None


@pytest.mark.parametrize(
    ("number", "kind"),
    [("1", "cfp"), ("2", "slo"), ("4", "oct"), ("5", "uwf"), ("6", "uwf"), ("7", "octa"), ("8", "octa")],
)
def test_object_classes(tmp_path, clinic, number, kind):
    sop = f"1.2.840.10008.5.1.4.1.1.77.1.5.{number}"
    assert read(tmp_path, clinic, clinic.dicom(np.zeros((40, 50), np.uint8), sop=sop))[0].modality == kind


def test_a_contrast_agent_makes_a_photograph_an_angiogram(tmp_path, clinic):
    grey = np.zeros((40, 50), np.uint8)
    for value, kind in (("35321007", "ffa"), ("7292004", "icga"), ("999", "cfp")):
        ds = clinic.dicom(grey, ContrastBolusAgentSequence=code(value))
        assert read(tmp_path, clinic, ds)[0].modality == kind
    assert (
        read(tmp_path, clinic, clinic.dicom(grey, AcquisitionDeviceTypeCodeSequence=code("409898007")))[0].modality
        == "slo"
    )


def test_frames_of_a_series_are_chosen_and_never_the_first_by_default(tmp_path, clinic, generator):
    series = generator.integers(0, 255, (4, 40, 48, 3)).astype(np.uint8)
    path = clinic.written(tmp_path, clinic.dicom(series))
    with pytest.raises(ReadError, match="#3") as caught:
        read_dicom(path)
    assert caught.value.code == "dicom.many_frames"
    assert [i.pixels[0, 0, 0] for i in read_dicom(path, frames=[3, 1])] == [series[2, 0, 0, 0], series[0, 0, 0, 0]]
    assert len(read_dicom(path, frames="all")) == 4
    for bad in ([0], [5], [], "first"):
        with pytest.raises(ReadError) as caught:
            read_dicom(path, frames=bad)
        assert caught.value.code == "dicom.no_such_frame"
    grey = clinic.written(tmp_path, clinic.dicom(series[..., 0]))
    with pytest.raises(ReadError):
        read_dicom(grey, modality="ffa")
    np.testing.assert_array_equal(read_dicom(grey, modality="ffa", frames=[2])[0].pixels[..., 0], series[1, ..., 0])
