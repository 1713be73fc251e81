"""Attention from pictures through similar pictures to what was written about these."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..core.errors import InvalidInput


class ReferenceAttention(nn.Module):
    """Several heads without biases; the rows of a batch are the sequence.

    Args:
        width: Of the vectors.
        num_heads: Divides the width.
        dropout: Of the attention weights.
        softmax_over: "keys" is attention as usual; "heads" is what the released KeepFIT computes, where for each query and key
            the weights of the heads sum to one, whatever the other keys are.

    Source:
        Wu et al. 2024, MM-Retinal and KeepFIT, arXiv:2405.11793; released code lxirich/MM-Retinal for "heads".
    """

    def __init__(
        self, width: int, *, num_heads: int = 2, dropout: float = 0.5, softmax_over: Literal["keys", "heads"] = "keys"
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise InvalidInput(f"a width of {width} is no multiple of {num_heads} heads.")
        self.num_heads, self.softmax_over = num_heads, softmax_over
        self.W_q, self.W_k, self.W_v, self.W_o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.dropout = nn.Dropout(dropout)

    def weights(self, queries: Tensor, keys: Tensor) -> Tensor:
        """Return `(heads, N, M)`."""
        q, k = self._split(self.W_q(queries)), self._split(self.W_k(keys))
        scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
        return torch.softmax(scores, 2 if self.softmax_over == "keys" else 0)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Return `(N, E)`: for each query `(N, E)` the values `(M, E)` of the keys `(M, E)` it attends to."""
        mixed = self.dropout(self.weights(queries, keys)) @ self._split(self.W_v(values))
        return self.W_o(mixed.transpose(0, 1).flatten(1))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.num_heads, -1)).transpose(0, 1)
