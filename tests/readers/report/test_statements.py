"""The parts of a reading."""

import json

import pytest

from fundusion.core.errors import InvalidInput
from fundusion.core.vocabulary import Laterality
from fundusion.readers.report import ReportFinding, read_report


def test_a_finding_is_ready_for_json():
    (finding,) = read_report("OD: mild NPDR superotemporally").findings
    value = json.loads(json.dumps(finding.to_dict()))
    assert value["code"] == "nonproliferative_diabetic_retinopathy"
    assert (value["eye"], value["grade"], value["severity"], value["location"]) == (
        "OD",
        "icdr=1",
        "mild",
        ["superotemporally"],
    )


def test_an_unknown_status_is_refused():
    with pytest.raises(InvalidInput, match="status"):
        ReportFinding(code="drusen", name="drusen", status="perhaps", eyes=(), span=(0, 1), text="d", sentence=(0, 1))


def test_named_eyes():
    assert read_report("drusen OS").named_eyes == (Laterality.LEFT,)
    assert read_report("drusen OS, C/D 0.3 OD").named_eyes == (Laterality.RIGHT, Laterality.LEFT)
    assert read_report("drusen").named_eyes == ()
