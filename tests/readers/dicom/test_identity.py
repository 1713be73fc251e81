"""Nobody can be recognised in what is returned, unless the caller asks for exactly that."""

import numpy as np
import pytest
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from fundusion.core.errors import InvalidInput
from fundusion.readers.dicom import read_dicom, read_identity

#: Every element of the dictionary that is text, a date, or an identifier could name somebody.
_TEXT = {"PN": "CANARY^X", "LO": "CANARY", "SH": "CANARY", "ST": "CANARY", "LT": "CANARY", "UT": "CANARY", "UC": "CANARY",
         "AE": "CANARY", "UR": "http://canary"}  # fmt: skip
#: Make and model of the camera are asked for; the rest of what is read is checked by value.
_ALLOWED = {"Manufacturer", "ManufacturerModelName", "CodeValue"}
_STRUCTURE = {"PhotometricInterpretation", "SpecificCharacterSet"}


def test_a_canary_in_every_text_element_occurs_in_no_result(tmp_path, clinic, picture):
    ds = clinic.dicom(picture)
    planted = 0
    for keyword in keyword_dict:
        try:
            vr = dictionary_VR(keyword)
        except KeyError:
            continue
        tag = keyword_dict[keyword]
        if vr in _TEXT and keyword not in _ALLOWED | _STRUCTURE and tag >> 16 not in (0, 2):
            setattr(ds, keyword, _TEXT[vr])
            planted += 1
    block = ds.private_block(0x0099, "CANARY CREATOR", create=True)
    block.add_new(1, "LO", "CANARY private")
    inner = Dataset()
    inner.PatientName = "CANARY^Inner"
    ds.OtherPatientIDsSequence = Sequence([inner])
    ds.add_new(0x60000010, "US", 64)
    ds.add_new(0x60003000, "OW", b"CANARY overlay" * 8)
    ds.Manufacturer = "Topcon"
    assert planted > 500
    path = clinic.written(tmp_path, ds)
    image = read_dicom(path)[0]
    one, two = read_identity(path, salt="s"), read_identity(path, salt="t")
    shown = repr(image) + repr(one) + repr(two) + image.pixels.tobytes().decode("latin-1")
    assert "CANARY" not in shown.upper()
    for token in ("4711", "1.2.3", "1950"):
        assert token not in repr(one) + repr(two) + repr((image.device, image.notes, image.acquired))
    assert one == read_identity(path, salt="s")
    assert one.patient != two.patient


def test_identifiers_are_given_only_when_asked_for(tmp_path, clinic, picture):
    path = clinic.written(tmp_path, clinic.dicom(picture, ImageLaterality="L"))
    clear = read_identity(path, in_clear=True)
    assert (clear.patient, clear.series, clear.in_clear) == ("CANARY-4711", "1.2.3", True)
    with pytest.raises(InvalidInput, match="salt"):
        read_identity(path)


def test_errors_name_the_file_and_not_the_patient(tmp_path, clinic):
    ds = clinic.dicom(np.zeros((40, 40, 3), np.uint8), PhotometricInterpretation="CANARY?", Rows=3)
    with pytest.raises(Exception) as caught:
        read_dicom(clinic.written(tmp_path, ds))
    assert "4711" not in str(caught.value)
    assert "Tweety" not in str(caught.value)


def test_files_that_name_nobody_are_not_one_patient(tmp_path, clinic, picture):
    names = []
    for name in ("a.dcm", "b.dcm"):
        ds = clinic.dicom(picture)
        del ds.PatientID
        names.append(read_identity(clinic.written(tmp_path, ds, name), salt="s").patient)
    assert names[0] != names[1]


def test_the_library_logs_no_value(tmp_path, clinic, picture, caplog):
    path = clinic.written(tmp_path, clinic.dicom(picture, AcquisitionDateTime="CANARY time", PatientBirthDate="CANARY"))
    caplog.clear()
    read_dicom(path)
    read_identity(path, salt="s")
    assert "CANARY" not in caplog.text
