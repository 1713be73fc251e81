"""Promptable segmenters without a human: boxes come from masks that one of our own segmenters found, never from the truth."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .core.errors import IncompatibleWeights, InvalidInput
from .core.interfaces import Prompts
from .core.registry import models
from .core.study import Image
from .layers.weights import digest
from .segmenting import Masks, Segmenter, load_segmenter
from .shipped import segmenter_facts, shipped_segmenters
from .transforms.boxes import Box, box_around, boxes_around_regions

#: Structures of which an eye has one; all others get a box per region.
SINGLE = frozenset({"disc", "cup", "fovea", "macula"})
#: Families that draw what they are prompted for.
FAMILIES = ("sam", "medsam", "medsegx")
#: Structures that no box can point at: they reach across the whole picture.
BOXLESS = frozenset({"vessel", "artery", "vein"})
#: What MedSegX was trained to draw in photographs of the fundus.
MEDSEGX_TASKS = {"disc": "disc", "cup": "cup"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompted:
    """A promptable segmenter that is ready for boxes around our own masks.

    Args:
        name: Of the model or its run folder.
        models: Structure to model; "*" stands for all that are not named.
        sha256: Of its weights file; a name where there is none.
    """

    name: str
    models: Mapping[str, Any]
    sha256: str = ""

    def structures(self, found: Iterable[str]) -> tuple[str, ...]:
        """Return those of some structures that it can be prompted for."""
        return tuple(s for s in found if s not in BOXLESS and (s in self.models or "*" in self.models))


def load_models(
    names: str,
    *,
    prompts: str | None = None,
    weights: str | None = None,
    base: str | None = None,
    modality: str = "cfp",
    device: str = "cpu",
) -> tuple[list[Segmenter], Prompted | None]:
    """Return our own segmenters and the promptable one among some names.

    Args:
        names: With commas; "all" is every shipped segmenter of such pictures. A promptable model alone is given the shipped
            segmenters of structures that a box can point at.
        prompts: "auto" or None.
        weights: Of the promptable model, as `models.create` takes them.
        base: Of MedSegX.
        modality: Pictures that "all" is for.
        device: Where they run.

    Raises:
        InvalidInput: A promptable model without prompts, prompts without such a model, two such models, no shipped one for such pictures.
        UnknownName: A name that is nothing.
    """
    listed = [n.strip() for n in names.split(",") if n.strip()]
    asked = [n for n in listed if is_promptable(n)]
    own = [n for n in listed if n not in asked]
    if prompts not in (None, "auto"):
        raise InvalidInput(
            f"prompts can be automatic, got {prompts!r}.", code="config.invalid", hint="Give --prompts auto, or none."
        )
    if len(asked) > 1 or (asked and prompts is None) or (prompts and not asked) or ((weights or base) and not asked):
        raise InvalidInput(
            f"of {', '.join(listed) or 'nothing'} one model of {', '.join(FAMILIES)} must be prompted, and it needs --prompts auto.",
            code="config.invalid",
            hint="For example: --model disc_cup,sam.vit_b --weights published --prompts auto. Boxes are drawn around our own masks.",
        )
    if listed == ["all"]:
        own = _all_for(modality)
    elif asked and not own:
        own = [n for n in shipped_segmenters() if n in ("disc_cup", "lesions", "microaneurysms")]
    loaded = [load_segmenter(n, device=device) for n in own]
    return loaded, _prompted(asked[0], weights, base, device) if asked else None


def _all_for(modality: str) -> list[str]:
    """Return the shipped segmenters of one kind of pictures."""
    kinds = {n: str(segmenter_facts(n).get("modality", "cfp")) for n in shipped_segmenters()}
    if modality not in kinds.values():
        raise InvalidInput(
            f"no segmenter of {modality} pictures is shipped; there are some for {', '.join(sorted(set(kinds.values())))}.",
            code="segmenter.modality",
            hint="Give --model with a folder of train-segmenter; layers of B-scans are drawn by `fundusion oct-layers`.",
        )
    return [n for n, kind in kinds.items() if kind == modality]


def is_promptable(name: str) -> bool:
    """Return whether a name is a model that takes prompts, or a folder that training one wrote.

    Example:
        >>> is_promptable("sam.vit_b"), is_promptable("vessels")
        (True, False)
    """
    return name.partition(".")[0] in FAMILIES or (Path(name) / "prompted.json").is_file()


def _prompted(name: str, weights: str | None, base: str | None, device: str) -> Prompted:
    folder = Path(name)
    if (folder / "prompted.json").is_file():
        facts = json.loads((folder / "prompted.json").read_text("utf-8"))
        path = folder / "prompted.safetensors"
        if digest(path) != facts["sha256"]:
            raise IncompatibleWeights(
                f"the weights of {folder.name!r} are not those that were written.",
                code="model.digest",
                hint="Train it again.",
            )
        made = models.create(facts["model"], weights=str(path), **facts["options"]).eval().to(device)
        return Prompted(name=folder.name, models={facts["structure"]: made}, sha256=facts["sha256"])
    mark = digest(Path(weights)) if weights and Path(weights).is_file() else f"{name} {weights}"
    if name.startswith("medsegx."):
        given = {k: v for k, v in (("weights", weights), ("base", base)) if v is not None}
        made_for = {
            s: models.create(name, task=task, keep="best", **given).eval().to(device)
            for s, task in MEDSEGX_TASKS.items()
        }
        return Prompted(name=name, models=made_for, sha256=mark)
    if base is not None:
        raise InvalidInput(f"{name} needs no base.", code="config.invalid", hint="--base is for medsegx.")
    made = models.create(name, **({} if weights is None else {"weights": weights})).eval().to(device)
    return Prompted(name=name, models={"*": made}, sha256=mark)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refined:
    """What a prompted segmenter made of the masks of another one.

    Args:
        masks: Structures that were prompted are new, all others as given.
        boxes: Structure to the boxes it was prompted with.
        skipped: Structure to the reason why it was not prompted.
    """

    masks: Masks
    boxes: Mapping[str, tuple[Box, ...]]
    skipped: Mapping[str, str]


def box_prompts(
    masks: Masks, structures: Collection[str] | None = None, *, margin: float = 0.1, most: int = 16
) -> dict[str, tuple[Box, ...]]:
    """Return boxes around the structures of a picture, in its own pixels; an empty mask has none.

    Args:
        masks: Of `segment_image`.
        structures: None takes all.
        margin: Share of a box's sides that it is widened by on each side.
        most: Boxes of one structure, the largest regions first.

    Raises:
        InvalidInput: A structure that was not segmented.
    """
    wanted = tuple(masks.masks) if structures is None else tuple(structures)
    absent = [s for s in wanted if s not in masks.masks]
    if absent:
        raise InvalidInput(
            f"no mask of {', '.join(absent)}; there are {', '.join(masks.masks)}.", code="config.invalid"
        )
    found: dict[str, tuple[Box, ...]] = {}
    for structure in wanted:
        mask = masks.masks[structure]
        if structure in SINGLE:
            box = box_around(mask, margin=margin)
            found[structure] = () if box is None else (box,)
        else:
            found[structure] = tuple(boxes_around_regions(mask, margin=margin, most=most))
    return found


def refine_masks(
    model: Any,
    image: Image | npt.NDArray[np.uint8],
    masks: Masks,
    *,
    structures: Collection[str] | None = None,
    margin: float = 0.1,
    most: int = 16,
    name: str = "",
) -> Refined:
    """Return masks in which a prompted segmenter has drawn the structures anew.

    Of several masks for one box, the one that agrees best with the mask the box came from is taken: no truth is needed.

    Args:
        model: Has `segment(images, prompts)`, or a mapping from structure to such a model (MedSegX has one task each).
        image: The picture of the masks, or its pixels `(H, W, 3)` uint8.
        masks: Of one of our own segmenters.
        structures: Those to draw anew; None takes disc and cup of what is there.
        margin: Share of a box's sides that it is widened by on each side.
        most: Boxes of one structure.
        name: Of the model, for provenance.

    Raises:
        InvalidInput: Picture and masks of different size, or a structure without mask or model.
    """
    pixels = image.pixels if isinstance(image, Image) else image
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InvalidInput(
            f"expected a picture (H, W, 3) of 8 bits, got {pixels.dtype} {pixels.shape}.", code="image.shape"
        )
    if any(m.shape != pixels.shape[:2] for m in masks.masks.values()):
        raise InvalidInput(
            "picture and masks are of different size.", hint="Give the picture the masks were made from."
        )
    chosen = tuple(s for s in masks.masks if s in ("disc", "cup")) if structures is None else tuple(structures)
    boxes = box_prompts(masks, chosen, margin=margin, most=most)
    new_masks, new_probabilities = dict(masks.masks), dict(masks.probabilities)
    skipped = {}
    for structure in chosen:
        if not boxes[structure]:
            skipped[structure] = "nothing of it was found, so there is no box to prompt with"
            continue
        one = _model_of(model, structure)
        found = _drawn(one, pixels, boxes[structure], masks.masks[structure])
        visible = masks.field.mask(pixels.shape)
        new_probabilities[structure] = np.where(visible, found, np.float32(0)).astype(np.float32)
        new_masks[structure] = new_probabilities[structure] > 0.5
    if "cup" in chosen and {"disc", "cup"} <= set(new_masks):
        new_masks["cup"] = new_masks["cup"] & new_masks["disc"]
    provenance = {**masks.provenance, "refined_by": name or type(model).__name__, "prompts": "boxes around own masks"}
    new = Masks(probabilities=new_probabilities, masks=new_masks, field=masks.field, provenance=provenance)
    return Refined(masks=new, boxes=boxes, skipped=skipped)


def _model_of(model: Any, structure: str) -> Any:
    if not isinstance(model, Mapping):
        return model
    if structure not in model and "*" not in model:
        raise InvalidInput(f"no model for {structure!r}; there are {', '.join(model)}.", code="config.invalid")
    return model[structure] if structure in model else model["*"]


@torch.inference_mode()
def _drawn(
    model: Any, pixels: npt.NDArray[np.uint8], boxes: tuple[Box, ...], own: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:
    device = next(model.parameters()).device
    images = torch.from_numpy(np.array(pixels)).to(device).permute(2, 0, 1)[None].float() / 255
    prompting = torch.from_numpy(own).to(device)
    total = torch.zeros(own.shape, device=device)
    training = model.training
    model.eval()
    try:
        for box in boxes:
            logits = model.segment(images, Prompts(boxes=torch.tensor([box], device=device)))[0].float()
            best = _most_alike(logits > 0, prompting & _within(box, own.shape, device))
            total = torch.maximum(total, torch.sigmoid(logits[best]))
    finally:
        model.train(training)
    return total.cpu().numpy()


def _within(box: Box, shape: tuple[int, ...], device: torch.device) -> Tensor:
    rows, columns = torch.arange(shape[0], device=device), torch.arange(shape[1], device=device)
    return ((rows >= box[1]) & (rows <= box[3]))[:, None] & ((columns >= box[0]) & (columns <= box[2]))[None]


def _most_alike(candidates: Tensor, own: Tensor) -> int:
    """Return which of the masks `(K, H, W)` has the greatest Dice with another one."""
    both = (candidates & own).flatten(1).sum(1).float()
    dice = 2 * both / (candidates.flatten(1).sum(1) + own.sum()).clamp_min(1)
    return int(dice.argmax())
