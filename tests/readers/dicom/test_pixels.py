"""Pixels of every encoding equal those that were put in; colour follows the codestream and contradictions are noted."""

import cv2
import imagecodecs
import numpy as np
import pytest
import simplejpeg
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from fundusion.core.errors import ReadError
from fundusion.readers.dicom import read_dicom
from fundusion.readers.dicom.codestream import inspect
from fundusion.readers.dicom.pixels import _conversion


def lossless(pixels, **options):
    return imagecodecs.jpeg8_encode(pixels, lossless=True, **options)


def ybr_of(rgb):
    """Full-range YCbCr of RGB, by the equations of DICOM PS3.3 C.7.6.3.1.2."""
    r, g, b = (rgb[..., i].astype(float) for i in range(3))
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return np.rint(np.stack([y, (b - y) / 1.772 + 128, (r - y) / 1.402 + 128], -1)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("bits", [8, 16])
def test_uncompressed_encodings_give_the_same_pixels(tmp_path, clinic, syntax, bits):
    values = np.arange(40 * 50).reshape(40, 50) % (1 << bits)
    ds = clinic.dicom(values.astype(np.uint16 if bits > 8 else np.uint8), bits=bits)
    ds.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian and bits == 16:
        ds.PixelData = values.astype(">u2").tobytes()
    image = read_dicom(clinic.written(tmp_path, ds))[0]
    expected = values if bits == 8 else np.rint(values.astype(np.float32) * (255 / 65535))
    np.testing.assert_array_equal(image.pixels[..., 0], expected)


LOSSLESS = {
    "RLE": (RLELossless, None),
    "JPEG-LS": (JPEGLSLossless, imagecodecs.jpegls_encode),
    "JPEG 2000": (JPEG2000Lossless, lambda p: imagecodecs.jpeg2k_encode(p, level=0, mct=False, codecformat="j2k")),
    "JPEG 2000 in JP2": (JPEG2000Lossless, lambda p: imagecodecs.jpeg2k_encode(p, level=0, mct=False)),
    "HTJ2K": (HTJ2KLossless, lambda p: imagecodecs.htj2k_encode(p, rgb=False, reversible=True)),
    "lossless JPEG": (JPEGLosslessSV1, lossless),
    "lossless JPEG 14": (JPEGLossless, lambda p: lossless(p, predictor=4)),
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_lossless_colour_is_exact(tmp_path, clinic, picture, name):
    syntax, encode = LOSSLESS[name]
    ds = clinic.dicom(picture)
    if encode is None:
        ds.compress(syntax, generate_instance_uid=False)
    else:
        clinic.encapsulated(ds, [encode(picture)], syntax)
    image = read_dicom(clinic.written(tmp_path, ds))[0]
    np.testing.assert_array_equal(image.pixels, picture)
    assert image.notes == ("spacing.missing",)


@pytest.mark.parametrize("name", [n for n in LOSSLESS if n != "RLE"])
def test_lossless_twelve_bits_are_exact_and_scaled_by_their_range(tmp_path, clinic, generator, name):
    values = generator.integers(0, 4096, (40, 48)).astype(np.uint16)
    values[0, :2] = 0, 4095
    syntax = LOSSLESS[name][0]
    streams = {
        JPEGLSLossless: lambda: imagecodecs.jpegls_encode(values),
        HTJ2KLossless: lambda: imagecodecs.htj2k_encode(values, reversible=True),
        JPEG2000Lossless: lambda: imagecodecs.jpeg2k_encode(values, level=0, bitspersample=12, codecformat="j2k"),
        JPEGLosslessSV1: lambda: imagecodecs.ljpeg_encode(values, bitspersample=12),
        JPEGLossless: lambda: lossless(values, bitspersample=12, predictor=6),
    }
    stream = streams[syntax]()
    image = read_dicom(clinic.written(tmp_path, clinic.encapsulated(clinic.dicom(values, bits=12), [stream], syntax)))[
        0
    ]
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint(values.astype(np.float32) * (255 / 4095)))
    # An encoder that writes 16 bits for 12 contradicts the header, and the note says so.
    assert ("dicom.bits_differ" in image.notes) == (inspect(stream, "a").precision == 16)


def test_extended_jpeg_of_twelve_bits(tmp_path, clinic):
    values = (np.add.outer(np.arange(48), np.arange(64)) * 36).astype(np.uint16)
    stream = imagecodecs.jpeg8_encode(values, bitspersample=12, level=98)
    ds = clinic.encapsulated(clinic.dicom(values, bits=12), [stream], JPEGExtended12Bit)
    image = read_dicom(clinic.written(tmp_path, ds))[0]
    assert np.abs(image.pixels[..., 0] - values * (255 / 4095)).max() < 2


def jpeg(picture, *, sampling="444", marker=None, rgb=False):
    """A baseline stream; `marker` replaces the JFIF marker: None keeps it, b"" takes it out."""
    if rgb:
        stream = imagecodecs.jpeg8_encode(picture, level=98, colorspace="RGB", outcolorspace="RGB")
    else:
        stream = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality=98, colorsubsampling=sampling)
    out, position = stream[:2], 2
    while stream[position + 1] in (0xE0, 0xEE):
        length = int.from_bytes(stream[position + 2 : position + 4], "big")
        if marker is None:
            out += stream[position : position + 2 + length]
        position += 2 + length
    return out + (marker or b"") + stream[position:]


