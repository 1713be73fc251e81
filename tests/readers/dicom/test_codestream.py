"""Headers of compressed frames are read without decoding, and damage in them is an error with a code."""

import imagecodecs
import numpy as np
import pytest
import simplejpeg

from fundusion.core.errors import ReadError
from fundusion.readers.dicom.codestream import inspect


@pytest.fixture(scope="module")
def streams(picture):
    grey12 = (picture[..., 0].astype(np.uint16) * 16).copy()
    return {
        "jpeg": simplejpeg.encode_jpeg(picture, colorsubsampling="420"),
        "lossless": imagecodecs.ljpeg_encode(grey12, bitspersample=12),
        "jpeg_ls": imagecodecs.jpegls_encode(picture),
        "j2k": imagecodecs.jpeg2k_encode(picture, level=0, mct=True),
    }


def test_size_components_precision_and_colour(streams, picture):
    expected = {"jpeg": (3, 8, "ycc"), "lossless": (1, 12, None), "jpeg_ls": (3, 8, None), "j2k": (3, 8, "rgb")}
    for kind, stream in streams.items():
        found = inspect(stream, "a")
        assert (found.kind, found.height, found.width) == (kind, *picture.shape[:2])
        assert (found.components, found.precision, found.colour) == expected[kind]
        assert found.subsampled == (kind == "jpeg")


def test_a_stream_cut_in_its_header_and_other_content_are_refused(streams):
    for stream in streams.values():
        for keep in (0, 1, 3, 12, 20):
            with pytest.raises(ReadError) as caught:
                inspect(stream[:keep], "a")
            assert caught.value.code == "image.corrupt"
    with pytest.raises(ReadError):
        inspect(b"\x89PNG\r\n\x1a\n" + bytes(64), "a")


def test_arithmetic_coding_is_named_as_not_read(streams):
    stream = streams["jpeg"].replace(b"\xff\xc0", b"\xff\xc9", 1)
    with pytest.raises(ReadError) as caught:
        inspect(stream, "a")
    assert caught.value.code == "dicom.transfer_syntax"
