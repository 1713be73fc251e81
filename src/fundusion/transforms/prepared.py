"""A study made ready for a network, still numpy, so that worker processes need no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.registry import ImageInput
from ..core.study import Study
from ..core.table import TableSchema
from .field_of_view import FieldOfView
from .image import PreparedImage, prepare, select_frames


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedStudy:
    """Pixels at the size of each encoder, the report, and table cells with a mask.

    Args:
        study_id: As in the study.
        images: Modality to prepared images, one per photograph or selected frame.
        text: Report, or None.
        table: float32 `(F,)`; None when the network reads no table.
        table_mask: bool `(F,)`.
        labels: As in the study.
    """

    study_id: str
    images: Mapping[str, tuple[PreparedImage, ...]] = field(default_factory=dict)
    text: str | None = None
    table: npt.NDArray[np.float32] | None = None
    table_mask: npt.NDArray[np.bool_] | None = None
    labels: Mapping[str, Any] = field(default_factory=dict)


def prepare_study(
    study: Study,
    inputs: Mapping[str, ImageInput],
    *,
    schema: TableSchema | None = None,
    fields: Mapping[str, tuple[FieldOfView | None, ...]] | None = None,
) -> PreparedStudy:
    """Return the study cut and scaled for the encoders of a network.

    Args:
        study: Read study.
        inputs: Image modality to the pixels its encoder wants; other modalities of the study are left out.
        schema: Columns of the table; None when the network reads none.
        fields: Fields of view already found, per modality and image, in coordinates of the full pictures, so that they
            are not searched twice.

    Raises:
        InvalidInput: A table cell is not usable.
    """
    images: dict[str, tuple[PreparedImage, ...]] = {}
    for modality, wanted in inputs.items():
        ready: list[PreparedImage] = []
        known = (fields or {}).get(modality, ())
        for i, image in enumerate(study.images.get(modality, ())):
            field_of_view = known[i] if i < len(known) else None
            planes = select_frames(image.planes(), wanted.max_frames)
            ready += [
                prepare(plane, wanted, field=field_of_view, reduction=image.reduction, full_shape=image.full_shape)
                for plane in planes
            ]
        if ready:
            images[modality] = tuple(ready)
    table = mask = None
    if schema is not None:
        table, mask = schema.encode(study.metadata)
    # A plain copy of the labels: the read-only view of the study cannot travel between processes.
    return PreparedStudy(
        study_id=study.study_id,
        images=images,
        text=study.report,
        table=table,
        table_mask=mask,
        labels=dict(study.labels),
    )
