"""Files -> `Study`. Each format is one module; `read_study` picks the one a path needs."""

from __future__ import annotations

from collections.abc import Mapping
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
        images[modality] = tuple(i for path in paths for i in read_images(path, modality=modality))
    return assemble_study(record, images)


def assemble_study(record: StudyRecord, images: Mapping[str, tuple[Image, ...]]) -> Study:
    """Return the study of a record from images that were read for it.

    Raises:
        ReadError: `laterality.conflict`: a file names the other eye.
    """
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


def read_images(path: str | Path, *, modality: str, enough_px: int | None = None) -> list[Image]:
    """Return the images of one file, or of one folder of B-scans.

    Args:
        path: File or folder.
        modality: What kind of image it is.
        enough_px: Length of the shorter side of a photograph that is enough; None reads every pixel.
    """
    source = Path(path)
    if source.is_dir():
        from .volume import read_volume

        return [read_volume(source, modality=modality)]
    from .dicom import is_dicom, read_dicom

    if is_dicom(source):
        return read_dicom(source, modality=modality)
    if modality == "oct" and source.suffix.lower() in (".tif", ".tiff"):
        from .volume import read_volume

        return [read_volume(source, modality=modality)]
    from .image import read_image

    return [read_image(source, modality=modality, enough_px=enough_px)]


def _agreed_laterality(record: StudyRecord, images: Mapping[str, tuple[Image, ...]]) -> Laterality | None:
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
