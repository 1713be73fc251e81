"""Losses of masks whose pixels may be unknown: cross entropy and soft Dice, with a loss on every stage of a cascade.

Source: Milletari et al. 2016, doi:10.1109/3DV.2016.79 (soft Dice); Lin et al. 2017, doi:10.1109/ICCV.2017.324 (focal); Salehi et al. 2017,
doi:10.1007/978-3-319-67389-9_44 (Tversky). Formulas as in MONAI, with two additions: pixels whose truth is unknown count in no sum, and
Dice is taken over the batch, so that a picture without any lesion is no special case: its false alarms lower the score, its silence does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Loss
from ..core.registry import Card, objectives


class MaskLoss:
    """Weighted sum of cross entropy and overlap, averaged over structures that some pixel of the batch knows.

    Args:
        cross_entropy: Weight of the binary cross entropy.
        overlap: Weight of the Tversky loss.
        false_positive: Its weight of false alarms; with 0.5 and 0.5 it is Dice.
        false_negative: Its weight of misses.
        focal: Exponent that lowers the weight of pixels already right; 0 is plain cross entropy.
        earlier: Weight of the loss on the stages before the last.
        positive: Weight in the cross entropy of pixels of a structure against those outside, one for each structure; None is 1 for
            all. Structures of a few pixels in a million are not learned at 1: silence costs next to nothing.
    """

    def __init__(
        self,
        *,
        cross_entropy: float = 1.0,
        overlap: float = 1.0,
        false_positive: float = 0.5,
        false_negative: float = 0.5,
        focal: float = 0.0,
        earlier: float = 0.5,
        positive: Sequence[float] | None = None,
    ) -> None:
        if positive is not None and not all(w > 0 for w in positive):
            raise InvalidInput(f"weights of structures are above 0, got {tuple(positive)}.", code="config.invalid")
        self.positive = None if positive is None else tuple(positive)
        if min(cross_entropy, overlap, false_positive, false_negative, focal, earlier) < 0:
            raise InvalidInput("weights of a loss cannot be negative.", code="config.invalid")
        if cross_entropy + overlap <= 0:
            raise InvalidInput("one of cross_entropy and overlap must be above 0.", code="config.invalid")
        self.cross_entropy, self.overlap, self.focal, self.earlier = cross_entropy, overlap, focal, earlier
        self.false_positive, self.false_negative = false_positive, false_negative

    def __call__(self, stages: Sequence[Tensor], target: Tensor, known: Tensor) -> Loss:
        """Return the loss.

        Args:
            stages: Logits `(B, K, H, W)`, the answer last.
            target: `(B, K, H, W)` in [0, 1]; soft values are shares of a pixel or of readers.
            known: bool `(B, K, H, W)`; what is False counts nowhere. A batch without any known pixel has loss 0.
        """
        weight = known.float()
        parts: dict[str, Tensor] = {}
        total = target.new_zeros(()) + 0.0 * stages[-1].float().sum()
        for number, logits in enumerate(stages):
            share = 1.0 if number == len(stages) - 1 else self.earlier
            if share == 0:
                continue
            suffix = "" if number == len(stages) - 1 else f"_stage_{number + 1}"
            for name, factor, value in (
                ("cross_entropy", self.cross_entropy, self._cross_entropy(logits.float(), target, weight)),
                ("overlap", self.overlap, self._overlap(logits.float(), target, weight)),
            ):
                if factor > 0:
                    parts[name + suffix] = share * factor * value
                    total = total + parts[name + suffix]
        return Loss(total=total, parts=parts)

    def _cross_entropy(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        each = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
        if self.focal > 0:
            probability = torch.sigmoid(logits)
            each = each * (probability * (1 - target) + (1 - probability) * target) ** self.focal
        if self.positive is not None:
            each = each * (1 + (self._weights(target) - 1) * target)
        return (each * weight).sum() / weight.sum().clamp_min(1)

    def _weights(self, target: Tensor) -> Tensor:
        if len(self.positive or ()) != target.shape[1]:
            raise InvalidInput(
                f"{target.shape[1]} structures need as many weights, got {self.positive}.", code="config.invalid"
            )
        return target.new_tensor(self.positive).view(1, -1, 1, 1)

    def _overlap(self, logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        probability = torch.sigmoid(logits) * weight
        truth = target * weight
        over = (0, 2, 3)
        hit = (probability * truth).sum(over)
        false_alarms = (probability * (weight - truth)).sum(over)
        misses = ((weight - probability) * truth).sum(over)
        score = (hit + 1) / (hit + self.false_positive * false_alarms + self.false_negative * misses + 1)
        seen = (weight.sum(over) > 0).float()
        return ((1 - score) * seen).sum() / seen.sum().clamp_min(1)


def _card(title: str, paper: str) -> Card:
    return Card(title=title, paper=paper)


@objectives.register("segmentation.dice_ce", _card("Dice and cross entropy of masks", "doi:10.1109/3DV.2016.79"))
def dice_ce(
    *, cross_entropy: float = 1.0, dice: float = 1.0, earlier: float = 0.5, positive: Sequence[float] | None = None
) -> MaskLoss:
    """Return the sum of cross entropy and soft Dice."""
    return MaskLoss(cross_entropy=cross_entropy, overlap=dice, earlier=earlier, positive=positive)


@objectives.register("segmentation.tversky", _card("Tversky loss of masks", "doi:10.1007/978-3-319-67389-9_44"))
def tversky(*, false_positive: float = 0.3, false_negative: float = 0.7, cross_entropy: float = 0.0) -> MaskLoss:
    """Return the Tversky loss; misses cost more than false alarms unless told otherwise."""
    return MaskLoss(
        cross_entropy=cross_entropy, overlap=1.0, false_positive=false_positive, false_negative=false_negative
    )


@objectives.register("segmentation.focal", _card("Focal loss of masks", "doi:10.1109/ICCV.2017.324"))
def focal(*, gamma: float = 2.0, dice: float = 0.0) -> MaskLoss:
    """Return the focal loss."""
    return MaskLoss(cross_entropy=1.0, overlap=dice, focal=gamma)
