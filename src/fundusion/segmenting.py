"""Masks of a photograph: cut to the field of view, segmented at the scale of training, brought back to the picture's own pixels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch

from .biomarkers.artery_vein import one_class_per_vessel
from .core.errors import IncompatibleWeights, InvalidInput
from .core.registry import ImageInput, models
from .core.study import Image
from .layers.weights import digest, fit_state, load_state
from .shipped import resolve_segmenter
from .transforms.field_of_view import FieldOfView, find_field_of_view
from .transforms.image import PreparedImage, map_to_original, prepare

Precision = Literal["auto", "bf16", "fp32"]
#: Mirror images that are averaged: none, left-right, up-down, both.
FLIPS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmenter:
    """A trained segmenter and what is needed to use it.

    Args:
        name: Shipped name or folder.
        model: Has `segment`, in evaluation mode.
        classes: Structures in the order of the outputs.
        field_px: Side of the square the field of view is scaled to.
        thresholds: Structure to the probability from which a pixel belongs to it.
        inside: Structure to the structure that holds it: a cup is part of a disc.
        sha256: Of the weights.
        facts: Everything else that was saved: training sets, terms.
    """

    name: str
    model: Any
    classes: tuple[str, ...]
    field_px: int
    thresholds: Mapping[str, float]
    inside: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """What a segmenter found in one picture.

    Args:
        probabilities: Structure to float32 `(H, W)` in [0, 1], in the picture's own pixels; 0 outside the field of view.
        masks: Structure to bool `(H, W)`.
        field: Field of view the masks are limited to.
        provenance: Segmenter, digest, thresholds, number of mirror images.
    """

    probabilities: Mapping[str, npt.NDArray[np.float32]]
    masks: Mapping[str, npt.NDArray[np.bool_]]
    field: FieldOfView
    provenance: Mapping[str, Any]


def load_segmenter(name: str | Path, *, device: str = "cpu") -> Segmenter:
    """Return a shipped segmenter by name, or the one a training run wrote.

    Args:
        name: "vessels", "artery_vein", "disc_cup", "lesions" or a folder with `segmenter.json`.
        device: Where it runs.

    Raises:
        UnknownName: Neither; lists what is shipped.
        IncompatibleWeights: `model.digest`, or the weights do not fit.
    """
    folder, words = resolve_segmenter(name)
    facts = json.loads((folder / "segmenter.json").read_text("utf-8"))
    path = folder / "segmenter.safetensors"
    found = digest(path)
    if found != facts["sha256"]:
        raise IncompatibleWeights(
            f"the weights of {words!r} have SHA-256 {found[:16]}..., {facts['sha256'][:16]}... was written beside them.",
            code="model.digest",
            hint="A file was damaged or exchanged; train or install it again.",
        )
    model = models.create(facts["model"], **facts["options"])
    fit_state(model, {k: v.float() if v.is_floating_point() else v for k, v in load_state(path).items()})
    model = model.eval().to(device, memory_format=torch.channels_last)
    return Segmenter(
        name=words,
        model=model,
        classes=tuple(facts["classes"]),
        field_px=int(facts["field_px"]),
        thresholds={k: float(v) for k, v in facts["thresholds"].items()},
        inside=dict(facts.get("inside", {})),
        sha256=found,
        facts=facts,
    )


def segment_image(
    segmenter: Segmenter,
    image: Image | npt.NDArray[np.uint8],
    *,
    field: FieldOfView | None = None,
    flips: int = 4,
    precision: Precision = "auto",
) -> Masks:
    """Return the masks of one picture in its own pixels.

    Args:
        segmenter: From `load_segmenter`.
        image: A picture, or its pixels `(H, W, C)` uint8.
        field: Field of view already found; None searches it (the whole picture where it is no colour photograph).
        flips: Mirror images averaged: 1, 2 or 4.
        precision: "auto" takes bfloat16 where the processor computes in it.

    Raises:
        InvalidInput: A volume, or another number of flips.
    """
    if flips not in (1, 2, 4):
        raise InvalidInput(f"flips is 1, 2 or 4, got {flips}.", code="config.invalid")
    pixels = image.pixels if isinstance(image, Image) else image
    if pixels.ndim != 3 or pixels.dtype != np.uint8:
        raise InvalidInput(
            f"expected a picture (H, W, C) of 8 bits, got {pixels.dtype} {pixels.shape}.",
            code="image.shape",
            hint="Give one photograph or one frame; volumes are segmented frame by frame.",
        )
    if field is None:
        is_photograph = not isinstance(image, Image) or image.modality == "cfp"
        field = find_field_of_view(pixels) if is_photograph else whole_frame(pixels.shape)
    ready = prepare(pixels, ImageInput(size=segmenter.field_px), field=field)
    found = square_probabilities(segmenter, ready.pixels, flips=flips, precision=precision)
    return _in_the_picture(segmenter, found, ready, field, pixels.shape, flips)


@torch.inference_mode()
def square_probabilities(
    segmenter: Segmenter, square: npt.NDArray[np.uint8], *, flips: int = 4, precision: Precision = "auto"
) -> npt.NDArray[np.float32]:
    """Return `(K, S, S)` probabilities of a square picture `(S, S, 3)` at the scale of training."""
    device = next(segmenter.model.parameters()).device
    images = torch.from_numpy(np.array(square)).to(device).permute(2, 0, 1)[None].float() / 255
    images = images.contiguous(memory_format=torch.channels_last)
    total = None
    with torch.autocast(device.type, torch.bfloat16, enabled=_is_low(precision, device)):
        for axes in FLIPS[:flips]:
            logits = segmenter.model.segment(images.flip(axes) if axes else images).float()
            found = torch.sigmoid(logits.flip(axes) if axes else logits)
            total = found if total is None else total + found
    return (total / flips)[0].cpu().numpy()


def _is_low(precision: Precision, device: torch.device) -> bool:
    if precision == "auto":
        return device.type != "cpu" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if precision not in ("bf16", "fp32"):
        raise InvalidInput(f'precision {precision!r} is not "auto", "bf16" or "fp32".', code="config.invalid")
    return precision == "bf16"


def _in_the_picture(
    segmenter: Segmenter,
    found: npt.NDArray[np.float32],
    ready: PreparedImage,
    field: FieldOfView,
    shape: tuple[int, ...],
    flips: int,
) -> Masks:
    visible = field.mask(shape)
    probabilities = {
        c: np.where(visible, np.clip(map_to_original(found[k], ready, shape), 0, 1), np.float32(0)).astype(np.float32)
        for k, c in enumerate(segmenter.classes)
    }
    probabilities = decided_by_vessel(segmenter, probabilities)
    return Masks(
        probabilities=probabilities,
        masks=masks_of(segmenter, probabilities),
        field=field,
        provenance={
            "segmenter": segmenter.name,
            "sha256": segmenter.sha256,
            "thresholds": dict(segmenter.thresholds),
            "flips": flips,
        },
    )


def masks_of(
    segmenter: Segmenter, probabilities: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the masks that probabilities `(H, W)` by structure come to: over the threshold, parts in their whole, one disc and one cup."""
    masks = {c: probabilities[c] >= segmenter.thresholds[c] for c in segmenter.classes}
    for part, whole in segmenter.inside.items():
        masks[part] &= masks[whole]
    for name in (n for n in ("disc", "cup") if n in masks):
        masks[name] = largest_region(masks[name])
    return masks


