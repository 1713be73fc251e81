"""Section D of the reliability contract, a test for each row, with the rows that its list leaves out (D3, D8, D13)."""

import imagecodecs
import numpy as np
import pytest
import simplejpeg
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, JPEG2000Lossless, JPEGBaseline8Bit

from fundusion.core.errors import FundusionError
from fundusion.core.study import StudyRecord
from fundusion.core.vocabulary import Laterality
from fundusion.readers import read_images, read_study


def outcome(path, modality="cfp"):
    """The code of the rejection, or the images."""
    try:
        return read_images(path, modality=modality)
    except FundusionError as error:
        refusal = error
    assert refusal.message
    assert str(path.parent) not in str(refusal)
    return refusal.code


def test_d1_no_pixels_names_the_class(tmp_path, clinic, picture):
    for sop in ("1.2.840.10008.5.1.4.1.1.11.1", "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.104.1"):
        ds = clinic.dicom(picture, sop=sop)
        del ds.PixelData
        assert outcome(clinic.written(tmp_path, ds)) == "dicom.no_pixels"


def test_d2_preamble_cut_deflated_big_endian(tmp_path, clinic, picture):
    for syntax in (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        ds = clinic.dicom(picture)
        ds.file_meta.TransferSyntaxUID = syntax
        path = clinic.written(tmp_path, ds)
        np.testing.assert_array_equal(outcome(path)[0].pixels, picture)
        for share in (0.1, 0.5, 0.9, 0.999):
            cut = tmp_path / "cut.dcm"
            cut.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
            assert outcome(cut) in ("dicom.damaged", "dicom.no_pixels", "image.truncated", "dicom.not_dicom")
    (tmp_path / "bare.dcm").write_bytes(clinic.written(tmp_path, clinic.dicom(picture)).read_bytes()[132:])
    np.testing.assert_array_equal(outcome(tmp_path / "bare.dcm")[0].pixels, picture)


def test_d3_other_content_under_the_suffix_and_pictures_that_are_none(tmp_path, clinic, picture):
    for content in (b"", b"<html>404</html>" * 20, bytes(500), simplejpeg.encode_jpeg(picture), bytes(128) + b"DICM"):
        (tmp_path / "a.dcm").write_bytes(content)
        assert outcome(tmp_path / "a.dcm") in ("dicom.not_dicom", "dicom.damaged", "dicom.no_pixels")
    directory = clinic.dicom(picture, sop="1.2.840.10008.1.3.10")
    del directory.PixelData
    assert outcome(clinic.written(tmp_path, directory)) == "dicom.no_pixels"
    assert (
        outcome(clinic.written(tmp_path, clinic.dicom(picture, sop="1.2.840.10008.5.1.4.1.1.66.8")))
        == "dicom.not_a_picture"
    )


def test_d4_colour_claims_against_the_codestream(tmp_path, clinic, picture):
    jpeg = clinic.encapsulated(
        clinic.dicom(picture), [simplejpeg.encode_jpeg(picture, quality=98, colorsubsampling="444")], JPEGBaseline8Bit
    )
    j2k = clinic.encapsulated(
        clinic.dicom(picture), [imagecodecs.jpeg2k_encode(picture, level=0, mct=True)], JPEG2000Lossless
    )
    for ds in (jpeg, j2k):
        (image,) = outcome(clinic.written(tmp_path, ds))
        assert "dicom.pi_mismatch" in image.notes
        assert np.abs(image.pixels.astype(int) - picture).mean() < 4


def test_d5_an_encoding_that_is_not_read_is_named(tmp_path, clinic, picture):
    ds = clinic.encapsulated(clinic.dicom(picture), [b"\0" * 64], "1.2.840.10008.1.2.4.102")
    assert outcome(clinic.written(tmp_path, ds)) == "dicom.transfer_syntax"


def test_d6_no_frame_of_a_series_by_default(tmp_path, clinic, picture):
    path = clinic.written(tmp_path, clinic.dicom(np.stack([picture, 255 - picture])))
    assert outcome(path) == "dicom.many_frames"
    np.testing.assert_array_equal(outcome(path.with_name("a.dcm#2"))[0].pixels, 255 - picture)


def test_d7_forged_sizes(tmp_path, clinic, picture):
    for change, code in (
        ({"Rows": 60000, "Columns": 60000}, "image.too_large"),
        ({"NumberOfFrames": 2**31 - 1}, "image.too_large"),
        ({"Rows": 65}, "image.truncated"),
    ):
        assert outcome(clinic.written(tmp_path, clinic.dicom(picture, **change))) == code


def test_d8_grey_scales_as_cameras_store_them(tmp_path, clinic):
    ramp = (np.arange(4096).reshape(64, 64)).astype(np.uint16)
    plain = outcome(clinic.written(tmp_path, clinic.dicom(ramp, bits=12)), "slo")[0].pixels
    assert plain.min() == 0
    assert plain.max() == 255
    inverted = outcome(clinic.written(tmp_path, clinic.dicom(ramp, bits=12, interpretation="MONOCHROME1")), "slo")[
        0
    ].pixels
    np.testing.assert_array_equal(inverted, 255 - plain)
    signed = outcome(clinic.written(tmp_path, clinic.dicom(ramp.astype(np.int16) - 2048, bits=12)), "slo")[0].pixels
    np.testing.assert_array_equal(signed, plain)


def test_d9_missing_and_contradictory_eyes(tmp_path, clinic, picture):
    assert outcome(clinic.written(tmp_path, clinic.dicom(picture)))[0].laterality is None
    both = clinic.dicom(picture, ImageLaterality="L", Laterality="R")
    assert outcome(clinic.written(tmp_path, both)) == "laterality.conflict"
    named = clinic.written(tmp_path, clinic.dicom(picture, ImageLaterality="L"), "x_OD.dcm")
    assert outcome(named) == "laterality.conflict"
    path = clinic.written(tmp_path, clinic.dicom(picture, ImageLaterality="L"))
    record = StudyRecord(study_id="s", laterality=Laterality.RIGHT, images={"cfp": (str(path),)})
    with pytest.raises(FundusionError) as caught:
        read_study(record)
    assert caught.value.code == "laterality.conflict"


def test_d10_no_spacing_is_none_and_says_so(tmp_path, clinic, picture):
    for tags, note in (({}, "spacing.missing"), ({"PixelSpacing": [0, 0]}, "spacing.invalid")):
        (image,) = outcome(clinic.written(tmp_path, clinic.dicom(picture, **tags)))
        assert image.spacing_um is None
        assert note in image.notes


def test_d11_private_tags_descriptions_uids_and_overlays_stay_inside(tmp_path, clinic, picture):
    ds = clinic.dicom(picture, StudyDescription="CANARY", SeriesInstanceUID="1.2.3.4711", ImageComments="CANARY")
    ds.private_block(0x0099, "CANARY", create=True).add_new(1, "LO", "CANARY")
    ds.add_new(0x60003000, "OW", b"CANARY" * 9)
    assert "CANARY" not in repr(outcome(clinic.written(tmp_path, ds)))
    assert "4711" not in repr(outcome(clinic.written(tmp_path, ds))).replace(outcome(tmp_path / "a.dcm")[0].digest, "")


def test_d12_text_the_camera_says_it_burnt_in_is_noted(tmp_path, clinic, picture):
    for word, noted in (("YES", True), ("NO", False)):
        (image,) = outcome(clinic.written(tmp_path, clinic.dicom(picture, BurnedInAnnotation=word)))
        assert ("dicom.burned_in_annotation" in image.notes) == noted


def test_d13_times_and_frames_that_disagree_with_each_other(tmp_path, clinic, picture):
    for when in ("99999999999999", "20240230000000", "2024-05-06", "yesterday"):
        (image,) = outcome(clinic.written(tmp_path, clinic.dicom(picture, AcquisitionDateTime=when)))
        assert image.acquired is None
    ds = clinic.dicom(np.stack([picture[..., 0]] * 3), sop=clinic.TOMOGRAPHY)
    groups = []
    for i in range(3):
        measures, group = Dataset(), Dataset()
        measures.PixelSpacing = [0.004, 0.01 + 0.01 * i]
        group.PixelMeasuresSequence = Sequence([measures])
        groups.append(group)
    ds.PerFrameFunctionalGroupsSequence = Sequence(groups)
    (image,) = outcome(clinic.written(tmp_path, ds), "oct")
    assert image.spacing_um is None
    assert "spacing.varies" in image.notes


def test_d14_character_sets(tmp_path, clinic, picture):
    path = clinic.written(tmp_path, clinic.dicom(picture, SpecificCharacterSet="GB18030", PatientName="王^小东"))
    np.testing.assert_array_equal(outcome(path)[0].pixels, picture)
    path.write_bytes(path.read_bytes().replace(b"GB18030 ", b"MARTIAN "))
    (image,) = outcome(path)
    assert "dicom.charset_unknown" in image.notes


def test_d15_missing_reversed_and_wrongly_sized_volumes(tmp_path, clinic, generator):
    floats = generator.random((5, 40, 48)).astype(np.float32)
    path = tmp_path / "a.vol"

    def lines(ys):
        return [(0.5, y, 5.0, y) for y in ys]

    for ys, expected in (((5, 4, 2, 1, 0), "volume.gap"), ((5, 4, 2, 3, 1), "volume.order")):
        path.write_bytes(clinic.vol(floats, lines=lines(ys)))
        assert outcome(path, "oct") == expected
    path.write_bytes(clinic.vol(floats, lines=lines((5, 4, 3, 2, 1)), spacing_mm=(0.0, 0.0039, 0.0115)))
    (image,) = outcome(path, "oct")
    assert image.spacing_um is None
    assert {"volume.bottom_up", "spacing.between_slices_missing"} <= set(image.notes)
    content = bytearray(path.read_bytes())
    content[16:20] = (1500).to_bytes(4, "little")
    path.write_bytes(content)
    assert outcome(path, "oct") == "image.truncated"
