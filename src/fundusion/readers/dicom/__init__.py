"""DICOM ophthalmic photography and tomography. Identifiers never leave this folder unless they are asked for."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...core.bscans import check_raster
from ...core.errors import ReadError
from ...core.study import Image
from .facts import (
    acquired_of,
    device_of,
    distance_of,
    laterality_of,
    lines_of,
    modality_of,
    spacing_of,
    stack_order,
)
from .header import PixelHeader, check_header, open_dataset, quiet, value_of
from .identity import DicomIdentity as DicomIdentity
from .identity import read_identity as read_identity
from .pixels import decode

SUFFIXES = (".dcm", ".dicom")
_VOLUMES = ("oct", "octa")


def is_dicom(path: str | Path) -> bool:
    """Return whether the content is DICOM: the magic word, or the suffix."""
    try:
        # A FIFO would block for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False
        with open(path, "rb") as stream:
            head = stream.read(132)
    except (OSError, ValueError):
        return False
    return head[128:] == b"DICM" or Path(path).suffix.lower() in SUFFIXES


@quiet()
def read_dicom(
    path: str | Path, *, modality: str | None = None, frames: Sequence[int] | str | None = None
) -> list[Image]:
    """Return the images of a DICOM file: a photograph, the chosen frames of a series, or one volume for tomography.

    Args:
        path: The file.
        modality: What the record says; None takes it from the object class.
        frames: Numbers from 1 of the frames of a series of photographs, or "all". A series needs it: its first frame is no
            better than the others (in angiography it is usually empty). Tomography is read whole without it.

    Raises:
        ReadError: `dicom.not_dicom`, `dicom.damaged`, `dicom.nested`, `dicom.no_pixels`, `dicom.not_a_picture`,
            `dicom.size`, `dicom.transfer_syntax`, `dicom.photometric`, `dicom.pi_mismatch`, `dicom.palette`,
            `dicom.many_frames`, `dicom.no_such_frame`, `image.truncated`, `image.corrupt`, `image.too_large`,
            `volume.gap`, `volume.order`, `laterality.conflict`.
    """
    notes: list[str] = []
    content, dataset = open_dataset(path, notes)
    name = Path(path).name
    header = check_header(dataset, name)
    if str(value_of(dataset, "BurnedInAnnotation", "")).strip().upper() == "YES":
        notes.append("dicom.burned_in_annotation")
    kind = modality or modality_of(dataset)
    laterality = laterality_of(dataset)
    whole_volume = kind in _VOLUMES and header.samples == 1 and header.frames > 1 and frames is None
    chosen = list(range(1, header.frames + 1)) if whole_volume else _chosen(frames, header, name)
    if not chosen:
        raise ReadError(f"no frame of {name!r} was chosen.", code="dicom.no_such_frame")
    order = stack_order(dataset, header.frames) if whole_volume else None
    pixels = decode(dataset, header, chosen, name=name, notes=notes)
    facts: dict[str, Any] = {
        "modality": kind,
        "acquired": acquired_of(dataset),
        "laterality": laterality,
        "digest": hashlib.sha256(content).hexdigest(),
        "device": device_of(dataset),
    }
    if whole_volume:
        return [_volume(pixels, dataset, order, facts | {"notes": notes})]
    images = []
    for number, frame in zip(chosen, pixels, strict=True):
        own = list(notes)
        spacing = spacing_of(dataset, number, own)
        images.append(Image(pixels=_planar(frame, kind), spacing_um=spacing, **facts, notes=tuple(own)))
    return images


def _chosen(frames: Sequence[int] | str | None, header: PixelHeader, name: str) -> list[int]:
    if header.frames == 1 and frames in (None, "all"):
        return [1]
    if frames == "all":
        return list(range(1, header.frames + 1))
    if frames is None:
        raise ReadError(
            f"{name!r} is a series of {header.frames} frames; which of them is meant is not stated.",
            code="dicom.many_frames",
            hint=f"Name frames after the file, as {name}#3 or {name}#1,4-6 or {name}#all.",
        )
    if isinstance(frames, str):
        raise ReadError(f"frames {frames[:40]!r} are not understood.", code="dicom.no_such_frame", hint="Give numbers.")
    wrong = [f for f in frames if not 1 <= f <= header.frames]
    if wrong:
        raise ReadError(
            f"{name!r} has frames 1 to {header.frames}; asked for was {wrong[0]}.", code="dicom.no_such_frame"
        )
    return list(frames)


def _volume(pixels: Any, dataset: Any, order: list[int] | None, facts: dict[str, Any]) -> Image:
    notes: list[str] = facts["notes"]
    lines = lines_of(dataset, len(pixels))
    if order is not None and order != list(range(1, len(pixels) + 1)):
        by_place = np.argsort(order)
        pixels = pixels[by_place]
        lines = None if lines is None else lines[by_place]
        notes.append("volume.reordered")
    raster = True
    if lines is not None:
        found = check_raster(lines)
        raster = "volume.not_raster" not in found
        notes += found
    in_plane, between = spacing_of(dataset, None, notes), distance_of(dataset)
    if in_plane and not between:
        notes.append("spacing.between_slices_missing")
    spacing = (between, *in_plane) if in_plane and between and raster else None
    return Image(
        pixels=np.ascontiguousarray(pixels), spacing_um=spacing, frame_lines=lines, **(facts | {"notes": tuple(notes)})
    )


def _planar(frame: Any, modality: str) -> Any:
    if frame.ndim == 2:
        frame = np.repeat(frame[..., None], 3, 2) if modality in ("cfp", "uwf", "external") else frame[..., None]
    return np.ascontiguousarray(frame)
