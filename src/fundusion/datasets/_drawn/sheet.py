"""A drawn cohort as files: one row of the manifest per eye, pictures beside it, and back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from ...core.durable import write_bytes
from ...core.errors import InvalidInput
from ...core.study import Study, StudyRecord, is_missing
from ...core.tasks import STANDARD_TASKS, Binary, MultiLabel, Task
from ...core.vocabulary import parse_laterality
from .._splits import position_of
from .patient import SYSTEMIC_LABELS

#: Image modalities that can be drawn.
MODALITIES = ("cfp", "oct", "ffa", "ultrasound")

#: Tasks of the labels of a drawn eye.
TASKS: Mapping[str, Task] = {
    "dr_grade": STANDARD_TASKS["dr_grade"],
    "referable": Binary(negative="not referable", positive="referable"),
    "disease": STANDARD_TASKS["disease"],
    "systemic": MultiLabel(tuple(SYSTEMIC_LABELS), titles={k: k.replace("_", " ") for k in SYSTEMIC_LABELS}),
}
#: Columns of the manifest, in order.
COLUMNS = (
    "study_id", "patient_id", "laterality", "visit", *MODALITIES, "report",
    "meta.age", "meta.sex", "meta.hba1c", "meta.sbp", "meta.iop", "meta.duration",
    "label.dr_grade", "label.referable", "label.disease", "label.systemic", "split",
)  # fmt: skip


def write_row(study: Study, base: Path, *, jpeg_quality: int | None, seed: int) -> dict[str, str]:
    """Write the pictures of a study below a folder and return its row of the manifest.

    Args:
        study: What to write.
        base: Folder with a folder `images`.
        jpeg_quality: Of photographs; None writes PNG. Other pictures are always PNG.
        seed: Of the split by patient.
    """
    row = dict.fromkeys(COLUMNS, "")
    row |= {"study_id": study.study_id, "patient_id": study.patient_id or "", "visit": study.visit or ""}
    row["laterality"] = study.laterality.value if study.laterality else ""
    for modality, images in study.images.items():
        names = []
        for k, image in enumerate(images):
            suffix = ".jpg" if modality == "cfp" and jpeg_quality is not None else ".png"
            number = f"_{k:03d}" if len(images) > 1 else ""
            names.append(f"images/{study.study_id}_{modality}{number}{suffix}")
            write_bytes(base / names[-1], _encode(image.pixels, jpeg_quality if suffix == ".jpg" else None))
        row[modality] = "|".join(names)
    row["report"] = study.report or ""
    for name, cell in study.metadata.items():
        row[f"meta.{name}"] = "" if is_missing(cell) else f"{cell:g}" if isinstance(cell, float) else str(cell)
    for task, value in study.labels.items():
        row[f"label.{task}"] = _label_cell(value)
    position = position_of(study.patient_id or study.study_id, seed=seed)
    row["split"] = "train" if position < 0.7 else "val" if position < 0.85 else "test"
    return row


def _label_cell(value: Any) -> str:
    if isinstance(value, Mapping):
        return "|".join(k for k, v in value.items() if v == 1) or "none"
    return "" if is_missing(value) else f"{value:g}"


def _encode(pixels: npt.NDArray[np.uint8], jpeg_quality: int | None) -> bytes:
    planes = pixels[..., ::-1] if pixels.shape[-1] == 3 else pixels
    if jpeg_quality is None:
        done, data = cv2.imencode(".png", planes, [cv2.IMWRITE_PNG_COMPRESSION, 3])
    else:
        done, data = cv2.imencode(".jpg", planes, [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality])
    if not done:
        raise InvalidInput(f"pixels of shape {pixels.shape} cannot be encoded.", code="image.shape")
    return bytes(data)


def read_row(row: Mapping[str, str], base: Path, line: int) -> StudyRecord:
    """Return the record of one row of a manifest that `write_row` made."""

    def cell(name: str, text: str) -> Any:
        return None if not text else text if name == "sex" else float(text)

    labels: dict[str, Any] = {}
    for task in TASKS:
        text = row[f"label.{task}"]
        if text:
            labels[task] = text if TASKS[task].kind == "multilabel" else float(text)
    return StudyRecord(
        study_id=row["study_id"],
        patient_id=row["patient_id"],
        laterality=parse_laterality(row["laterality"]),
        images={m: tuple(str((base / p).absolute()) for p in row[m].split("|")) for m in MODALITIES if row[m]},
        report=row["report"] or None,
        metadata={k[5:]: cell(k[5:], v) for k, v in row.items() if k.startswith("meta.")},
        labels=labels,
        visit=row["visit"] or None,
        split=row["split"] or None,
        origin=f"manifest.csv:{line}",
    )
