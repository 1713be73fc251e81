"""One eye of one patient at one visit: on disk (`StudyRecord`) and in memory (`Study`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import InvalidInput
from .vocabulary import TABLE, TEXT, Laterality, Modality

_MODALITIES = frozenset(m.value for m in Modality)


def _frozen(mapping: Mapping[str, Any]) -> Mapping[str, Any]:
    return MappingProxyType(dict(mapping))


def _check_identity(study_id: str, patient_id: str | None, laterality: Laterality | None) -> None:
    if not isinstance(study_id, str) or not study_id:
        raise InvalidInput(f"study_id must be a non-empty string, got {study_id!r}.", code="study.id")
    if patient_id is not None and (not isinstance(patient_id, str) or not patient_id):
        raise InvalidInput(f"patient_id must be a non-empty string or None, got {patient_id!r}.", code="study.id")
    if laterality is not None and not isinstance(laterality, Laterality):
        raise InvalidInput(f"laterality must be a Laterality or None, got {laterality!r}.", code="laterality.unknown")


def _check_modalities(names: Mapping[str, object]) -> None:
    unknown = sorted(set(names) - _MODALITIES)
    if unknown:
        raise InvalidInput(
            f"unknown image modalities {unknown}.", code="modality.unknown", hint=f"Known: {sorted(_MODALITIES)}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """Pixels of one photograph, frame or volume.

    Args:
        pixels: `(H, W, C)` uint8, C 1 or 3 in RGB order, for planar images; `(D, H, W)` uint8 or uint16 for volumes.
        modality: What kind of image it is.
        spacing_um: Micrometres per pixel in the order of the spatial axes; None when unknown, never 1.0.
        acquired: When it was taken.
        laterality: The eye the file itself names (DICOM tag), to be compared with the record.
        notes: Codes of harmless oddities found in reading, such as `image.missing_eoi` or `orientation.mirrored`.
        digest: SHA-256 of the bytes of the file it came from, hexadecimal.
        device: Maker and model of the camera, such as "Topcon DRI OCT Triton"; never a serial number.
        frame_lines: For a volume, `(D, 4)` float64: row and column of the first A-scan of each B-scan on the localiser
            image, row and column of the last, in pixels of that image; None when the file does not tell.
    """

    pixels: npt.NDArray[Any]
    modality: str
    spacing_um: tuple[float, ...] | None = None
    acquired: datetime | None = None
    laterality: Laterality | None = None
    notes: tuple[str, ...] = ()
    digest: str | None = None
    device: str | None = None
    frame_lines: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        _check_modalities({self.modality: None})
        pixels = self.pixels
        if not isinstance(pixels, np.ndarray) or pixels.ndim != 3 or 0 in pixels.shape:
            shape = getattr(pixels, "shape", type(pixels).__name__)
            raise InvalidInput(f"expected pixels of shape (H, W, C) or (D, H, W), got {shape}.", code="image.shape")
        if pixels.dtype not in (np.uint8, np.uint16):
            raise InvalidInput(f"expected uint8 or uint16 pixels, got {pixels.dtype}.", code="image.dtype")
        if self.is_volume and pixels.shape[-1] < 8:
            raise InvalidInput(f"a volume (D, H, W) needs W >= 8, got {pixels.shape}.", code="image.shape")
        if not self.is_volume and pixels.dtype != np.uint8:
            raise InvalidInput("planar pixels must be uint8; scale 16-bit data first.", code="image.dtype")
        if self.spacing_um is not None and not all(np.isfinite(s) and s > 0 for s in self.spacing_um):
            raise InvalidInput(f"spacing must be positive and finite, got {self.spacing_um}.", code="image.spacing")
        if self.frame_lines is not None and self.frame_lines.shape != (len(pixels), 4):
            raise InvalidInput(
                f"frame_lines of {len(pixels)} B-scans must have shape ({len(pixels)}, 4), got {self.frame_lines.shape}.",
                code="image.frame_lines",
            )

    @property
    def is_volume(self) -> bool:
        """Whether the first axis is depth (many B-scans), not a row of one picture."""
        return self.pixels.shape[-1] not in (1, 3)

    def planes(self) -> list[npt.NDArray[np.uint8]]:
        """Return the planar `(H, W, C)` uint8 views: one for a photograph, D for a volume.

        Example:
            >>> import numpy as np
            >>> len(Image(pixels=np.zeros((5, 16, 16), np.uint8), modality="oct").planes())
            5
        """
        if not self.is_volume:
            return [self.pixels]
        volume = self.pixels
        if volume.dtype == np.uint16:
            volume = (volume // 257).astype(np.uint8)
        return [plane[..., None] for plane in volume]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """One eye at one visit as files and cells; nothing has been read yet.

    Args:
        study_id: Unique within a manifest.
        patient_id: Byte-preserved string; None when the source has none (it is never invented).
        laterality: Which eye; None when not stated.
        images: Modality name to absolute file paths; several files are normal.
        report: Written report, as given.
        metadata: Column name to string, float or None (missing).
        labels: Task name to value; an absent key means not annotated. A multi-label value maps label to 0, 1 or NaN.
            A point such as `fovea_px` or `disc_centre_px` is (row, column) in pixels of the photograph as stored.
        visit: Name or date of the visit.
        masks: Structure to absolute paths of drawn truth, several when a lesion or a second reader has several files:
            `vessels`, `vessels_2nd`, `artery_vein`, `disc`, `cup`, `disc_cup`, `fov`, `MA`, `HE`, `EX`, `SE`, ...
            What the grey levels mean is on the card of the set.
        split: "train", "val" or "test" when the manifest says so.
        origin: Where the record stands, for messages: "manifest.csv:12".
        notes: What was converted in reading the row: "meta.hba1c: 53 mmol/mol -> 7.00044 %".
    """

    study_id: str
    patient_id: str | None = None
    laterality: Laterality | None = None
    images: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    report: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    visit: str | None = None
    masks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    split: str | None = None
    origin: str | None = None
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_identity(self.study_id, self.patient_id, self.laterality)
        _check_modalities(self.images)
        object.__setattr__(self, "images", _frozen({m: tuple(p) for m, p in self.images.items() if p}))
        object.__setattr__(self, "masks", _frozen({m: tuple(p) for m, p in self.masks.items() if p}))
        object.__setattr__(self, "metadata", _frozen(self.metadata))
        object.__setattr__(self, "labels", _frozen(self.labels))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (StudyRecord, _as_kwargs(self))

    @property
    def group(self) -> str:
        """The unit that must never be divided by a split: the patient, else the study itself."""
        return self.patient_id if self.patient_id is not None else f"study:{self.study_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One eye at one visit in memory. Fields as in `StudyRecord`, with pixels instead of paths."""

    study_id: str
    patient_id: str | None = None
    laterality: Laterality | None = None
    images: Mapping[str, tuple[Image, ...]] = field(default_factory=dict)
    report: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, Any] = field(default_factory=dict)
    visit: str | None = None

    def __post_init__(self) -> None:
        _check_identity(self.study_id, self.patient_id, self.laterality)
        _check_modalities(self.images)
        for name, images in self.images.items():
            wrong = [i.modality for i in images if i.modality != name]
            if wrong:
                raise InvalidInput(f"images listed under {name!r} say they are {wrong}.", code="modality.mismatch")
        object.__setattr__(self, "images", _frozen({m: tuple(v) for m, v in self.images.items() if v}))
        object.__setattr__(self, "metadata", _frozen(self.metadata))
        object.__setattr__(self, "labels", _frozen(self.labels))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (Study, _as_kwargs(self))

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of what is there: image modalities, then "text" and "table"."""
        names: list[str] = list(self.images)
        if self.report and self.report.strip():
            names.append(TEXT)
        if any(not is_missing(v) for v in self.metadata.values()):
            names.append(TABLE)
        return tuple(names)


def _as_kwargs(record: Any) -> dict[str, Any]:
    values = {name: getattr(record, name) for name in record.__dataclass_fields__}
    return {name: dict(v) if isinstance(v, Mapping) else v for name, v in values.items()}


def _rebuild(kind: Any, kwargs: dict[str, Any]) -> Any:
    return kind(**kwargs)


def is_missing(value: object) -> bool:
    """Return whether a cell holds nothing: None, NaN or blank text. Zero is a value.

    Example:
        >>> is_missing(float("nan")), is_missing(" "), is_missing(0), is_missing(None)
        (True, True, False, True)
    """
    if value is None:
        return True
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, (float, np.floating)):
        return bool(np.isnan(value))
    return False


def groups_of(records: Sequence[StudyRecord]) -> list[str]:
    """Return the split unit (patient) of each record, in order."""
    return [r.group for r in records]
