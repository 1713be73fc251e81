"""Files -> `Study`. Each format is one module or folder; `read_images` picks the one a path needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..core.errors import ReadError
from ..core.study import Image, Study, StudyRecord
from ..core.vocabulary import Laterality

#: A part of a file: an array of a NumPy archive (`eye.npz#oct_bscans`) or frames of a series (`series.dcm#3`).
_PART = re.compile(r"^(?P<file>.+)#(?P<part>[^#/\\]+)$", re.DOTALL)
_NAMED_EYE = re.compile(r"(?:^|[_\-. ])(OD|OS|left|right)(?=$|[_\-. ])", re.IGNORECASE)
_EYES = {"od": Laterality.RIGHT, "right": Laterality.RIGHT, "os": Laterality.LEFT, "left": Laterality.LEFT}
_MAX_FRAMES = 4096


def read_study(record: StudyRecord) -> Study:
    """Return the study of a record with its files read.

    A file that holds both eyes gives the volumes of the record's eye; without one the study is held.

    Raises:
        ReadError: A file cannot be used; the message names it without its folder.
        ReadError: `laterality.conflict`: a file or its name says the other eye; the study is held, never guessed.
    """
    images: dict[str, tuple[Image, ...]] = {}
    for modality, paths in record.images.items():
        found: list[Image] = []
        for path in paths:
            found += _of_one_eye(read_images(path, modality=modality), record.laterality, split_part(path)[0])
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


def split_part(path: str | Path) -> tuple[Path, str | None]:
    """Return the file of a path and the part of it that is meant, `file.npz#key` or `file.dcm#frames`.

    A file that really has "#" in its name is taken as it is.

    Example:
        >>> split_part("scans/data_1.npz#oct_bscans")
        (PosixPath('scans/data_1.npz'), 'oct_bscans')
    """
    text = str(path)
    match = _PART.match(text)
    if match is None:
        return Path(text), None
    try:
        if Path(text).exists():
            return Path(text), None
    except (OSError, ValueError):
        pass
    return Path(match["file"]), match["part"]


def read_images(path: str | Path, *, modality: str) -> list[Image]:
    """Return the images of one file, of a part of one, or of one folder of B-scans.

    Args:
        path: A file; `archive.npz#key` for an array; `series.dcm#3`, `#1,4-6` or `#all` for frames of a series.
        modality: What kind of image it is.

    Raises:
        ReadError: The file cannot be used, or has no such part (`file.no_parts`, `npz.key`, `dicom.no_such_frame`).
    """
    source, part = split_part(path)
    suffix = source.suffix.lower()
    if suffix == ".npz":
        from .npz import read_npz

        return [read_npz(source, key=part, modality=modality)]
    if source.is_dir():
        from .volume import read_volume

        _no_part(part, source)
        return [read_volume(source, modality=modality)]
    from .dicom import is_dicom, read_dicom

    if is_dicom(source):
        found = read_dicom(source, modality=modality, frames=_frames(part))
        _check_name(found, source)
        return found
    _no_part(part, source)
    if source.name.lower().endswith((".ppm", ".pgm", ".ppm.gz", ".pgm.gz")):
        from .netpbm import read_netpbm

        return [read_netpbm(source, modality=modality)]
    from .oct import SUFFIXES as VENDOR
    from .oct import read_oct

    if suffix in VENDOR:
        found = read_oct(source, modality=modality)
        _check_name(found, source)
        return found
    if modality == "oct" and suffix in (".tif", ".tiff"):
        from .volume import read_volume

        return [read_volume(source, modality=modality)]
    from .image import read_image

    return [read_image(source, modality=modality)]


def _no_part(part: str | None, source: Path) -> None:
    if part is not None:
        raise ReadError(
            f"{source.name!r} has no parts; asked for was {part[:40]!r}.",
            code="file.no_parts",
            hint="Parts are named in .npz archives and in DICOM series only.",
        )


def _frames(part: str | None) -> Sequence[int] | str | None:
    """Return the frame numbers of "3", "1,4-6" or "all"."""
    if part is None or part.strip().casefold() == "all":
        return None if part is None else "all"
    numbers: list[int] = []
    for piece in part.split(","):
        match = re.fullmatch(r"\s*(\d{1,6})(?:\s*-\s*(\d{1,6}))?\s*", piece)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if last < first or last - first >= _MAX_FRAMES or len(numbers) >= _MAX_FRAMES:
            raise ReadError(
                f"frames {part[:40]!r} are not understood.",
                code="dicom.no_such_frame",
                hint="Write #3, #1,4-6 or #all after the file.",
            )
        numbers += range(first, last + 1)
    return numbers


def _check_name(images: Sequence[Image], source: Path) -> None:
    """Hold a file whose name states one eye while its content states only the other."""
    inside = {i.laterality for i in images if i.laterality is not None}
    outside = {_EYES[m.casefold()] for m in _NAMED_EYE.findall(source.stem)}
    if len(outside) == 1 and inside and not outside & inside:
        raise ReadError(
            "the name of the file says one eye, its content the other.",
            code="laterality.conflict",
            hint="Find out which is right and correct the name or the object; the study is held until then.",
        )


def _of_one_eye(images: list[Image], eye: Laterality | None, source: Path) -> list[Image]:
    """Return the images of the record's eye out of a file that holds both; others of such a file are not guessed about."""
    eyes = {i.laterality for i in images if i.laterality is not None}
    if len(eyes) < 2:
        return images
    if eye is None:
        raise ReadError(
            f"{source.name!r} holds scans of both eyes; which eye the study is about is not stated.",
            code="laterality.conflict",
            hint="State the eye in the table, one row per eye.",
        )
    note = ("laterality.other_scans_left_out",)
    return [replace(i, notes=i.notes + note) for i in images if i.laterality is eye]


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
