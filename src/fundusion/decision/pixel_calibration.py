"""Probabilities of pixels made to say how often they are right: one scale and one offset per structure, fitted on counts of pixels.

Source: Platt 1999 (scale and offset on logits).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from .calibration import fit_platt, sigmoid

#: Logits are told apart in steps of 0.025 from -12 to 12; float32 probabilities hold no more near 1.
LEVELS = np.linspace(-12.0, 12.0, 961)


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelCalibration:
    """`sigmoid(scale * logit(p) + offset)`; the order of pixels never changes.

    Args:
        scale: Positive; below 1 a network was too sure.
        offset: Added to the logit.

    Example:
        >>> made = PixelCalibration(scale=0.5, offset=0.0)
        >>> made(np.array([0.0, 0.5, 0.9, 1.0])).round(3).tolist()
        [0.0, 0.5, 0.75, 1.0]
    """

    scale: float
    offset: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and np.isfinite(self.offset) and self.scale > 0):
            raise InvalidInput(
                f"a calibration of pixels has a positive scale and a finite offset, got {self.scale} and {self.offset}.",
                code="config.invalid",
            )

    def __call__(self, probability: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return calibrated probabilities; 0 and 1 stay."""
        p = np.asarray(probability, np.float64)
        with np.errstate(divide="ignore"):
            logit = np.log(p) - np.log1p(-p)
        return np.asarray(sigmoid(self.scale * logit + self.offset), np.float32)


def count_levels(
    probability: npt.NDArray[np.floating], truth: npt.NDArray[np.bool_], known: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Return the number of known pixels per level of probability, `(2, levels)`: outside and inside the structure.

    Example:
        >>> counts = count_levels(np.array([0.5, 0.5, 0.9]), np.array([True, False, True]), np.array([True, True, False]))
        >>> counts.sum(1).tolist()
        [1, 1]
    """
    p = np.asarray(probability, np.float64)[known]
    with np.errstate(divide="ignore"):
        logit = np.clip(np.log(p) - np.log1p(-p), LEVELS[0], LEVELS[-1])
    place = np.rint((logit - LEVELS[0]) / (LEVELS[1] - LEVELS[0])).astype(np.int64)
    inside = truth[known]
    return np.stack([np.bincount(place[inside == side], minlength=len(LEVELS)) for side in (False, True)])


def fit_pixels(counts: Sequence[npt.NDArray[np.int64]]) -> PixelCalibration | None:
    """Return the calibration of one structure, every picture counting the same; None where it cannot be fitted.

    It cannot where no picture shows the structure, or where it would turn the order of pixels round.

    Args:
        counts: Per picture, of `count_levels`.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> logit = rng.normal(0, 2, 20000)
        >>> truth = rng.random(20000) < 1 / (1 + np.exp(-(0.5 * logit - 1)))
        >>> found = fit_pixels([count_levels(1 / (1 + np.exp(-logit)), truth, np.ones(20000, bool))])
        >>> round(found.scale, 1), round(found.offset, 1)
        (0.5, -1.0)
    """
    shares = [c / c.sum() for c in counts if c.sum()]
    if not shares:
        return None
    whole = np.sum(shares, 0)
    if not whole[0].any() or not whole[1].any():
        return None
    rows = np.tile(LEVELS, 2)
    # As many as 100,000 pixels in all: the pull towards the identity is then too weak to bias the fit.
    weights = whole.ravel() / whole.sum() * 1e5
    scale, offset = fit_platt(rows, np.repeat([0.0, 1.0], len(LEVELS)), weights=weights)
    return PixelCalibration(scale=float(scale[0]), offset=offset) if scale[0] > 1e-3 else None