def adobe(transform):
    return b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00" + bytes([transform])


NEAR = 4
JPEGS = [
    # header says, stream, does the note stand
    ("YBR_FULL_422", {"sampling": "422"}, False),
    ("YBR_FULL", {}, False),
    ("RGB", {}, True),
    ("RGB", {"sampling": "422", "marker": b""}, True),
    ("YBR_FULL", {"marker": adobe(1)}, False),
    ("RGB", {"marker": adobe(1)}, True),
    ("YBR_FULL", {"marker": b""}, False),
    ("RGB", {"rgb": True, "marker": adobe(0)}, False),
    ("YBR_FULL_422", {"rgb": True, "marker": adobe(0)}, True),
    ("YBR_ICT", {}, False),
]


@pytest.mark.parametrize(("says", "options", "noted"), JPEGS)
def test_colour_of_a_jpeg_is_what_its_stream_says(tmp_path, clinic, picture, says, options, noted):
    ds = clinic.encapsulated(clinic.dicom(picture, interpretation=says), [jpeg(picture, **options)], JPEGBaseline8Bit)
    image = read_dicom(clinic.written(tmp_path, ds))[0]
    assert np.abs(image.pixels.astype(int) - picture).mean() < NEAR
    assert ("dicom.pi_mismatch" in image.notes) == noted


def test_where_the_stream_is_silent_the_header_is_believed(tmp_path, clinic, picture):
    # Three components named 1, 2, 3 without marker: a decoder alone would take them for YCbCr.
    stream = jpeg(picture, rgb=True, marker=b"")
    at = stream.index(b"\xff\xc0") + 10
    stream = bytearray(stream)
    old = [stream[at + 3 * i] for i in range(3)]
    scan = stream.index(b"\xff\xda") + 5
    for i in range(3):
        assert stream[scan + 2 * i] == old[i]
        stream[at + 3 * i] = stream[scan + 2 * i] = i + 1
    ds = clinic.encapsulated(clinic.dicom(picture), [bytes(stream)], JPEGBaseline8Bit)
    image = read_dicom(clinic.written(tmp_path, ds))[0]
    assert np.abs(image.pixels.astype(int) - picture).mean() < NEAR
    assert "dicom.pi_mismatch" not in image.notes


@pytest.mark.parametrize(
    ("says", "mct", "noted"),
    [
        ("YBR_RCT", True, False),
        ("RGB", True, True),
        ("YBR_FULL", True, True),
        ("RGB", False, False),
        ("YBR_RCT", False, True),
    ],
)
def test_colour_of_jpeg_2000_follows_its_component_transform(tmp_path, clinic, picture, says, mct, noted):
    stream = imagecodecs.jpeg2k_encode(picture, level=0, mct=mct, codecformat="j2k")
    ds = clinic.encapsulated(clinic.dicom(picture, interpretation=says), [stream], JPEG2000Lossless)
    image = read_dicom(clinic.written(tmp_path, ds))[0]
    np.testing.assert_array_equal(image.pixels, picture)
    assert ("dicom.pi_mismatch" in image.notes) == noted


def test_a_jpeg_in_an_object_that_says_jpeg_2000_is_read_and_noted(tmp_path, clinic, picture):
    ds = clinic.encapsulated(clinic.dicom(picture, interpretation="YBR_FULL"), [jpeg(picture)], JPEG2000Lossless)
    image = read_dicom(clinic.written(tmp_path, ds))[0]
    assert "dicom.transfer_syntax_differs" in image.notes
    assert np.abs(image.pixels.astype(int) - picture).mean() < NEAR


