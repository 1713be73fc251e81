"""Losses of segmenters that give several masks for one prompt: only the mask that is nearest to the truth learns.

Source: Kirillov et al. 2023, arXiv:2304.02643 (focal and Dice 20:1, squared error of the expected overlap); Ma et al. 2024,
doi:10.1038/s41467-024-44824-z (MedSAM: Dice with squared predictions and cross entropy, 1:1); MedSegX, doi:10.1038/s41551-025-01497-3 (the same,
smallest of three). Pixels whose truth is unknown count in no sum. An empty mask is no special case: Dice is then 0 for a silent
answer and near 1 for any false alarm; a picture without a known pixel has loss 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Loss
from ..core.registry import Card, objectives


class BestMaskLoss:
    """Pixel loss and Dice of each mask; the smallest sum of each picture counts, averaged over pictures.

    Args:
        pixel: Weight of the pixel loss, averaged over pixels.
        dice: Weight of 1 - Dice.
        overlap: Weight of the squared error of the expected overlap (IoU), averaged over the masks; needs scores.
        gamma: Exponent of the focal loss; 0 is cross entropy.
        alpha: Weight of the inside in the focal loss; None weighs both alike.
        squared: Whether Dice squares predictions and truth in its denominator.
        smooth: Added above and below.
    """

    def __init__(
        self,
        *,
        pixel: float,
        dice: float,
        overlap: float = 0.0,
        gamma: float = 0.0,
        alpha: float | None = None,
        squared: bool = False,
        smooth: float = 1.0,
    ) -> None:
        if min(pixel, dice, overlap, gamma) < 0 or pixel + dice <= 0 or smooth <= 0:
            raise InvalidInput(
                "weights of a loss cannot be negative, and one of pixel and dice must be above 0.",
                code="config.invalid",
            )
        if alpha is not None and not 0 <= alpha <= 1:
            raise InvalidInput(f"alpha is a share in [0, 1], got {alpha}.", code="config.invalid")
        self.pixel, self.dice, self.overlap, self.gamma, self.alpha = pixel, dice, overlap, gamma, alpha
        self.squared, self.smooth = squared, smooth

    def __call__(
        self, stages: Sequence[Tensor], target: Tensor, known: Tensor | None = None, *, scores: Tensor | None = None
    ) -> Loss:
        """Return the loss.

        Args:
            stages: Logits `(B, K, H, W)`, the answer last; only the answer counts.
            target: `(B, 1, H, W)` in [0, 1].
            known: bool `(B, 1, H, W)`; None knows every pixel.
            scores: Expected overlaps `(B, K)`.

        Raises:
            InvalidInput: Shapes that do not fit, or no scores where their error counts.
        """
        logits = stages[-1].float()
        self._check(logits, target, known, scores)
        weight = torch.ones_like(target) if known is None else known.to(target)
        parts = {
            "pixel": self.pixel * self._pixel(logits, target, weight),
            "dice": self.dice * self._dice(logits, target, weight),
        }
        best = sum(parts.values()).argmin(1, keepdim=True)
        seen = (weight.flatten(1).sum(1) > 0).float()
        found = {k: self._mean(v.gather(1, best)[:, 0], seen) for k, v in parts.items()}
        if self.overlap > 0 and scores is not None:
            error = (scores.float() - overlap_with_truth(logits, target, weight)).square().mean(1)
            found["overlap"] = self.overlap * self._mean(error, seen)
        return Loss(total=torch.stack(list(found.values())).sum(), parts=found)

    def each(self, logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """Return the loss `(B, K)` of every mask without its expected overlap."""
        weight = torch.ones_like(target) if known is None else known.to(target)
        logits = logits.float()
        return self.pixel * self._pixel(logits, target, weight) + self.dice * self._dice(logits, target, weight)

    def _check(self, logits: Tensor, target: Tensor, known: Tensor | None, scores: Tensor | None) -> None:
        wanted = (logits.shape[0], 1, *logits.shape[2:])
        if tuple(target.shape) != wanted or (known is not None and tuple(known.shape) != wanted):
            raise InvalidInput(f"expected target and known of shape {wanted}, got {tuple(target.shape)}.")
        if self.overlap > 0 and (scores is None or tuple(scores.shape) != tuple(logits.shape[:2])):
            raise InvalidInput(
                f"the error of the expected overlap needs scores of shape {tuple(logits.shape[:2])}.",
                hint="Give scores= from answer(), or overlap=0.",
            )

    def _pixel(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        truth = target.expand_as(logits)
        each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
        if self.gamma > 0:
            p = torch.sigmoid(logits)
            each = each * (p * (1 - truth) + (1 - p) * truth) ** self.gamma
        if self.alpha is not None:
            each = each * (self.alpha * truth + (1 - self.alpha) * (1 - truth))
        return (each * weight).sum((2, 3)) / weight.sum((2, 3)).clamp_min(1)

    def _dice(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        p, truth = torch.sigmoid(logits) * weight, target * weight
        size = (p.square() + truth.square()) if self.squared else (p + truth)
        return 1 - (2 * (p * truth).sum((2, 3)) + self.smooth) / (size.sum((2, 3)) + self.smooth)

    @staticmethod
    def _mean(values: Tensor, seen: Tensor) -> Tensor:
        return (values * seen).sum() / seen.sum().clamp_min(1)


@torch.no_grad()
def overlap_with_truth(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return intersection over union `(B, K)` of the masks above 0; two empty masks agree."""
    inside, truth = (logits > 0) & (weight > 0), (target > 0.5) & (weight > 0)
    both, either = (inside & truth).sum((2, 3)).float(), (inside | truth).sum((2, 3)).float()
    return torch.where(either > 0, both / either.clamp_min(1), torch.ones_like(both))


@objectives.register("promptable.sam", Card(title="Segment Anything: best of several masks", paper="arXiv:2304.02643"))
def sam(
    *, focal: float = 20.0, dice: float = 1.0, overlap: float = 1.0, gamma: float = 2.0, alpha: float | None = 0.25
) -> BestMaskLoss:
    """Return focal loss, Dice and the error of the expected overlap; the paper gives the weights, gamma and alpha are the usual ones."""
    return BestMaskLoss(pixel=focal, dice=dice, overlap=overlap, gamma=gamma, alpha=alpha)


@objectives.register(
    "promptable.medsam", Card(title="MedSAM: Dice and cross entropy", paper="doi:10.1038/s41467-024-44824-z")
)
def medsam(*, cross_entropy: float = 1.0, dice: float = 1.0) -> BestMaskLoss:
    """Return Dice with squared predictions and cross entropy of one mask (of several, the nearest)."""
    return BestMaskLoss(pixel=cross_entropy, dice=dice, squared=True, smooth=1e-5)


@objectives.register(
    "promptable.medsegx", Card(title="MedSegX: best of three masks", paper="doi:10.1038/s41551-025-01497-3")
)
def medsegx(*, cross_entropy: float = 1.0, dice: float = 1.0) -> BestMaskLoss:
    """Return Dice with squared predictions and cross entropy, the smallest of the masks of each picture."""
    return BestMaskLoss(pixel=cross_entropy, dice=dice, squared=True, smooth=1e-5)
