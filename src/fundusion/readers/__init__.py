"""Files -> `Study`. Each format is one module; `read_study` picks the one a path needs."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import ReadError
from ..core.study import Image, Study, StudyRecord
from ..core.vocabulary import Laterality


def read_study(record: StudyRecord) -> Study:
    """Return the study of a record with its files read.

    Raises:
        ReadError: A file cannot be used; the message names it without its folder.
        ReadError: `laterality.conflict`: a file names the other eye; the study is held, never guessed.
    """
    images: dict[str, tuple[Image, ...]] = {}
    for modality, paths in record.images.items():
        found: list[Image] = []
        for path in paths:
            found += read_images(path, modality=modality)
        images[modality] = tuple(found)
    return Study(
        study_id=record.study_id,
        patient_id=record.patient_id,
        laterality=_agreed_laterality(record, images),
        images=images,
        report=record.report,
        metadata=record.metadata,
        labels=record.labels,
        visit=record.visit,
    )


def read_images(path: str | Path, *, modality: str) -> list[Image]:
    """Return the images of one file, or of one folder of B-scans."""
    source = Path(path)
    if source.is_dir():
        from .volume import read_volume

        return [read_volume(source, modality=modality)]
    from .dicom import is_dicom, read_dicom

    if is_dicom(source):
        return read_dicom(source, modality=modality)
    if source.name.lower().endswith((".ppm", ".pgm", ".ppm.gz", ".pgm.gz")):
        from .netpbm import read_netpbm

        return [read_netpbm(source, modality=modality)]
    if modality == "oct" and source.suffix.lower() in (".tif", ".tiff"):
        from .volume import read_volume

        return [read_volume(source, modality=modality)]
    from .image import read_image

    return [read_image(source, modality=modality)]


def _agreed_laterality(record: StudyRecord, images: dict[str, tuple[Image, ...]]) -> Laterality | None:
    named = {i.laterality for v in images.values() for i in v if i.laterality is not None}
    if record.laterality is not None:
        named.add(record.laterality)
    if len(named) > 1:
        raise ReadError(
            "the files or the table name both eyes for this study.",
            code="laterality.conflict",
            hint="Correct the laterality in the table or the file; the study is held until then.",
        )
    return named.pop() if named else None