def decided_by_vessel(
    segmenter: Segmenter, probabilities: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the probabilities with artery and vein of each pixel of a vessel adding up to one, decided for whole vessels.

    Other pixels stay as they are, and so does everything of a segmenter that does not tell arteries, veins and vessels apart.
    """
    decided = dict(probabilities)
    if not {"artery", "vein", "vessel"} <= set(segmenter.classes):
        return decided
    vessels = probabilities["vessel"] >= segmenter.thresholds["vessel"]
    side = one_class_per_vessel(probabilities["artery"], probabilities["vein"], vessels)
    for name, sign in (("artery", 1), ("vein", -1)):
        decided[name] = np.where(vessels, (1 + sign * side) / 2, probabilities[name]).astype(np.float32)
    return decided


def largest_region(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the largest connected region of a mask with its holes filled; an empty mask stays empty.

    Example:
        >>> mask = np.zeros((6, 6), bool)
        >>> mask[0, 0] = True
        >>> mask[2:6, 2:6] = True
        >>> mask[3, 3] = False
        >>> int(largest_region(mask).sum())
        16
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return mask.copy()
    largest = (labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    outlines, _ = cv2.findContours(largest, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(largest), outlines, -1, 1, cv2.FILLED).astype(np.bool_)


def whole_frame(shape: Sequence[int]) -> FieldOfView:
    """Return the frame itself as field of view, for pictures without an aperture.

    Example:
        >>> whole_frame((40, 60)).box
        (-0.5, -0.5, 39.5, 59.5)
    """
    height, width = shape[0], shape[1]
    return FieldOfView(
        center=((height - 1) / 2, (width - 1) / 2),
        radius_px=float(np.hypot(height, width)) / 2,
        box=(-0.5, -0.5, height - 0.5, width - 0.5),
        kind="full",
        coverage=1.0,
        confidence=0.0,
    )
