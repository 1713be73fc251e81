"""One logit per finding from pooled features of a frozen tower, fitted at once: no steps, no seed, the same every time.

Source: logistic regression with a penalty on squared weights, Hoerl and Kennard 1970, doi:10.1080/00401706.1970.10488634, for each
label alone; a linear probe of frozen features, Alain and Bengio 2016, arXiv:1610.01644.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .eye_words import FINDINGS

_ITERATIONS = 80


class FindingHead(nn.Module):
    """Features `(B, E)` -> logits `(B, K)` of `eye_words.FINDINGS`; fitted by `fit`, never by gradient steps.

    Args:
        width: Of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.register_buffer("weight", torch.zeros(len(FINDINGS), width))
        self.register_buffer("bias", torch.zeros(len(FINDINGS)))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits."""
        return F.linear((features - self.mean) / self.scale, self.weight, self.bias)

    def chances(self, features: Tensor) -> npt.NDArray[np.float64]:
        """Return the chance of each finding `(B, K)`."""
        return self(features.float()).double().sigmoid().cpu().numpy()

    @torch.no_grad()
    def fit(self, features: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], *, penalty: float) -> FindingHead:
        """Fit all logits and return this.

        Args:
            features: `(n, V, E)`: V views of each picture.
            truth: `(n, K)`: 1, 0, or NaN where it is not known.
            penalty: On half the squared weights, against the mean loss of a picture.
        """
        mean, scale = features.mean((0, 1)), features.std((0, 1)) + 1e-4
        rows = torch.from_numpy(((features - mean) / scale).astype(np.float32)).flatten(0, 1)
        wanted = torch.from_numpy(truth.astype(np.float32)).repeat_interleave(features.shape[1], 0)
        self.mean.copy_(torch.from_numpy(mean))
        self.scale.copy_(torch.from_numpy(scale))
        weight, bias = _fitted(rows, wanted, penalty)
        self.weight.copy_(weight)
        self.bias.copy_(bias)
        return self


def _fitted(rows: Tensor, wanted: Tensor, penalty: float) -> tuple[Tensor, Tensor]:
    known = ~wanted.isnan()
    wanted = wanted.nan_to_num()
    share = (wanted.sum(0) / known.sum(0).clamp(min=1)).clamp(1e-4, 1 - 1e-4)
    weight = torch.zeros(wanted.shape[1], rows.shape[1])
    bias = share.logit()
    with torch.enable_grad():
        weight.requires_grad_(True)
        bias.requires_grad_(True)
        search = torch.optim.LBFGS([weight, bias], max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            search.zero_grad()
            each = F.binary_cross_entropy_with_logits(F.linear(rows, weight, bias), wanted, reduction="none")
            total = (each * known).sum(0) / known.sum(0).clamp(min=1)
            value = total.sum() + 0.5 * penalty * weight.square().sum()
            value.backward()  # type: ignore[no-untyped-call]
            return value

        search.step(loss)
    return weight.detach(), bias.detach()
