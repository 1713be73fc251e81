"""Ophthalmic DICOM: pixels of every encoding, eye and spacing, nobody's name."""

import numpy as np
import pytest
import simplejpeg
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
    generate_uid,
)

from fundusion.core.errors import ReadError
from fundusion.core.vocabulary import Laterality
from fundusion.readers.dicom import is_dicom, read_dicom, read_identity

PHOTOGRAPHY, TOMOGRAPHY = "1.2.840.10008.5.1.4.1.1.77.1.5.1", "1.2.840.10008.5.1.4.1.1.77.1.5.4"


@pytest.fixture
def picture(generator):
    return np.kron(generator.integers(30, 220, (8, 10, 3)), np.ones((8, 8, 1))).astype(np.uint8)


def made(pixels, *, sop=PHOTOGRAPHY, bits=8, interpretation=None, **tags):
    ds = Dataset()
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds.file_meta.MediaStorageSOPClassUID = sop
    ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    ds.SOPClassUID, ds.SOPInstanceUID = sop, ds.file_meta.MediaStorageSOPInstanceUID
    ds.PatientName, ds.PatientID, ds.PatientBirthDate = "Canary^Tweety", "CANARY-4711", "19500101"
    ds.SeriesInstanceUID = "1.2.3"
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    ds.SamplesPerPixel = 3 if colour else 1
    ds.PhotometricInterpretation = interpretation or ("RGB" if colour else "MONOCHROME2")
    if colour:
        ds.PlanarConfiguration = 0
    elif pixels.ndim == 3:
        ds.NumberOfFrames = len(pixels)
    ds.Rows, ds.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    ds.BitsAllocated = 16 if bits > 8 else 8
    ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, 0
    ds.PixelData = pixels.astype("<u2" if bits > 8 else "u1").tobytes()
    for name, value in tags.items():
        setattr(ds, name, value)
    return ds


def written(tmp_path, ds, name="a.dcm"):
    path = tmp_path / name
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_encodings_give_the_same_pixels(tmp_path, picture, syntax):
    ds = made(picture)
    if syntax == JPEG2000Lossless:
        from openjpeg.utils import encode_array

        ds.file_meta.TransferSyntaxUID = syntax
        ds.PixelData = encapsulate([encode_array(picture, photometric_interpretation=1, use_mct=False)])
        ds["PixelData"].is_undefined_length = True
    elif syntax:
        ds.compress(syntax, generate_instance_uid=False)
    image = read_dicom(written(tmp_path, ds))[0]
    np.testing.assert_array_equal(image.pixels, picture)
    assert image.modality == "cfp"


def test_a_baseline_jpeg_is_converted_as_its_codestream_says(tmp_path, picture):
    stream = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=98, colorsubsampling="444")
    for interpretation, note in (("YBR_FULL_422", False), ("RGB", True)):
        ds = made(picture, interpretation=interpretation)
        ds.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
        ds.PixelData = encapsulate([stream])
        ds["PixelData"].is_undefined_length = True
        image = read_dicom(written(tmp_path, ds))[0]
        assert ("dicom.pi_mismatch" in image.notes) == note
        if not note:
            assert np.abs(image.pixels.astype(int) - picture).mean() < 4


def test_monochrome1_is_inverted_and_twelve_bits_are_scaled(tmp_path, generator):
    values = generator.integers(0, 4096, (40, 40)).astype(np.uint16)
    plain = read_dicom(written(tmp_path, made(values, bits=12)), modality="oct")[0]
    assert np.abs(plain.pixels[..., 0] - values * (255 / 4095)).max() <= 0.51
    assert "image.scaled_from_12_bit" in plain.notes
    inverted = read_dicom(written(tmp_path, made(values, bits=12, interpretation="MONOCHROME1")), modality="oct")[0]
    np.testing.assert_array_equal(inverted.pixels, 255 - plain.pixels)


def test_tomography_is_a_volume_with_spacing_only_where_it_is_known(tmp_path, generator):
    volume = generator.integers(0, 255, (5, 40, 48)).astype(np.uint8)
    ds = made(volume, sop=TOMOGRAPHY, PixelSpacing=[0.004, 0.012], SpacingBetweenSlices=0.12)
    image = read_dicom(written(tmp_path, ds))[0]
    np.testing.assert_array_equal(image.pixels, volume)
    assert image.spacing_um == pytest.approx((120, 4, 12))
    assert read_dicom(written(tmp_path, made(volume, sop=TOMOGRAPHY, PixelSpacing=[0, 0])))[0].spacing_um is None


def test_the_eye_is_taken_from_either_tag_and_a_contradiction_is_held(tmp_path, picture):
    assert read_dicom(written(tmp_path, made(picture, ImageLaterality="L")))[0].laterality is Laterality.LEFT
    assert read_dicom(written(tmp_path, made(picture, Laterality="R")))[0].laterality is Laterality.RIGHT
    assert read_dicom(written(tmp_path, made(picture)))[0].laterality is None
    with pytest.raises(ReadError) as caught:
        read_dicom(written(tmp_path, made(picture, ImageLaterality="L", Laterality="R")))
    assert caught.value.code == "laterality.conflict"


def test_nobody_can_be_recognised_in_what_is_returned(tmp_path, picture):
    path = written(tmp_path, made(picture, ImageComments="CANARY comment"))
    image = read_dicom(path)[0]
    one, two = read_identity(path, salt="s"), read_identity(path, salt="t")
    shown = repr(image) + repr(one) + repr(two)
    for token in ("Canary", "CANARY", "4711", "1950", "1.2.3"):
        assert token not in shown
    assert one == read_identity(path, salt="s")
    assert one.patient != two.patient


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda ds: delattr(ds, "PixelData"), "dicom.no_pixels"),
        (lambda ds: setattr(ds, "PixelData", ds.PixelData[:100]), "image.truncated"),
        (lambda ds: setattr(ds, "NumberOfFrames", 2_000_000), "image.too_large"),
        (lambda ds: setattr(ds, "Rows", 1), "dicom.size"),
    ],
)
def test_forged_and_short_objects(tmp_path, picture, change, code):
    ds = made(picture)
    change(ds)
    with pytest.raises(ReadError) as caught:
        read_dicom(written(tmp_path, ds))
    assert caught.value.code == code


def test_cut_and_foreign_files(tmp_path, picture):
    path = written(tmp_path, made(picture))
    content = path.read_bytes()
    assert is_dicom(path)
    for keep in (140, 300, len(content) // 2):
        (tmp_path / "cut.dcm").write_bytes(content[:keep])
        with pytest.raises(ReadError):
            read_dicom(tmp_path / "cut.dcm")
    (tmp_path / "text.dcm").write_text("no dicom")
    with pytest.raises(ReadError) as caught:
        read_dicom(tmp_path / "text.dcm")
    assert caught.value.code == "dicom.not_dicom"
    assert not is_dicom(tmp_path / "none")
