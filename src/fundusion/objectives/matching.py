"""MedCLIP: pictures and texts that were never paired are matched by the findings both are known to hold.

Source: Wang et al. 2022, arXiv:2210.10163 (equations 2 to 6). The released code differs from the paper, and is had with
`variant="released"`: the similarity of labels is their plain product instead of the cosine, a picture or text without any finding gets
"no finding", and the loss is the mean of two: against the texts and against changed copies of them.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Aligner, Batch, Loss
from ..core.registry import Card, objectives
from ..layers.alignment import align, logits_of, nothing, symmetric_cross_entropy

#: Target `(B, K)`: 1 present, -1 denied or doubtful, 0 not mentioned; NaN counts as not mentioned.
FINDINGS = "findings"
#: Target `(B,)`: 1 where the text is a changed copy of another row's.
COPIES = "copies"


def label_similarity(images: Tensor, texts: Tensor, *, normalise: bool) -> Tensor:
    """Return how alike the findings of images `(N, K)` and texts `(M, K)` are: cosine, or plain product.

    Example:
        >>> label_similarity(torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0, 1.0], [0.0, 0.0]]), normalise=True).round().tolist()
        [[1.0, 0.0]]
    """
    if normalise:
        images, texts = (F.normalize(x, dim=1, eps=1e-8) for x in (images, texts))
    return images @ texts.T


class SemanticMatching:
    """Soft targets from the similarity of findings; rows may be pairs, pictures alone and texts alone.

    Args:
        variant: "paper" or "released".
        no_finding: Column of "no finding"; needed by the released variant for rows without findings.
    """

    def __init__(self, *, variant: Literal["paper", "released"] = "paper", no_finding: int | None = None) -> None:
        if variant not in ("paper", "released"):
            raise InvalidInput(f"the variant is paper or released, got {variant!r}.", code="config.invalid")
        self.variant, self.no_finding = variant, no_finding

    def __call__(
        self, network: Aligner, batch: Batch, *, generator: torch.Generator | None = None, epoch: float = 0.0
    ) -> Loss:
        """Return the loss; `targets["findings"]` is needed, `targets["copies"]` may mark changed copies of texts.

        Raises:
            InvalidInput: No findings are given.
        """
        if FINDINGS not in batch.targets:
            raise InvalidInput("semantic matching needs the findings of each row.", code="batch.targets")
        aligned = align(network, batch)
        labels = self._labels(aligned.targets[FINDINGS])
        images = torch.nonzero(aligned.has_image)[:, 0]
        copies = aligned.targets.get(COPIES, torch.zeros_like(labels[:, 0])) > 0
        parts = {}
        for name, chosen in (("texts", ~copies), ("copies", copies)):
            texts = torch.nonzero(aligned.has_text & chosen)[:, 0]
            if len(images) and len(texts):
                parts[name] = self._of(network, aligned, labels, images, texts=texts)
        if not parts:
            return Loss(total=nothing(aligned, network))
        parts = {name: value / len(parts) for name, value in parts.items()}
        return Loss(total=torch.stack(list(parts.values())).sum(), parts=parts)

    def _labels(self, given: Tensor) -> Tensor:
        labels = torch.nan_to_num(given.float())
        if self.variant == "released" and self.no_finding is not None:
            empty = (labels == 0).all(1)
            labels = labels.clone()
            labels[empty, self.no_finding] = 1.0
        return labels

    def _of(self, network: Aligner, aligned, labels: Tensor, images: Tensor, *, texts: Tensor) -> Tensor:
        similarity = label_similarity(labels[images], labels[texts], normalise=self.variant == "paper")
        logits = logits_of(network, aligned.images[images], aligned.texts[texts])
        return symmetric_cross_entropy(logits, similarity.softmax(1), similarity.T.softmax(1))


@objectives.register("matching.medclip", Card(title="Semantic matching (MedCLIP)", paper="arXiv:2210.10163"))
def medclip(*, variant: Literal["paper", "released"] = "paper", no_finding: int | None = None) -> SemanticMatching:
    """Return the objective for pictures and texts that need no pairing."""
    return SemanticMatching(variant=variant, no_finding=no_finding)
