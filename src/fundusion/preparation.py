"""A record read, judged by the gate, cut and scaled: what worker processes do, without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from .core.errors import InvalidInput, NotGradable
from .core.registry import ImageInput
from .core.results import Quality
from .core.study import Image, Study, StudyRecord
from .core.table import TableSchema
from .core.vocabulary import MODALITY_TITLES
from .intake import Taken, take_study
from .quality.calibration import QualityModel
from .quality.gradability import REASONS, assess
from .transforms.prepared import PreparedStudy, prepare_study
from .transforms.squares import FRAME_PX, Squares, cut_squares

#: Longest side of the pictures a report shows, px.
DISPLAY_PX = 900

#: Shorter side of a photograph from which it is judged and shown, px, where the file has it.
VIEW_PX = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparation:
    """What a worker process needs to know of the model: picklable, without torch.

    Args:
        inputs: Image modality to the pixels its encoder wants.
        table: Columns of the table; None when the network reads none.
        required: Image modalities without a gradable image of which no answer is given.
        quality: Calibration of the gate; None takes the shipped one.
        measured_sides: Squares that segmenters of colour photographs want; none where nothing is measured.
    """

    inputs: Mapping[str, ImageInput]
    table: TableSchema | None
    required: tuple[str, ...] = ()
    quality: QualityModel | None = None
    measured_sides: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedItem:
    """A study that passed the gate: pictures for the report, pixels for the network, verdicts.

    Args:
        study: The study with its pictures scaled to at most `DISPLAY_PX`.
        prepared: Input of the network; maps lead back to the pictures of `study`.
        quality: Verdict of the image that decides: the best of the required modality.
        notes: Codes of oddities.
        digests: SHA-256 of the input files in order.
        frames: Image modality to the index of the picture each prepared image was cut from.
        squares: Colour photographs to measure in; empty where nothing is measured.
    """

    study: Study
    prepared: PreparedStudy
    quality: Quality
    notes: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    frames: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    squares: tuple[Squares, ...] = ()


class RejectedStudy(NotGradable):
    """The gate refused; carries the verdict and the pictures for the report."""

    def __init__(
        self, message: str, *, code: str, hint: str, quality: Quality, study: Study, notes: tuple[str, ...]
    ) -> None:
        super().__init__(message, reasons=quality.reasons, code=code, hint=hint)
        self.quality = quality
        self.study = study
        self.notes = notes

    def __reduce__(self) -> Any:
        return _rejected, (self.message, self.code, self.hint, self.quality, self.study, self.notes)


def _rejected(
    message: str, code: str, hint: str, quality: Quality, study: Study, notes: tuple[str, ...]
) -> RejectedStudy:
    return RejectedStudy(message, code=code, hint=hint, quality=quality, study=study, notes=notes)


def prepare_record(record: StudyRecord, *, preparation: Preparation) -> PreparedItem:
    """Return a record read, judged and cut; runs in worker processes and loads no torch.

    Raises:
        FundusionError: A file or cell cannot be used; `code` says why.
        RejectedStudy: Read, but no answer may be given.
    """
    measured = bool(preparation.measured_sides)
    taken = take_study(record, preparation.inputs, view_px=VIEW_PX, fine_px=FRAME_PX if measured else None)
    study, fields = taken.study, taken.fields
    if preparation.table is not None:
        preparation.table.encode(study.metadata)
    verdicts: dict[str, list[Quality]] = {}
    for modality, images in taken.view.images.items():
        found = [f and f.scaled(1 / i.reduction) for i, f in zip(images, fields[modality], strict=True)]
        verdicts[modality] = [assess(i, field=f, model=preparation.quality) for i, f in zip(images, found, strict=True)]
    notes = tuple(sorted({n for images in study.images.values() for i in images for n in i.notes}))
    digests = tuple(i.digest for images in study.images.values() for i in images if i.digest)
    shown = replace(study, images={m: tuple(_display(i) for i in v) for m, v in taken.view.images.items()})
    _check_gate(study, verdicts, preparation, shown, notes)
    kept = {m: [k for k, q in enumerate(v) if q.gradable] for m, v in verdicts.items()}
    usable = replace(study, images={m: tuple(study.images[m][k] for k in ks) for m, ks in kept.items()})
    prepared = prepare_study(
        usable,
        preparation.inputs,
        schema=preparation.table,
        fields={m: tuple(fields[m][k] for k in ks) for m, ks in kept.items()},
    )
    prepared, frames = _towards_display(prepared, usable, shown, kept, preparation.inputs)
    graded = [q for m in preparation.required or tuple(verdicts) for q in verdicts.get(m, ()) if q.gradable]
    dropped = [f"{m}.{k}.not_used" for m, v in verdicts.items() for k, q in enumerate(v) if not q.gradable]
    quality = max(graded, key=lambda q: q.score) if graded else Quality(gradable=True, score=1.0)
    squares, unmeasured = _squares(taken, verdicts, preparation.measured_sides)
    return PreparedItem(
        study=shown, prepared=prepared, quality=quality, notes=(*notes, *dropped, *unmeasured), digests=digests, frames=frames,
        squares=squares,
    )  # fmt: skip


def _squares(
    taken: Taken, verdicts: Mapping[str, list[Quality]], sides: tuple[int, ...]
) -> tuple[tuple[Squares, ...], list[str]]:
    """Return the photographs that are measured, and codes that say why others are not."""
    if not sides:
        return (), []
    cut, left = [], []
    for k, image in enumerate(taken.fine.get("cfp", ())):
        name, found, quality = f"cfp.{k}", taken.fields["cfp"][k], verdicts["cfp"][k]
        if not quality.gradable:
            left.append(f"{name}.not_measured.quality.ungradable")
        elif found is None or found.kind == "none" or image.pixels.shape[2] != 3:
            left.append(f"{name}.not_measured.image.no_field")
        else:
            cut.append(cut_squares(image, found, sides, name=name))
    return tuple(cut), left


def _check_gate(
    study: Study, verdicts: Mapping[str, list[Quality]], preparation: Preparation, shown: Study, notes: tuple[str, ...]
) -> None:
    for modality in preparation.required:
        judged = verdicts.get(modality, [])
        title = MODALITY_TITLES[modality]
        if not judged:
            there = ", ".join(MODALITY_TITLES[m] for m in study.modalities) or "nothing"
            raise InvalidInput(
                f"the study has no {title}; it holds {there}.",
                code="study.no_image",
                hint=f"This model answers only with a {title}.",
            )
        if not any(q.gradable for q in judged):
            best = max(judged, key=lambda q: q.score)
            foreign = "quality.not_fundus" in best.reasons
            reason, hint = REASONS.get(best.reasons[0], (best.reasons[0], "")) if best.reasons else ("unknown", "")
            raise RejectedStudy(
                f"the {title} does not show a fundus." if foreign else f"the {title} is not gradable: {reason}",
                code="quality.not_fundus" if foreign else "quality.ungradable",
                hint=hint,
                quality=best,
                study=shown,
                notes=notes,
            )


def _display(image: Image) -> Image:
    """Return the image scaled so that its longest side is at most `DISPLAY_PX`; of a volume the middle plane."""
    planes = image.planes()
    pixels = planes[len(planes) // 2]
    scale = DISPLAY_PX / max(pixels.shape[:2])
    if scale < 1:
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
        pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return replace(image, pixels=np.ascontiguousarray(pixels), spacing_um=None, reduction=1, full_shape=None)


def _towards_display(
    prepared: PreparedStudy,
    usable: Study,
    shown: Study,
    kept: Mapping[str, list[int]],
    inputs: Mapping[str, ImageInput],
) -> tuple[PreparedStudy, dict[str, tuple[int, ...]]]:
    """Let the maps of prepared images lead to the scaled pictures, and say which picture each belongs to."""
    images, frames = {}, {}
    for modality, ready in prepared.images.items():
        owner = [
            k
            for i, k in enumerate(kept[modality])
            for _ in range(min(len(usable.images[modality][i].planes()), inputs[modality].max_frames))
        ]
        moved = []
        for item, k in zip(ready, owner, strict=True):
            picture = shown.images[modality][k].pixels
            image = usable.images[modality][kept[modality].index(k)]
            height, width = image.full_shape or image.planes()[0].shape[:2]
            factor = np.array([picture.shape[1] / width, picture.shape[0] / height])
            turned = item.to_original * factor[:, None]
            # Pixel centres: the first one of a picture half as large lies at 0.5 of the large one.
            turned[:, 2] += (factor - 1) / 2
            moved.append(replace(item, to_original=turned))
        images[modality], frames[modality] = tuple(moved), tuple(owner)
    return replace(prepared, images=images), frames
