"""Closed terms of the field: modalities, laterality, grading scales and their labels."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from .errors import InvalidInput


class Modality(StrEnum):
    """An imaging modality of the eye; the value is the name used everywhere."""

    CFP = "cfp"
    UWF = "uwf"
    OCT = "oct"
    OCTA = "octa"
    FFA = "ffa"
    ICGA = "icga"
    FAF = "faf"
    SLO = "slo"
    ULTRASOUND = "ultrasound"
    EXTERNAL = "external"


#: Names of the two inputs that are not images, as they appear in networks, batches and results.
TEXT = "text"
TABLE = "table"

MODALITY_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "cfp": "colour fundus photograph",
        "uwf": "ultra-wide-field photograph",
        "oct": "optical coherence tomography",
        "octa": "OCT angiography",
        "ffa": "fluorescein angiogram",
        "icga": "indocyanine green angiogram",
        "faf": "fundus autofluorescence",
        "slo": "scanning laser ophthalmoscopy",
        "ultrasound": "ultrasound",
        "external": "external photograph",
        TEXT: "written report",
        TABLE: "patient table",
    }
)


class Laterality(StrEnum):
    """Which eye: OD is the right eye, OS the left."""

    RIGHT = "OD"
    LEFT = "OS"


_LATERALITY_WORDS = {
    Laterality.RIGHT: {"od", "r", "right", "re", "right eye", "右", "右眼"},
    Laterality.LEFT: {"os", "l", "left", "le", "left eye", "左", "左眼"},
}


def parse_laterality(value: object) -> Laterality | None:
    """Return the eye a cell names, or None for an empty cell.

    Raises:
        InvalidInput: The value is not a known word; an eye is never guessed.

    Example:
        >>> parse_laterality("Right"), parse_laterality("左眼"), parse_laterality("")
        (<Laterality.RIGHT: 'OD'>, <Laterality.LEFT: 'OS'>, None)
    """
    if value is None:
        return None
    word = str(value).strip().casefold()
    if not word:
        return None
    for eye, words in _LATERALITY_WORDS.items():
        if word in words:
            return eye
    raise InvalidInput(
        f"laterality {str(value)!r} is not known.",
        code="laterality.unknown",
        hint="Use OD or OS (right/left, R/L, 右眼/左眼 are read too).",
    )


#: International Clinical Diabetic Retinopathy scale. Source: Wilkinson et al. 2003, doi:10.1016/S0161-6420(03)00475-5.
ICDR_LABELS = (
    "no apparent retinopathy",
    "mild NPDR",
    "moderate NPDR",
    "severe NPDR",
    "PDR",
)
#: First ICDR grade of more-than-mild retinopathy (mtmDR).
REFERABLE_ICDR_GRADE = 2

#: ODIR-5K label letters and what they stand for.
ODIR_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "N": "normal",
        "D": "diabetic retinopathy",
        "G": "glaucoma",
        "C": "cataract",
        "A": "age-related macular degeneration",
        "H": "hypertensive retinopathy",
        "M": "pathological myopia",
        "O": "other abnormality",
    }
)
