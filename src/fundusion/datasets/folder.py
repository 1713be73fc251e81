"""Whatever a person points at: files, folders, DICOM, tables, public sets as downloaded -> records."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..core.errors import FundusionError, InvalidInput, ReadError
from ..core.registry import datasets
from ..core.study import StudyRecord
from ..core.vocabulary import Laterality
from ..readers.dicom import SUFFIXES as DICOM_SUFFIXES
from ..readers.dicom import is_dicom, read_identity
from ..readers.image import SUFFIXES as IMAGE_SUFFIXES
from ..readers.manifest import SUFFIXES as TABLE_SUFFIXES
from ..readers.manifest import Manifest, RejectedRow, TableOptions, read_manifest
from ..readers.oct import SUFFIXES as VENDOR_SUFFIXES
from ..readers.oct import eyes_of
from ._overlap import seen_by
from ._recognise import the_set_of

_EYE = re.compile(r"(?:^|[_\-. ])(left|right|od|os|l|r)$", re.IGNORECASE)
_EYES = {"left": Laterality.LEFT, "os": Laterality.LEFT, "l": Laterality.LEFT,
         "right": Laterality.RIGHT, "od": Laterality.RIGHT, "r": Laterality.RIGHT}  # fmt: skip


def discover(
    inputs: Sequence[str | Path],
    *,
    columns: str | Path | None = None,
    modality: str = "cfp",
    root: str | Path | None = None,
    schema: str | Path | None = None,
    options: TableOptions | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Manifest:
    """Return the records of everything that was given, in a fixed order, each with its own identifier.

    Args:
        inputs: Image files, folders (searched in depth), DICOM files or folders, tables; public sets as downloaded.
        columns: Column map for tables.
        modality: What loose pictures are.
        root: Folder that image paths of tables are relative to.
        schema: Schema for tables (types, units, missing codes); goes instead of a column map.
        options: Encoding, delimiter and sheet of tables where they are not certain.
        progress: Called with the rows of a table that are done, now and then.

    Raises:
        InvalidInput: Nothing was given, or nothing usable was found (`input.empty`).
        ReadError: An input does not exist (`input.missing`).
    """
    if not inputs:
        raise InvalidInput("no input was given.", code="input.empty", hint="Give image files, a folder, or a table.")
    records: list[StudyRecord] = []
    rejected: list[RejectedRow] = []
    notes: list[str] = []
    for item in inputs:
        path = Path(item)
        if not path.exists():
            raise ReadError(f"input {path.name!r} does not exist.", code="input.missing", hint="Check the path.")
        if path.is_dir():
            found = _folder(path, modality)
        elif path.suffix.lower() in TABLE_SUFFIXES:
            found = read_manifest(
                path,
                columns=columns,
                schema=schema,
                root=root,
                on_bad_row="collect",
                options=options,
                progress=progress,
            )
        else:
            found = _files([path], path.parent, modality, given=True)
        records += found
        rejected += found.rejected
        notes += found.notes
    if not records and not rejected:
        raise InvalidInput(
            "nothing usable was found.",
            code="input.empty",
            hint=f"Read are {', '.join((*IMAGE_SUFFIXES, *DICOM_SUFFIXES, *VENDOR_SUFFIXES, *TABLE_SUFFIXES))}.",
        )
    return Manifest(_unique(records), rejected=rejected, notes=notes)


def _folder(folder: Path, modality: str) -> Manifest:
    name, fitting = the_set_of(folder)
    if name is not None:
        try:
            found = _public_set(name, folder)
            others = [n for n in fitting if n != name]
            return _with_note(found, f"it also holds {', '.join(others)}") if others else found
        except FundusionError as error:
            # The layout is there but its tables are not what they should be: the pictures are still pictures.
            found = _loose(folder, modality)
            return _with_note(found, f"{folder.name!r} looks like {name}, but cannot be read as that: {error}")
    found = _loose(folder, modality)
    if fitting:
        return _with_note(
            found, f"{folder.name!r} fits several sets ({', '.join(fitting)}); its pictures were read without labels"
        )
    return found


def _public_set(name: str, folder: Path) -> Manifest:
    reading = datasets.create(name, root=folder)
    notes = [f"{folder.name!r} was read as {name}", *reading.notes]
    models = seen_by(name)
    if models:
        notes.append(
            f"{', '.join(models)} saw this set in training: for these its numbers are not those of unseen eyes"
        )
    counts = {
        "listed files are missing": len(reading.missing),
        "files that no table lists were left out": len(reading.unlisted),
        "rows contradict": len(reading.contradictory),
    }
    notes += [
        f"{count} {what} (`fundusion datasets read {name}` names them)" for what, count in counts.items() if count
    ]
    return Manifest(list(reading), rejected=reading.rejected, notes=notes)


def _with_note(found: Manifest, note: str) -> Manifest:
    return Manifest(found.records, rejected=found.rejected, notes=[note, *found.notes])


def _loose(folder: Path, modality: str) -> Manifest:
    files, skipped = _walk(folder)
    found = _files(files, folder, modality, given=False)
    notes = [*found.notes, *([f"{skipped} files of other types in {folder.name!r} were left out"] if skipped else [])]
    return Manifest(found.records, rejected=found.rejected, notes=notes)


def _walk(folder: Path) -> tuple[list[Path], int]:
    """Return pictures and DICOM files in a fixed order and the count of others; a folder is entered once."""
    seen: set[tuple[int, int]] = set()
    files: list[Path] = []
    skipped = 0
    waiting = [folder]
    while waiting:
        here = waiting.pop()
        try:
            facts = here.stat()
            if (facts.st_dev, facts.st_ino) in seen:
                continue
            seen.add((facts.st_dev, facts.st_ino))
            entries = sorted(here.iterdir(), key=lambda p: p.name)
        except OSError:
            skipped += 1
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.suffix.lower() in (*IMAGE_SUFFIXES, *VENDOR_SUFFIXES) and not _looks_like_folder(entry):
                files.append(entry)
            elif entry.is_dir():
                waiting.append(entry)
            elif is_dicom(entry):
                files.append(entry)
            else:
                skipped += 1
    return sorted(files), skipped


def _looks_like_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _files(files: Sequence[Path], base: Path, modality: str, *, given: bool) -> Manifest:
    records: list[StudyRecord] = []
    rejected: list[RejectedRow] = []
    groups: dict[tuple[str, str, str | None], list[tuple[Path, str]]] = {}
    for path in files:
        label = path.relative_to(base).as_posix()
        if is_dicom(path):
            try:
                identity = read_identity(path, salt="fundusion")
            except FundusionError as error:
                rejected.append(_rejected(label, error))
                continue
            key = (identity.patient, identity.series, identity.laterality.value if identity.laterality else None)
            groups.setdefault(key, []).append((path, identity.modality))
        elif path.suffix.lower() in VENDOR_SUFFIXES:
            try:
                records += _scans(path, label)
            except FundusionError as error:
                rejected.append(_rejected(label, error))
        elif path.suffix.lower() in IMAGE_SUFFIXES or given:
            records.append(_photograph(path, label, modality))
    for (patient, series, eye), members in groups.items():
        images: dict[str, tuple[str, ...]] = {}
        for path, kind in members:
            images[kind] = (*images.get(kind, ()), str(path.resolve()))
        records.append(
            StudyRecord(
                study_id="_".join(x for x in (f"dicom-{series}", eye) if x),
                patient_id=f"dicom-{patient}",
                laterality=Laterality(eye) if eye else None,
                images=images,
                origin=members[0][0].name,
            )
        )
    return Manifest(records, rejected=rejected)


def _scans(path: Path, label: str) -> list[StudyRecord]:
    """Return one record per eye that a vendor OCT file holds volumes of."""
    eyes = dict.fromkeys(eyes_of(path))
    return [
        StudyRecord(
            study_id=label if len(eyes) == 1 else f"{label}_{eye.value if eye else 'eye unknown'}",
            laterality=eye,
            images={"oct": (str(path.absolute()),)},
            origin=label,
        )
        for eye in eyes
    ]


def _photograph(path: Path, label: str, modality: str) -> StudyRecord:
    """Eye and patient are taken from names like `123_left` and `123_OD` only; else they are unknown, never guessed."""
    stem = path.stem
    match = _EYE.search(stem)
    eye = _EYES[match.group(1).lower()] if match else None
    patient = stem[: match.start()] if match and match.start() > 0 else None
    folder = Path(label).parent.as_posix()
    group = patient if patient is None or folder == "." else f"{folder}/{patient}"
    return StudyRecord(
        study_id=Path(label).with_suffix("").as_posix() if path.suffix.lower() in IMAGE_SUFFIXES else label,
        patient_id=group,
        laterality=eye,
        images={modality: (str(path.absolute()),)},
        origin=label,
    )


def _rejected(label: str, error: FundusionError) -> RejectedRow:
    return RejectedRow(study_id=label, code=error.code, message=error.message, hint=error.hint, origin=label)


def _unique(records: Sequence[StudyRecord]) -> list[StudyRecord]:
    """Give records of the same identifier a number; two files never share one result."""
    from dataclasses import replace

    counts: dict[str, int] = {}
    result = []
    for record in records:
        key = record.study_id
        counts[key] = counts.get(key, 0) + 1
        result.append(record if counts[key] == 1 else replace(record, study_id=f"{key}~{counts[key]}"))
    return result
