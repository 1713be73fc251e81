"""Prompts of a segmenter: checked, brought to the size of its input, and made from masks whose truth is known, for training only."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..core.errors import InvalidInput
from ..core.interfaces import Prompts


def checked_images(images: Tensor) -> None:
    """Raise unless images are `(B, 3, H, W)` of floats.

    Raises:
        InvalidInput: They are not.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point() or min(images.shape) == 0:
        raise InvalidInput(
            f"expected images (B, 3, H, W) of floats in [0, 1], got {images.dtype} {tuple(images.shape)}."
        )


def checked_prompts(prompts: Prompts | None, images: Tensor) -> Prompts:
    """Return prompts that fit the images; without any point, box or mask a box around each whole image.

    Raises:
        InvalidInput: Other numbers of images, corners in the wrong order, places that are not finite, or labels without points.
    """
    height, width = images.shape[2:]
    if prompts is None or (prompts.points is None and prompts.boxes is None and prompts.masks is None):
        box = images.new_tensor([0.0, 0.0, width - 1.0, height - 1.0])
        return Prompts(boxes=box.expand(len(images), 4))
    if (prompts.points is None) != (prompts.point_labels is None):
        raise InvalidInput("points and point_labels belong together.", hint="Label 1 is inside, 0 outside, -1 padding.")
    wanted = {
        "points": (prompts.points, (len(images), -1, 2)),
        "point_labels": (prompts.point_labels, (len(images), -1)),
        "boxes": (prompts.boxes, (len(images), 4)),
        "masks": (prompts.masks, (len(images), 1, -1, -1)),
    }
    for name, (value, shape) in wanted.items():
        if value is None:
            continue
        fits = value.ndim == len(shape) and all(w in (-1, s) for w, s in zip(shape, value.shape, strict=True))
        if not fits or not bool(torch.isfinite(value).all()):
            raise InvalidInput(
                f"expected finite {name} of shape {shape} for {len(images)} images, got {tuple(value.shape)}.",
                hint="One row per image; -1 stands for any number.",
            )
    if prompts.point_labels is not None:
        if prompts.points is not None and prompts.point_labels.shape != prompts.points.shape[:2]:
            raise InvalidInput(
                f"{tuple(prompts.points.shape[:2])} points need as many labels, got {tuple(prompts.point_labels.shape)}."
            )
        if not bool(torch.isin(prompts.point_labels, prompts.point_labels.new_tensor([-1, 0, 1])).all()):
            raise InvalidInput("labels of points are 1 (inside), 0 (outside) or -1 (padding).")
    if prompts.boxes is not None and bool((prompts.boxes[:, 2:] < prompts.boxes[:, :2]).any()):
        raise InvalidInput("boxes are x0, y0, x1, y1 with x1 >= x0 and y1 >= y0.")
    return replace(
        prompts,
        points=None if prompts.points is None else prompts.points.to(images),
        boxes=None if prompts.boxes is None else prompts.boxes.to(images),
        masks=None if prompts.masks is None else prompts.masks.to(images),
        point_labels=None if prompts.point_labels is None else prompts.point_labels.to(images.device),
    )


def scaled_prompts(prompts: Prompts, factor_x: float, factor_y: float) -> Prompts:
    """Return prompts with their places multiplied, as the published pipelines do; masks stay."""
    if factor_x == factor_y == 1:
        return prompts
    points, boxes = prompts.points, prompts.boxes
    return replace(
        prompts,
        points=None if points is None else points * points.new_tensor([factor_x, factor_y]),
        boxes=None if boxes is None else boxes * boxes.new_tensor([factor_x, factor_y] * 2),
    )


def scaled_mask(mask: Tensor | None, side: int, *, cut: tuple[int, int] | None = None) -> Tensor | None:
    """Return a mask prompt at the size that a prompt encoder reads.

    Args:
        mask: Logits `(B, 1, H, W)` over the image.
        side: Of the square that is read.
        cut: Rows and columns of it that the image covers, at the top left; the rest is filled with a sure "outside".
    """
    if mask is None:
        return None
    rows, columns = cut or (side, side)
    if tuple(mask.shape[2:]) != (rows, columns):
        mask = F.interpolate(mask, size=(rows, columns), mode="bilinear", align_corners=False, antialias=True)
    return F.pad(mask, (0, side - columns, 0, side - rows), value=-20.0)


def boxes_from_truth(
    masks: Tensor, *, jitter_px: int = 0, margin_px: float = 0.0, generator: torch.Generator | None = None
) -> Tensor:
    """Return boxes `(B, 4)` around known masks, for training and for evaluations that say so: who has the truth needs no segmenter.

    Args:
        masks: `(B, 1, H, W)`, above 0.5 is inside.
        jitter_px: Each side is moved outwards by a whole number of pixels below it.
        margin_px: Each side is moved outwards by as much.
        generator: Draws the jitter.

    Raises:
        InvalidInput: An empty mask, around which there is no box.

    Source: MedSAM, arXiv:2304.12306 and MedSegX draw 0 to 19 px (jitter_px=20).
    """
    if masks.ndim != 4 or masks.shape[1] != 1:
        raise InvalidInput(f"expected masks (B, 1, H, W), got {tuple(masks.shape)}.")
    inside = masks[:, 0] > 0.5
    if not bool(inside.flatten(1).any(1).all()):
        raise InvalidInput(
            "a mask is empty, so there is no box around it.", hint="Leave such pictures out of this step."
        )
    height, width = inside.shape[1:]
    boxes = []
    for axis, size in ((1, width), (2, height)):
        # Which columns (rows) hold any pixel.
        line = inside.any(axis).float()
        first, last = line.argmax(1), size - 1 - line.flip(1).argmax(1)
        boxes.append(torch.stack([first, last], 1).float())
    (x0, x1), (y0, y1) = boxes[0].unbind(1), boxes[1].unbind(1)
    out = torch.full((len(masks), 4), float(margin_px), device=masks.device)
    if jitter_px > 0:
        out = out + torch.randint(0, jitter_px, (len(masks), 4), generator=generator).to(out)
    found = torch.stack([x0, y0, x1, y1], 1) + out * out.new_tensor([-1.0, -1.0, 1.0, 1.0])
    return found.clamp_min(0).minimum(found.new_tensor([width - 1, height - 1] * 2))
