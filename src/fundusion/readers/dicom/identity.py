"""Whose object it is: pseudonyms for grouping, or what stands in the file where a caller asks for exactly that."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InvalidInput
from ...core.vocabulary import Laterality
from .facts import laterality_of, modality_of
from .header import open_dataset, quiet, value_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DicomIdentity:
    """What groups files of a folder into studies: patient, series, eye, modality.

    Args:
        patient: Pseudonym, or the Patient ID in clear where that was asked for.
        series: Pseudonym, or the Series Instance UID in clear.
        laterality: The eye.
        modality: Of the object class.
        in_clear: Whether `patient` and `series` are identifiers.
    """

    patient: str
    series: str
    laterality: Laterality | None
    modality: str
    in_clear: bool = False


@quiet()
def read_identity(path: str | Path, *, salt: str | None = None, in_clear: bool = False) -> DicomIdentity:
    """Return whose object a file is, as pseudonyms unless identifiers are asked for.

    Args:
        path: The file.
        salt: The same salt gives the same pseudonyms; without knowing it they cannot be recomputed from a list of names.
        in_clear: Return the identifiers themselves. Never put the result in a log, a file name or a report.

    Raises:
        InvalidInput: Neither a salt was given nor clear identifiers were asked for.
        ReadError: As `read_dicom`; `laterality.conflict`.
    """
    if salt is None and not in_clear:
        raise InvalidInput("pseudonyms need a salt.", hint="Give salt=..., or in_clear=True for the identifiers.")
    _, dataset = open_dataset(path, [], stop_before_pixels=True)

    def named(keyword: str) -> str:
        # A file that names nobody is its own group; two such files are never taken for one patient.
        found = str(value_of(dataset, keyword, "")).strip()
        if in_clear:
            return found
        value = f"{salt}:{keyword}:{found or Path(path).name}"
        return hashlib.sha256(value.encode("utf-8", "replace")).hexdigest()[:12]

    return DicomIdentity(
        patient=named("PatientID"),
        series=named("SeriesInstanceUID"),
        laterality=laterality_of(dataset),
        modality=modality_of(dataset),
        in_clear=in_clear,
    )
