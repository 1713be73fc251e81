"""A phrase on one picture, as a PNG with the map over the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.durable import write_bytes
from ..core.errors import InvalidInput, UnknownName
from ..core.study import StudyRecord
from ..explain.grounding import similarity_map
from ..intake import take_study
from ..knowledge import Knowledge, checked_text
from ..knowledge.store import fill
from ..layers.prototypes import class_vectors
from ..report.figures import overlay
from ..train.aligners import LoadedAligner, load_aligner
from ..transforms.collate import normalise_images
from ..transforms.image import PreparedImage, map_to_original
from ..transforms.prepared import prepare_study

#: Differences of similarity below this are rounding.
FLAT = 1e-4
#: Share of the range of similarities that the best place must lie above the middle one to be drawn fully.
_STANDS_OUT = 0.25
#: Longest side of the picture that is written, px.
MAX_PX = 1600


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounding:
    """A map of similarities over a picture.

    Args:
        heat: float32 `(H, W)` in [0, 1] over the picture: 0 from the middle place (median) downwards, outside the field of view, and
            everywhere on a flat map; 1 at the place that is most like the phrase, less where it hardly stands out.
        low: Least similarity of a place in the field of view.
        high: Greatest.
        overall: Of the whole picture.
        kind: What the numbers are.
    """

    heat: npt.NDArray[np.float32]
    low: float
    high: float
    overall: float
    kind: str

    @property
    def is_flat(self) -> bool:
        """Whether no place differs from another."""
        return self.high - self.low < FLAT


def ground_picture(
    image: str | Path,
    phrase: str,
    out: str | Path,
    *,
    model: str,
    weights: str | None = None,
    tokenizer: str | None = None,
    options: Mapping[str, Any] | None = None,
    against: str | None = None,
    method: str = "map",
    knowledge: str | Path | None = None,
    language: str = "en",
    modality: str = "cfp",
    device: str = "cpu",
) -> Grounding:
    """Write a picture with the map of a phrase over it, and return the map.

    Args:
        image: One picture.
        phrase: A finding, asked with all its texts, or words.
        out: PNG.
        model: As in `load_aligner`, with `weights`, `tokenizer`, `options`.
        weights: Of the model.
        tokenizer: Of the model.
        options: Of the model.
        against: Another phrase; the map then shows where the first fits better.
        method: "map" or "occlusion".
        knowledge: File of findings.
        language: Of the prompts.
        modality: What the picture is.
        device: Where the model runs.

    Raises:
        InvalidInput: A phrase is empty, too long, or has characters that cannot be seen.
        ReadError: The picture cannot be read.
    """
    known = Knowledge.read(knowledge)
    groups = [_prompts(known, p, language, modality) for p in (phrase, *([against] if against else []))]
    loaded = load_aligner(model, weights=weights, tokenizer=tokenizer, options=options, device=device)
    vectors = class_vectors(loaded.model, groups, renormalise=True, device=device)
    text = vectors[0] - vectors[1] if against else vectors[0]
    record = StudyRecord(study_id=Path(image).name, images={modality: (str(image),)})
    inputs = {modality: loaded.wanted}
    taken = take_study(record, inputs)
    prepared = prepare_study(taken.study, inputs, fields=taken.fields).images[modality]
    if len(prepared) != 1:
        raise InvalidInput(
            f"{Path(image).name!r} holds {len(prepared)} pictures.",
            code="image.several",
            hint="Give one planar picture.",
        )
    source = taken.study.images[modality][0]
    whole = source.full_shape or source.planes()[0].shape[:2]
    (field,) = taken.fields[modality]
    found = ground_prepared(
        loaded, prepared[0], text, shape=whole, field=field.mask(whole) if field else None, method=method, device=device
    )
    shown = _scaled(source.planes()[0])
    heat = cv2.resize(found.heat, (shown.shape[1], shown.shape[0]), interpolation=cv2.INTER_LINEAR)
    _, coded = cv2.imencode(".png", overlay(shown, heat)[..., ::-1])
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    write_bytes(out, coded.tobytes())
    return found


def ground_prepared(
    loaded: LoadedAligner,
    picture: PreparedImage,
    text: Tensor,
    *,
    shape: tuple[int, ...],
    field: npt.NDArray[np.bool_] | None = None,
    method: str = "map",
    device: str = "cpu",
) -> Grounding:
    """Return the map of a text over the picture that a prepared one was cut from.

    Args:
        loaded: The model.
        picture: As the model reads it.
        text: `(D,)`.
        shape: `(H, W)` of the original.
        field: bool `(H, W)`, what of the original shows the eye; None is all. The black around it is like no phrase and sets no range.
        method: "map" or "occlusion".
        device: Where the model is.
    """
    images = normalise_images(torch.from_numpy(np.array(picture.pixels[None])), loaded.wanted).to(device)
    text = text.to(device)
    places = similarity_map(loaded.model, images, text, method=method)[0].numpy(force=True)
    with torch.no_grad():
        overall = float(loaded.model.align_images(images)[0].float() @ text)
    placed = map_to_original(places, picture, shape)
    inside = map_to_original(np.ones_like(places), picture, shape) > 0.99
    if field is not None and bool((inside & field).any()):
        inside &= field
    low, middle, high = (float(np.quantile(placed[inside], q)) for q in (0, 0.5, 1))
    heat = np.zeros(shape[:2], np.float32)
    if high - low >= FLAT:
        # A peak that is no further above the middle than a small part of the whole range is drawn faintly, not as a finding.
        heat[inside] = np.clip((placed[inside] - middle) / max(high - middle, _STANDS_OUT * (high - low)), 0, 1)
    kind = "cosine of a place" if method == "map" else "fall of the cosine when the place is hidden"
    return Grounding(heat=heat, low=low, high=high, overall=overall, kind=kind)


def _prompts(known: Knowledge, phrase: str, language: str, modality: str) -> tuple[str, ...]:
    words = checked_text(phrase, what="the phrase")
    template = modality if modality in ("oct", "ffa") else "cfp"
    try:
        return known.prompts(words, language=language, template=template)
    except UnknownName:
        return tuple(fill(s, words) for s in known.templates(template, language=language))


def _scaled(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    scale = MAX_PX / max(pixels.shape[:2])
    if scale >= 1:
        return pixels
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return small if small.ndim == 3 else small[..., None]
