"""Numbers and units; what is not written is not made up."""

import pytest

from fundusion.readers.report import read_report

CDR, VA, IOP, CST, AL = (
    "cup_to_disc_ratio", "visual_acuity", "intraocular_pressure", "central_thickness", "axial_length",
)  # fmt: skip


def numbers(text):
    return [(m.name, m.word if m.value is None else m.value, m.unit, m.eye) for m in read_report(text).measurements]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("C/D 0.6 OD, 0.4 OS.", [(CDR, 0.6, "ratio", "OD"), (CDR, 0.4, "ratio", "OS")]),
        ("Right: 0.5, left: 0.6 cup-disc ratio.", [(CDR, 0.5, "ratio", "OD"), (CDR, 0.6, "ratio", "OS")]),
        ("VA 20/40 OD", [(VA, 0.5, "decimal", "OD")]),
        ("VA 6/12 OD, counting fingers OS", [(VA, 0.5, "decimal", "OD"), (VA, "CF", None, "OS")]),
        ("logMAR acuity 0.3 OS", [(VA, 0.3, "logMAR", "OS")]),
        ("VA 0.3 OS", [(VA, 0.3, None, "OS")]),
        ("VA OD 20/25-2, OS 20/30+1", [(VA, 0.8, "decimal", "OD"), (VA, 0.667, "decimal", "OS")]),
        ("IOP OD 15, OS 16 mmHg", [(IOP, 15.0, "mmHg", "OD"), (IOP, 16.0, "mmHg", "OS")]),
        ("VAR 6/9, VAL 6/60", [(VA, 0.667, "decimal", "OD"), (VA, 0.1, "decimal", "OS")]),
        ("IOP 16 mmHg right eye", [(IOP, 16.0, "mmHg", "OD")]),
        ("IOP 16 OD", [(IOP, 16.0, None, "OD")]),
        ("IOP 2.1 kPa OD", [(IOP, 2.1, "kPa", "OD")]),
        ("CST 412 um OD", [(CST, 412.0, "um", "OD")]),
        ("Axial length 27.8 mm OS", [(AL, 27.8, "mm", "OS")]),
        ("视力：右眼0.5，左眼指数。", [(VA, 0.5, "decimal", "OD"), (VA, "CF", None, "OS")]),
        ("右眼视力4.8", [(VA, 4.8, "five-mark", "OD")]),
        ("无光感", [(VA, "NLP", None, "")]),
        ("杯盘比约0.7", [(CDR, 0.7, "ratio", "")]),
        ("眼压：右15mmHg，左28mmHg", [(IOP, 15.0, "mmHg", "OD"), (IOP, 28.0, "mmHg", "OS")]),
        ("Seen on 20/11/2024.", []),
        ("Age 61, HbA1c 8.2 %", []),
    ],
)
def test_numbers(text, expected):
    assert numbers(text) == expected


@pytest.mark.parametrize(
    ("text", "code", "kept"),
    [
        ("IOP 16 OD", "measurement.unit_not_stated", 1),
        ("VA 0.3 OD", "measurement.unit_not_stated", 1),
        ("IOP 16/18 mmHg", "measurement.pair", 0),
        ("IOP 210 mmHg", "measurement.implausible", 0),
        ("C/D 6", "measurement.implausible", 0),
        ("IOP 16 mm OD", "measurement.unit", 0),
    ],
)
def test_doubts_are_flagged(text, code, kept):
    reading = read_report(text)
    assert [f.code for f in reading.flags] == [code]
    assert len(reading.measurements) == kept


def test_an_earlier_value_is_history():
    assert [m.status for m in read_report("Previous IOP 24 mmHg OD. IOP 16 mmHg OD.").measurements] == [
        "history",
        "present",
    ]


def test_as_json():
    (m,) = read_report("C/D 0.6 OD").measurements
    assert m.to_dict()["written"] == "0.6"
    assert m.to_dict()["eye"] == "OD"
