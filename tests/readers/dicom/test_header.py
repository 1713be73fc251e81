"""What a header claims is checked before anything of that size is allocated."""

import resource
import time
import zlib

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian

from fundusion.core.errors import ReadError
from fundusion.readers.dicom import is_dicom, read_dicom, read_identity
from fundusion.readers.dicom.header import check_header, open_dataset, value_of, whole


def code_of(path, **options):
    with pytest.raises(ReadError) as caught:
        read_dicom(path, **options)
    assert str(path.parent) not in str(caught.value)
    return caught.value.code


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda ds: delattr(ds, "PixelData"), "dicom.no_pixels"),
        (lambda ds: setattr(ds, "PixelData", ds.PixelData[:100]), "image.truncated"),
        (lambda ds: setattr(ds, "NumberOfFrames", 2_000_000), "image.too_large"),
        (lambda ds: setattr(ds, "NumberOfFrames", -3), "dicom.size"),
        (lambda ds: setattr(ds, "Rows", 1), "dicom.size"),
        (lambda ds: (setattr(ds, "Rows", 65535), setattr(ds, "Columns", 65535)), "image.too_large"),
        (lambda ds: setattr(ds, "BitsAllocated", 32), "dicom.size"),
        (lambda ds: setattr(ds, "BitsStored", 0), "dicom.size"),
        (lambda ds: setattr(ds, "BitsStored", 12), "dicom.size"),
        (lambda ds: setattr(ds, "SamplesPerPixel", 4), "dicom.size"),
        (lambda ds: setattr(ds, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.66.4"), "dicom.not_a_picture"),
        (lambda ds: setattr(ds, "PhotometricInterpretation", "HSV"), "dicom.photometric"),
    ],
)
def test_forged_and_short_objects(tmp_path, clinic, picture, change, code):
    ds = clinic.dicom(picture)
    change(ds)
    assert code_of(clinic.written(tmp_path, ds)) == code


def test_a_forged_size_costs_neither_time_nor_memory(tmp_path, clinic, picture):
    ds = clinic.dicom(picture, NumberOfFrames=250, Rows=1024, Columns=1024)
    path = clinic.written(tmp_path, ds)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    assert code_of(path) == "image.truncated"
    assert time.perf_counter() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


def test_an_object_without_pixels_names_its_class(tmp_path, clinic, picture):
    ds = clinic.dicom(picture, sop="1.2.840.10008.5.1.4.1.1.11.1")
    del ds.PixelData
    with pytest.raises(ReadError, match="Presentation State"):
        read_dicom(clinic.written(tmp_path, ds))


def test_cut_and_foreign_files(tmp_path, clinic, picture):
    path = clinic.written(tmp_path, clinic.dicom(picture))
    content = path.read_bytes()
    assert is_dicom(path)
    for keep in (140, 300, len(content) // 2, len(content) - 2):
        (tmp_path / "cut.dcm").write_bytes(content[:keep])
        assert code_of(tmp_path / "cut.dcm") in ("dicom.damaged", "dicom.no_pixels", "image.truncated")
    (tmp_path / "text.dcm").write_text("no dicom")
    assert code_of(tmp_path / "text.dcm") == "dicom.not_dicom"
    assert not is_dicom(tmp_path / "none")
    assert code_of(tmp_path / "none.dcm") == "file.missing"
    (tmp_path / "folder.dcm").mkdir()
    assert code_of(tmp_path / "folder.dcm") == "file.not_a_file"


def test_without_preamble_and_without_meta(tmp_path, clinic, picture):
    path = clinic.written(tmp_path, clinic.dicom(picture))
    bare = tmp_path / "bare.dcm"
    bare.write_bytes(path.read_bytes()[132:])
    image = read_dicom(bare)[0]
    np.testing.assert_array_equal(image.pixels, picture)
    assert "dicom.no_preamble" in image.notes
    ds = clinic.dicom(picture)
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    without = clinic.written(tmp_path, ds).read_bytes()
    start = without.index(b"\x08\x00\x16\x00")
    (tmp_path / "old.dcm").write_bytes(without[start:])
    np.testing.assert_array_equal(read_dicom(tmp_path / "old.dcm")[0].pixels, picture)


def test_a_deflated_bomb_is_refused_while_it_inflates(tmp_path, clinic, picture, monkeypatch):
    monkeypatch.setattr("fundusion.readers.dicom.header.MAX_BYTES", 30_000)
    ds = clinic.dicom(np.zeros((128, 128, 3), np.uint8))
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = clinic.written(tmp_path, ds)
    assert path.stat().st_size < 2000
    assert code_of(path) == "image.too_large"
    monkeypatch.undo()
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:-20])
    assert code_of(tmp_path / "cut.dcm") == "image.truncated"
    assert zlib.MAX_WBITS == 15