def test_uncompressed_ybr_is_converted_and_both_planar_forms_are_equal(tmp_path, clinic, picture):
    for planar in (0, 1):
        ds = clinic.dicom(ybr_of(picture), interpretation="YBR_FULL", PlanarConfiguration=planar)
        if planar:
            ds.PixelData = np.ascontiguousarray(np.moveaxis(ybr_of(picture), 2, 0)).tobytes()
        image = read_dicom(clinic.written(tmp_path, ds))[0]
        assert np.abs(image.pixels.astype(int) - picture).max() <= 2
    half = ybr_of(picture)
    packed = np.stack([half[:, 0::2, 0], half[:, 1::2, 0], half[:, 0::2, 1], half[:, 0::2, 2]], -1)
    ds = clinic.dicom(picture, interpretation="YBR_FULL_422", PixelData=packed.tobytes())
    image = read_dicom(clinic.written(tmp_path, ds))[0]
    assert np.abs(image.pixels.astype(int) - picture).max() <= 2


def fundus():
    """A bright disc on black: what makes a wrong colour claim visible."""
    rows, columns = np.mgrid[-1:1:96j, -1:1:96j]
    inside = (rows**2 + columns**2 < 0.8)[..., None]
    return (inside * np.array([180, 90, 40])).astype(np.uint8)


def test_uncompressed_colour_that_cannot_be_what_the_header_says_is_held(tmp_path, clinic):
    for pixels, says in (
        (fundus(), "YBR_FULL"),
        (ybr_of(fundus()), "RGB"),
        (fundus(), "YBR_RCT"),
        (fundus(), "MONOCHROME2"),
    ):
        with pytest.raises(ReadError) as caught:
            read_dicom(clinic.written(tmp_path, clinic.dicom(pixels, interpretation=says)))
        assert caught.value.code == "dicom.pi_mismatch"
    for pixels, says in ((fundus(), "RGB"), (ybr_of(fundus()), "YBR_FULL")):
        image = read_dicom(clinic.written(tmp_path, clinic.dicom(pixels, interpretation=says)))[0]
        assert np.abs(image.pixels.astype(int) - fundus()).max() <= 2


def test_monochrome1_signed_and_high_bits(tmp_path, clinic, generator):
    values = generator.integers(0, 4096, (40, 40)).astype(np.uint16)
    plain = read_dicom(clinic.written(tmp_path, clinic.dicom(values, bits=12)), modality="oct")[0]
    assert np.abs(plain.pixels[..., 0] - values * (255 / 4095)).max() <= 0.51
    inverted = read_dicom(clinic.written(tmp_path, clinic.dicom(values, bits=12, interpretation="MONOCHROME1")))[0]
    np.testing.assert_array_equal(inverted.pixels[..., 0], 255 - plain.pixels[..., 0])
    assert "dicom.inverted" in inverted.notes
    high = clinic.dicom(values << 4, bits=12, HighBit=15)
    np.testing.assert_array_equal(read_dicom(clinic.written(tmp_path, high))[0].pixels[..., 0], plain.pixels[..., 0])
    # A burnt-in overlay in the unused bits above is not part of the picture.
    over = clinic.dicom(values | 0x8000, bits=12)
    np.testing.assert_array_equal(read_dicom(clinic.written(tmp_path, over))[0].pixels[..., 0], plain.pixels[..., 0])
    signed = clinic.dicom(values.astype(np.int16) - 2048, bits=12)
    image = read_dicom(clinic.written(tmp_path, signed))[0]
    np.testing.assert_array_equal(image.pixels[..., 0], plain.pixels[..., 0])
    assert "dicom.signed" in image.notes


def palette(ds, entries, bits):
    for i, colour in enumerate(("Red", "Green", "Blue")):
        setattr(ds, f"{colour}PaletteColorLookupTableDescriptor", [len(entries), 0, bits])
        setattr(
            ds, f"{colour}PaletteColorLookupTableData", entries[:, i].astype("<u2" if bits == 16 else "u1").tobytes()
        )
    return ds


@pytest.mark.parametrize("bits", [8, 16])
def test_palette_colour(tmp_path, clinic, generator, bits):
    entries = generator.integers(0, 256, (256, 3))
    index = generator.integers(0, 256, (40, 40)).astype(np.uint8)
    ds = palette(clinic.dicom(index, interpretation="PALETTE COLOR"), entries * (257 if bits == 16 else 1), bits)
    image = read_dicom(clinic.written(tmp_path, ds))[0]
    np.testing.assert_array_equal(image.pixels, entries[index])
    del ds.GreenPaletteColorLookupTableData
    with pytest.raises(ReadError) as caught:
        read_dicom(clinic.written(tmp_path, ds))
    assert caught.value.code == "dicom.palette"


CUT = {
    JPEGBaseline8Bit: lambda p: jpeg(p),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEG2000Lossless: lambda p: imagecodecs.jpeg2k_encode(p, level=0, codecformat="j2k"),
    JPEGLosslessSV1: lossless,
    HTJ2KLossless: lambda p: imagecodecs.htj2k_encode(p, reversible=True),
}


