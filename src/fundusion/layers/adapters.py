"""Small networks on the vectors of a frozen image-text model: CLIP-Adapter and Tip-Adapter, as FLAIR uses them.

Source: Gao et al. 2023 (CLIP-Adapter), arXiv:2110.04544; Zhang et al. 2022 (Tip-Adapter), arXiv:2207.09557; formulas and constants of the released
FLAIR (jusiro/FLAIR, flair/transferability/modeling/adapters.py, Apache-2.0), written from a description.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Scale of text logits that the released code uses in prediction, whatever the model has learned.
FIXED_SCALE = 100.0


class ClipAdapter(nn.Module):
    """A bottleneck on the image vector, mixed with the vector itself.

    Args:
        align_dim: Width of the vectors.
        reduction: Width is divided by this in the middle.
        ratio: Share of the adapted vector.
    """

    def __init__(self, align_dim: int, *, reduction: int = 4, ratio: float = 0.2) -> None:
        super().__init__()
        self.ratio = ratio
        middle = max(1, align_dim // reduction)
        # ReLU after both layers, as published: the adapted vector has no negative entry.
        self.fc = nn.Sequential(
            nn.Linear(align_dim, middle, bias=False), nn.ReLU(), nn.Linear(middle, align_dim, bias=False), nn.ReLU()
        )

    def forward(self, vectors: Tensor) -> Tensor:
        """Return unit vectors `(B, D)`."""
        return F.normalize(self.ratio * self.fc(vectors) + (1 - self.ratio) * vectors, dim=-1)


class TipAdapter(nn.Module):
    """Text logits and votes of the labelled examples, weighted by nearness.

    Args:
        keys: Unit vectors `(N, D)` of the examples; trained by the -F variant.
        values: One-hot labels `(N, K)`.
        alpha: Weight of the votes.
        beta: Sharpness of nearness.
        released_scales: Predict with a fixed scale of 100 and the plain sum of votes, as the released code does although it trains with the
            learned scale and the mean of votes; False uses the rule of training in both.
    """

    def __init__(
        self, keys: Tensor, values: Tensor, *, alpha: float = 1.0, beta: float = 5.0, released_scales: bool = True
    ) -> None:
        super().__init__()
        self.keys = nn.Parameter(keys.clone())
        self.register_buffer("values", values.clone())
        self.alpha, self.beta, self.released_scales = alpha, beta, released_scales

    def votes(self, vectors: Tensor) -> Tensor:
        """Return `(B, K)`: nearness to the examples of each class, summed."""
        return torch.exp(-self.beta * (1 - vectors @ self.keys.T)) @ self.values

    def training_logits(self, vectors: Tensor, classes: Tensor, scale: Tensor | float) -> Tensor:
        """Return logits `(B, K)` of the learned scale and the mean of votes.

        Args:
            vectors: `(B, D)`.
            classes: Vectors of the classes `(K, D)`.
            scale: Of the model.
        """
        return scale * (vectors @ classes.T) + self.alpha * scale / len(self.keys) * self.votes(vectors)

    def forward(self, vectors: Tensor, classes: Tensor, scale: Tensor | float) -> Tensor:
        """Return logits `(B, K)` for an answer; arguments as in `training_logits`."""
        if not self.released_scales:
            return self.training_logits(vectors, classes, scale)
        return FIXED_SCALE * (vectors @ classes.T) + self.alpha * self.votes(vectors)