def nested(depth, *, undefined):
    """An explicit little-endian sequence in a sequence in a sequence; private, so that nothing needs to know it."""
    body = b""
    for _ in range(depth):
        length = b"\xff\xff\xff\xff" if undefined else len(body).to_bytes(4, "little")
        item = b"\xfe\xff\x00\xe0" + length + body + (b"\xfe\xff\x0d\xe0\0\0\0\0" if undefined else b"")
        whole_length = b"\xff\xff\xff\xff" if undefined else len(item).to_bytes(4, "little")
        end = b"\xfe\xff\xdd\xe0\0\0\0\0" if undefined else b""
        body = b"\x08\x00\x40\x11SQ\0\0" + whole_length + item + end
    return body


@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_ten_thousand_deep_end_in_a_defined_state(tmp_path, clinic, picture, undefined):
    path = clinic.written(tmp_path, clinic.dicom(picture))
    content = path.read_bytes()
    # In its place by tag number: behind (0008,0016..0018), before the patient.
    at = content.index(b"\x10\x00\x10\x00PN")
    path.write_bytes(content[:at] + nested(10_000, undefined=undefined) + content[at:])
    start = time.perf_counter()
    if undefined:
        assert code_of(path) == "dicom.nested"
    else:
        # Lengths are stated, so that nothing needs to look inside.
        np.testing.assert_array_equal(read_dicom(path)[0].pixels, picture)
    assert time.perf_counter() - start < 5


def test_undefined_length_to_the_end_of_the_file(tmp_path, clinic, picture):
    path = clinic.written(tmp_path, clinic.dicom(picture))
    content = bytearray(path.read_bytes())
    at = content.index(b"\xe0\x7f\x10\x00OB\0\0")
    content[at + 8 : at + 12] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert code_of(path) in ("dicom.damaged", "dicom.no_pixels", "image.truncated", "image.corrupt")


def test_vendors_malformed_optional_elements_do_not_cost_the_picture(tmp_path, clinic, picture):
    path = clinic.written(
        tmp_path, clinic.dicom(picture, AcquisitionDateTime="not a date", PixelSpacing=["0.01", "0.01"])
    )
    content = path.read_bytes()
    path.write_bytes(content.replace(b"0.01\\0.01", b"zero\\none"))
    image = read_dicom(path)[0]
    np.testing.assert_array_equal(image.pixels, picture)
    assert image.acquired is None
    assert image.spacing_um is None


def test_character_sets_known_unknown_and_wrong(tmp_path, clinic, picture):
    for charset, name, noted in (
        ("GB18030", "王^小东".encode("gb18030"), False),
        ("NO SUCH", "王".encode(), True),
        ("ISO_IR 192", "王".encode("gb18030"), False),
        ("ISO_IR 100", b"\x1b$B;3ED\x1b(J^\xff\xfe", False),
    ):
        path = clinic.written(tmp_path, clinic.dicom(picture, Manufacturer="Topcon", SpecificCharacterSet="ISO_IR 192"))
        content = path.read_bytes().replace(b"ISO_IR 192", charset.encode().ljust(10))
        at = content.index(b"\x10\x00\x10\x00PN") + 8
        path.write_bytes(content[:at] + name.ljust(14)[:14] + content[at + 14 :])
        image = read_dicom(path)[0]
        assert ("dicom.charset_unknown" in image.notes) == noted
        assert image.device == "Topcon"
        assert read_identity(path, salt="s").patient


def test_helpers_of_elements():
    ds = Dataset()
    ds.Rows = 5
    assert value_of(ds, "Columns", 7) == 7
    assert whole(ds, "Rows", 0) == 5
    ds.AnatomicRegionSequence = Sequence([])
    with pytest.raises(ReadError, match="AnatomicRegionSequence is no number"):
        whole(ds, "AnatomicRegionSequence", 0)


def test_the_header_as_plain_numbers(tmp_path, clinic):
    ds = clinic.dicom(np.zeros((40, 50), np.uint16), bits=12)
    ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    header = check_header(open_dataset(clinic.written(tmp_path, ds), [])[1], "a")
    assert (header.rows, header.columns, header.frames, header.stored, header.high) == (40, 50, 1, 12, 11)
    assert not header.is_encapsulated
