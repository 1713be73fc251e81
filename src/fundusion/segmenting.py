"""Masks of a photograph: cut to the field of view, segmented at the scale of its segmenter, brought back to the picture's own pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
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
from .decision.pixel_calibration import PixelCalibration
from .layers.fused_unet import PRECISIONS, agrees_with
from .layers.unet import pad_to_stride
from .layers.weights import digest, fit_state, load_state
from .shipped import resolve_segmenter
from .transforms.field_of_view import FieldOfView, find_field_of_view
from .transforms.image import map_to_original, prepare

Precision = Literal["auto", "fp16", "bf16", "fp32"]
Answer = Callable[[torch.Tensor], torch.Tensor]
#: Mirror images that are averaged: none, left-right, up-down, both.
FLIPS: tuple[tuple[int, ...], ...] = ((), (3,), (2,), (2, 3))
#: A field narrower than this share of the square a segmenter was trained at shows too little, unless it says otherwise: most of its
#: pixels would be invented.
LEAST_SHARE = 0.5
#: Share of the largest region below which one is no disc.
_SPECK = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmenter:
    """A trained segmenter and what is needed to use it.

    Args:
        name: Shipped name or folder.
        model: Has `segment`, in evaluation mode.
        classes: Structures in the order of the outputs.
        field_px: Side of the square the field of view is scaled to.
        thresholds: Structure to the probability of the network, before calibration, from which a pixel belongs to it.
        calibration: Structure to what turns its probability into how often it is right; structures may be missing.
        inside: Structure to the structure that holds it: a cup is part of a disc.
        sha256: Of the weights.
        facts: Everything else that was saved: training sets, terms.
    """

    name: str
    model: Any
    classes: tuple[str, ...]
    field_px: int
    thresholds: Mapping[str, float]
    calibration: Mapping[str, PixelCalibration] = field(default_factory=dict)
    inside: Mapping[str, str] = field(default_factory=dict)
    sha256: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    #: The faster way this machine was found to have; see `_route`.
    _routes: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def trained_px(self) -> int:
        """Return the side of the square in training; small structures may be found better in a larger one."""
        return int(self.facts.get("trained_px", self.field_px))

    @property
    def least_px(self) -> float:
        """Return the side of the field of view, in a picture's own pixels, below which the segmenter should not be asked."""
        return float(self.facts.get("least_px", LEAST_SHARE * self.trained_px))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """A square that is too large is segmented in parts that overlap; the parts are blended smoothly.

    Args:
        size_px: Side of a part; a multiple of 32.
        overlap_px: Of two neighbours, less than half a part. What a network sees of a pixel's surroundings should fit into half of it.
    """

    size_px: int = 512
    overlap_px: int = 128

    def __post_init__(self) -> None:
        if (
            self.size_px < 64
            or self.size_px % 32
            or self.overlap_px % 32
            or not 32 <= self.overlap_px <= self.size_px // 2
        ):
            raise InvalidInput(
                f"tiles of {self.size_px} px with an overlap of {self.overlap_px} px are not possible.",
                code="config.invalid",
                hint="Sides are multiples of 32 from 64 on; the overlap is a multiple of 32 up to half a side.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Masks:
    """What a segmenter found in one picture.

    Args:
        probabilities: Structure to float32 `(H, W)` in [0, 1], in the picture's own pixels; 0 outside the field of view.
        masks: Structure to bool `(H, W)`.
        field: Field of view the masks are limited to.
        provenance: Segmenter, digest, number of mirror images, how it was computed, and the thresholds on the probabilities given here.
    """

    probabilities: Mapping[str, npt.NDArray[np.float32]]
    masks: Mapping[str, npt.NDArray[np.bool_]]
    field: FieldOfView
    provenance: Mapping[str, Any]


def load_segmenter(name: str | Path, *, device: str = "cpu") -> Segmenter:
    """Return a shipped segmenter by name, or the one a training run wrote.

    Args:
        name: "vessels", "artery_vein", "disc_cup", "lesions", "microaneurysms" or a folder with `segmenter.json`.
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
        calibration={k: PixelCalibration(**v) for k, v in facts.get("calibration", {}).items()},
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
    tiles: Tiles | None = None,
    calibrated: bool = True,
) -> Masks:
    """Return the masks of one picture in its own pixels.

    Args:
        segmenter: From `load_segmenter`.
        image: A picture, or its pixels `(H, W, C)` uint8.
        field: Field of view already found; None searches it (the whole picture where it is no colour photograph).
        flips: Mirror images averaged: 1, 2 or 4.
        precision: "auto" takes float16 where the processor computes in it and a self-check passes, else float32: masks stay the same.
            bfloat16 is no faster and moves about 0.3 % of the pixels of thin vessels.
        tiles: Segment in parts: memory stays small where the scale is large.
        calibrated: Apply the segmenter's calibration; masks are the same without.

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
    if "surfaces" in segmenter.facts:
        raise InvalidInput(
            f"{segmenter.name!r} draws the layers of B-scans.",
            code="config.invalid",
            hint="Use `fundusion oct-layers`.",
        )
    if field is None:
        is_photograph = not isinstance(image, Image) or image.modality == "cfp"
        field = find_field_of_view(pixels) if is_photograph else whole_frame(pixels.shape)
    ready = prepare(pixels, ImageInput(size=segmenter.field_px), field=field)
    found = square_probabilities(segmenter, ready.pixels, flips=flips, precision=precision, tiles=tiles)
    visible = field.mask(pixels.shape)
    probabilities = {
        c: np.where(visible, np.clip(map_to_original(found[k], ready, pixels.shape), 0, 1), np.float32(0)).astype(
            np.float32
        )
        for k, c in enumerate(segmenter.classes)
    }
    probabilities = decided_by_vessel(segmenter, probabilities)
    masks = masks_of(segmenter, probabilities)
    thresholds = dict(segmenter.thresholds)
    # After the masks, so that calibration can never change one.
    for name, turn in segmenter.calibration.items() if calibrated else ():
        probabilities[name] = turn(probabilities[name])
        thresholds[name] = float(turn(thresholds[name]))
    provenance = {
        "segmenter": segmenter.name,
        "sha256": segmenter.sha256,
        "thresholds": thresholds,
        "calibrated": sorted(segmenter.calibration) if calibrated else [],
        "flips": flips,
        "precision": _route(segmenter, precision)[0],
    }
    return Masks(probabilities=probabilities, masks=masks, field=field, provenance=provenance)


@torch.inference_mode()
def square_probabilities(
    segmenter: Segmenter,
    square: npt.NDArray[np.uint8],
    *,
    flips: int = 4,
    precision: Precision = "auto",
    tiles: Tiles | None = None,
) -> npt.NDArray[np.float32]:
    """Return `(K, S, S)` probabilities of a square picture `(S, S, 3)` at the scale of training, before calibration."""
    device = next(segmenter.model.parameters()).device
    images = torch.from_numpy(np.array(square)).to(device).permute(2, 0, 1)[None].float() / 255
    images = images.contiguous(memory_format=torch.channels_last)
    _, answer = _route(segmenter, precision)
    total = None
    for axes in FLIPS[:flips]:
        turned = images.flip(axes) if axes else images
        found = (
            torch.sigmoid(answer(turned))
            if tiles is None
            else _tiled(answer, turned, tiles, getattr(segmenter.model, "stride", 32))
        )
        found = found.flip(axes) if axes else found
        total = found if total is None else total + found
    return (total / flips)[0].cpu().numpy()


def _tiled(answer: Answer, images: torch.Tensor, tiles: Tiles, stride: int) -> torch.Tensor:
    """Return probabilities of parts, blended by weights that fall to nothing where a part's cut border is near."""
    height, width = images.shape[2:]
    # Parts begin at multiples of the coarsest stride, so that pooling meets the same pixels as in the whole.
    padded = pad_to_stride(images, stride)
    rows, columns = (_starts(n, tiles) for n in padded.shape[2:])
    total = weight = None
    for row in rows:
        for column in columns:
            part = padded[:, :, row : row + tiles.size_px, column : column + tiles.size_px]
            found = torch.sigmoid(answer(part.contiguous(memory_format=torch.channels_last)))
            ramp = _ramp(found.shape[2], tiles.overlap_px)[:, None] * _ramp(found.shape[3], tiles.overlap_px)
            if total is None or weight is None:
                total = found.new_zeros((*found.shape[:2], *padded.shape[2:]))
                weight = found.new_zeros(padded.shape[2:])
            place = (slice(row, row + found.shape[2]), slice(column, column + found.shape[3]))
            total[:, :, *place] += found * ramp.to(found.device)
            weight[place] += ramp.to(found.device)
    if total is None or weight is None:
        raise InvalidInput("an empty picture has no tiles.", code="image.shape")
    return (total / weight)[:, :, :height, :width]


def _starts(length: int, tiles: Tiles) -> list[int]:
    """Return where parts begin; the last one ends with the picture."""
    if length <= tiles.size_px:
        return [0]
    last = length - tiles.size_px
    return [*range(0, last, tiles.size_px - tiles.overlap_px), last]


def _ramp(length: int, overlap: int) -> torch.Tensor:
    """Return weights that rise smoothly over the inner half of the overlap; in its outer half they only decide where nothing else is."""
    edge = torch.arange(length, dtype=torch.float32)
    distance = torch.minimum(edge, edge.flip(0)) + 0.5
    rise = ((distance - overlap / 4) / (overlap / 2)).clamp(0, 1)
    return (rise * rise * (3 - 2 * rise)).clamp_min(1e-6)


def _route(segmenter: Segmenter, precision: Precision) -> tuple[str, Answer]:
    """Return the name of the way logits are computed, and the function from pictures `(1, 3, H, W)` to float32 logits."""
    if precision not in ("auto", "fp16", "bf16", "fp32"):
        raise InvalidInput(f'precision {precision!r} is not "auto", "fp16", "bf16" or "fp32".', code="config.invalid")
    model, device = segmenter.model, next(segmenter.model.parameters()).device

    def exact(images: torch.Tensor) -> torch.Tensor:
        return model.segment(images).float()

    def cast(images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            return model.segment(images).float()

    if precision == "fp32":
        return "fp32", exact
    for name in ("fp16", "fp32") if precision == "auto" else (precision,):
        fused = _fused(segmenter, name, device)
        if fused is not None:
            return f"{name} fused", fused.segment
    if precision == "fp16":
        raise InvalidInput(
            f"{segmenter.name!r} cannot be used in float16 on this machine.",
            code="config.invalid",
            hint='Give precision "auto": it takes the fastest way that keeps the masks.',
        )
    return ("bf16", cast) if precision == "bf16" else ("fp32", exact)


def _fused(segmenter: Segmenter, name: str, device: torch.device) -> Any:
    """Return the folded network that passed its self-check here, or None; made once."""
    known = segmenter._routes.get(name)
    if known is None or known[0] is not segmenter.model:
        fused = None
        if hasattr(segmenter.model, "fused") and (name != "fp16" or device.type != "cpu" or computes_in_float16()):
            fused = segmenter.model.fused(PRECISIONS[name])
            if not agrees_with(segmenter.model, fused):
                fused = None
        known = segmenter._routes[name] = (segmenter.model, fused)
    return known[1]


def computes_in_float16() -> bool:
    """Return whether the processor has convolutions in float16; without them it is slower than float32."""
    asked = getattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", None)
    return torch.backends.mkldnn.is_available() and asked is not None and bool(asked())


def masks_of(
    segmenter: Segmenter, probabilities: Mapping[str, npt.NDArray[np.float32]]
) -> dict[str, npt.NDArray[np.bool_]]:
    """Return the masks that probabilities `(H, W)` by structure come to: over the threshold, parts in their whole, one disc and one cup."""
    masks = {c: probabilities[c] >= segmenter.thresholds[c] for c in segmenter.classes}
    if "disc" in masks:
        masks["disc"] = surest_region(masks["disc"], probabilities["disc"])
    for part, whole in segmenter.inside.items():
        masks[part] &= masks[whole]
    if "cup" in masks:
        masks["cup"] = largest_region(masks["cup"])
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
    return _filled(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))


def surest_region(mask: npt.NDArray[np.bool_], probability: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return the connected region of a mask with the highest mean probability, holes filled; specks are not asked.

    A ring of exudates may be marked on a larger area than the disc, and less surely. Regions of less than a quarter of the largest are specks.

    Args:
        mask: `(H, W)`.
        probability: `(H, W)`, of the same structure.

    Example:
        >>> mask, probability = np.zeros((6, 6), bool), np.full((6, 6), 0.7, np.float32)
        >>> mask[0:2, 0:2] = mask[3:6, 2:6] = True
        >>> probability[0:2, 0:2] = 0.9
        >>> int(surest_region(mask, probability).sum())
        4
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return mask.copy()
    areas = stats[1:, cv2.CC_STAT_AREA]
    sums = np.bincount(labels[mask], weights=probability[mask], minlength=count)[1:]
    mean = np.where(areas >= _SPECK * areas.max(), sums / areas, 0)
    return _filled(labels == 1 + int(np.argmax(mean)))


def _filled(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    drawn = region.astype(np.uint8)
    outlines, _ = cv2.findContours(drawn, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(np.zeros_like(drawn), outlines, -1, 1, cv2.FILLED).astype(np.bool_)


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