@pytest.mark.parametrize("syntax", CUT)
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_a_cut_frame_is_never_shown_in_part(tmp_path, clinic, generator, syntax, share):
    noise = generator.integers(0, 32, (96, 96, 3)).astype(np.uint8)
    stream = CUT[syntax](noise)
    ds = clinic.encapsulated(clinic.dicom(noise), [stream[: int(len(stream) * share)]], syntax)
    with pytest.raises(ReadError) as caught:
        read_dicom(clinic.written(tmp_path, ds))
    assert caught.value.code in ("image.truncated", "image.corrupt")


def test_sizes_of_header_and_stream_must_agree(tmp_path, clinic, picture):
    for change in ({"Rows": 2000}, {"Columns": 32}, {"NumberOfFrames": 3}):
        ds = clinic.encapsulated(
            clinic.dicom(picture, interpretation="YBR_FULL", **change), [jpeg(picture)], JPEGBaseline8Bit
        )
        with pytest.raises(ReadError) as caught:
            read_dicom(clinic.written(tmp_path, ds), frames=[1])
        assert caught.value.code == ("image.truncated" if "NumberOfFrames" in change else "dicom.size")


def test_the_missing_decoder_is_named(tmp_path, clinic, picture, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    ds = clinic.encapsulated(clinic.dicom(picture), [lossless(picture)], JPEGLosslessSV1)
    with pytest.raises(ReadError, match="fundusion\\[dicom\\]") as caught:
        read_dicom(clinic.written(tmp_path, ds))
    assert caught.value.code == "dicom.transfer_syntax"


def test_the_conversion_is_that_of_the_standard():
    np.testing.assert_allclose(_conversion(np.array([[100.0, 128.0, 128.0]])), [[100, 100, 100]])
    np.testing.assert_allclose(_conversion(np.array([[76.0, 85.0, 255.0]])), [[254, 0, 0]], atol=1)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLossless])
def test_a_second_decoder_gives_the_same(tmp_path, clinic, generator, syntax):
    pytest.importorskip("gdcm")
    from pydicom.pixels import pixel_array

    values = generator.integers(0, 4096, (40, 48)).astype(np.uint16)
    values[0, :2] = 0, 4095
    streams = {
        JPEGLSLossless: imagecodecs.jpegls_encode(values),
        JPEG2000Lossless: imagecodecs.jpeg2k_encode(values, level=0, bitspersample=12, codecformat="j2k"),
        JPEGLosslessSV1: imagecodecs.ljpeg_encode(values, bitspersample=12),
        JPEGLossless: lossless(values, bitspersample=12, predictor=2),
    }
    ds = clinic.encapsulated(clinic.dicom(values, bits=12), [streams[syntax]], syntax)
    np.testing.assert_array_equal(pixel_array(ds, raw=True, decoding_plugin="gdcm"), values)
    image = read_dicom(clinic.written(tmp_path, ds))[0]
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint(values.astype(np.float32) * (255 / 4095)))


def test_a_stream_that_uses_more_bits_than_the_header_says_is_scaled_by_the_stream(tmp_path, clinic):
    values = (np.arange(40 * 48).reshape(40, 48) * 30).astype(np.uint16)
    ds = clinic.encapsulated(clinic.dicom(values, bits=12), [imagecodecs.jpegls_encode(values)], JPEGLSLossless)
    image = read_dicom(clinic.written(tmp_path, ds))[0]
    np.testing.assert_array_equal(image.pixels[..., 0], np.rint(values.astype(np.float32) * (255 / 65535)))
    assert {"dicom.bits_differ", "image.scaled_from_16_bit"} <= set(image.notes)


def test_colour_claims_about_real_photographs(tmp_path, clinic, data_root):
    files = [
        f for s in ("drive", "hrf", "idrid_grading", "odir") for f in sorted((data_root / s).rglob("*.[jtp][pin][gf]"))
    ]
    seen = 0
    for file in files[:: max(1, len(files) // 16)]:
        pixels = cv2.imread(str(file), cv2.IMREAD_COLOR)[:512, :512, ::-1]
        if (pixels[..., 0] == pixels[..., 1]).all():
            continue
        seen += 1
        for stored, right, wrong in ((pixels, "RGB", "YBR_FULL"), (ybr_of(pixels), "YBR_FULL", "RGB")):
            path = clinic.written(tmp_path, clinic.dicom(np.ascontiguousarray(stored), interpretation=right))
            assert np.abs(read_dicom(path)[0].pixels.astype(int) - pixels).max() <= 2
            with pytest.raises(ReadError) as caught:
                read_dicom(clinic.written(tmp_path, clinic.dicom(np.ascontiguousarray(stored), interpretation=wrong)))
            assert caught.value.code == "dicom.pi_mismatch"
    assert seen > 5
