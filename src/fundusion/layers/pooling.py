"""Any number of images per study: gated attention over the packed images of a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FramePool(nn.Module):
    """Weighted mean of the vectors of the images of each study; the weights are learned and sum to one.

    One image is passed through unchanged. A study without images gets a row of zeros (its presence is False).

    Source: Ilse et al. 2018, arXiv:1802.04712, equation 9.
    """

    def __init__(self, embed_dim: int, *, hidden_dim: int = 64) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.content = nn.Linear(embed_dim, hidden_dim)
        self.gate = nn.Linear(embed_dim, hidden_dim)
        self.score = nn.Linear(hidden_dim, 1)
        # Starts as the plain mean.
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, vectors: Tensor, owner: Tensor, rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return pooled `(B, E)`, weights `(T,)`, vectors by study `(B, N, E)` and their mask `(B, N)`.

        Args:
            vectors: `(T, E)`, one per image.
            owner: int64 `(T,)`, row of each image.
            rows: B.
        """
        # Scores stay in float32: under autocast they can be bfloat16, whose softmax is coarse.
        inside = self.norm(vectors)
        scores = self.score(torch.tanh(self.content(inside)) * torch.sigmoid(self.gate(inside)))[:, 0].float()
        peak = torch.full((rows,), -torch.inf, device=scores.device).scatter_reduce(0, owner, scores.detach(), "amax")
        weights = torch.exp(scores - peak[owner])
        total = torch.zeros(rows, device=scores.device).index_add(0, owner, weights)
        attention = weights / total[owner]
        source = vectors.float()
        pooled = torch.zeros(rows, source.shape[1], device=source.device).index_add(
            0, owner, source * attention[:, None]
        )
        tokens, mask = _by_study(source, owner, rows)
        return pooled, attention, tokens, mask


def patches_by_study(tokens: Tensor, owner: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Return the patches `(T, N, E)` of all images of each study one after the other, `(B, F * N, E)`, and their mask."""
    count, width = tokens.shape[1:]
    joined, mask = _by_study(tokens.flatten(1), owner, rows)
    return joined.reshape(rows, -1, width), mask.repeat_interleave(count, 1)


def _by_study(vectors: Tensor, owner: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    counts = torch.bincount(owner, minlength=rows)
    longest = max(1, int(counts.max()))
    starts = torch.cumsum(counts, 0) - counts
    order = torch.argsort(owner, stable=True)
    place = torch.empty_like(owner)
    place[order] = torch.arange(len(owner), device=owner.device) - starts[owner[order]]
    tokens = torch.zeros(rows, longest, vectors.shape[1], device=vectors.device, dtype=vectors.dtype)
    tokens = tokens.index_put((owner, place), vectors)
    mask = torch.arange(longest, device=owner.device)[None] < counts[:, None]
    return tokens, mask
