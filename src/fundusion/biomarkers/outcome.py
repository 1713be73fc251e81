"""What a measuring function hands on: a number with what is known of its error, or the reason why there is none."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

#: Stable codes of failures and remarks, with a sentence for a person.
REASONS = {
    "mask.absent": "The mask this needs was not given.",
    "mask.empty": "The mask is empty.",
    "mask.full": "The mask covers more than any vessel tree does; it is no vessel mask (a photograph, say), or inverted.",
    "mask.size": "The mask has another size than the others of this eye.",
    "mask.unsure": "With another threshold of the probability map there would be no value.",
    "mask.unproven": "The segmenter that made the mask says that it is often wrong about this structure in pictures of other cameras.",
    "mask.shape": "The mask is not two-dimensional.",
    "mask.values": "The mask holds values that are not numbers.",
    "vessels.none": "No vessel is long enough to be measured.",
    "vessels.few": "Fewer vessels cross the zone than the formula needs (six) on most circles.",
    "vessels.no_branching": "No branching was found that can be measured.",
    "vessels.no_arcade": "No pair of vessels leaves the disc above and below on the temporal side on most circles.",
    "vessels.too_small": "The vessels span too few pixels for boxes of four sizes.",
    "zone.outside": "Less than 60 % of the outer circle of zone B (40 % of zone C) lie in the field.",
    "disc.absent": "There is no optic disc to measure from.",
    "disc.several": "The disc mask holds two discs.",
    "disc.clipped": "The disc touches the border of the picture or of the field.",
    "disc.shape": "The disc mask has no shape of a disc: it covers less than 60 % of its ellipse.",
    "disc.size": "The disc is smaller than 8 px or larger than half of the picture.",
    "cup.absent": "There is no optic cup to measure.",
    "cup.outside": "The cup lies outside of the disc.",
    "fovea.absent": "The place of the fovea is not known.",
    "fovea.found": "The fovea was found in the picture as its dark place without vessels; nobody stated it.",
    "fovea.outside": "The fovea lies outside of the picture or of the field.",
    "fovea.side": "The disc lies in the middle of the picture and the eye is not stated, so that the side of the fovea is not known.",
    "fovea.unsure": "No dark place was found where the fovea should be.",
    "fovea.distance": "Disc and fovea are closer than 1 or further apart than 5 disc diameters; one of them is wrong.",
    "laterality.absent": "Neither the eye nor the fovea is known, so that nasal and temporal cannot be told apart.",
    "laterality.contradiction": "The fovea lies on the other side of the disc than in the eye that is stated.",
    "lesions.touching": "Some marks have waists: lesions that touch are counted as one, so that the number is a lower bound.",
    "scale.absent": "Neither the pixel spacing nor a disc is known; lengths have no unit.",
    "scale.circular": "The scale was taken from the disc, so that the size of the disc itself is not a measurement.",
    "scale.no_micrometres": "The formula holds for micrometres only, and the spacing is not known.",
    "scale.estimated": "Micrometres by the assumption that a disc is 1850 um wide.",
    "field.absent": "No mask of the field was given; the whole picture counts as field.",
    "quality.ungradable": "The picture was judged ungradable.",
    "measure.undefined": "The formula has no finite value for these vessels.",
    "idp.few_votes": "Fewer than three of the six circles agree on an angle.",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """A number or a failure.

    Args:
        value: None where it failed.
        n: Number of segments, points or circles behind the number.
        error: Half-width of one standard error; None where none can be given.
        failure: Code of `REASONS`.
        flags: Codes of remarks.
    """

    value: float | None
    n: int | None = None
    error: float | None = None
    failure: str | None = None
    flags: tuple[str, ...] = ()

    def times(self, factor: float) -> Outcome:
        """Return the number in another unit."""
        if self.value is None:
            return self
        return replace(self, value=self.value * factor, error=None if self.error is None else self.error * factor)

    def flagged(self, *flags: str) -> Outcome:
        """Return the number with more remarks; a failure needs none."""
        return self if self.value is None else replace(self, flags=tuple(dict.fromkeys((*self.flags, *flags))))


def failed(code: str, n: int | None = None) -> Outcome:
    """Return a failure.

    Example:
        >>> failed("mask.empty").value is None
        True
    """
    return Outcome(None, n=n, failure=code)


def finite(value: float, n: int | None = None, error: float | None = None) -> Outcome:
    """Return a number, or the failure `measure.undefined` where it is none.

    Example:
        >>> finite(float("nan")).failure, finite(2).value
        ('measure.undefined', 2.0)
    """
    if not math.isfinite(value):
        return failed("measure.undefined", n)
    return Outcome(float(value), n=n, error=float(error) if error is not None and math.isfinite(error) else None)


def median_of(values: npt.NDArray[np.float64], absent: str) -> Outcome:
    """Return the median with its standard error, from the spread between the quartiles.

    Args:
        values: `(N,)`; none gives the failure `absent`.
        absent: Code.

    Source:
        Standard error of a median, 1.253 s / sqrt(N), with s = (quartile range) / 1.349: McGill, Tukey, Larsen 1978, doi:10.1080/00031305.1978.10479236.

    Example:
        >>> median_of(np.array([1.0, 2.0, 4.0]), "vessels.none").value
        2.0
    """
    n = len(values)
    if n == 0:
        return failed(absent, 0)
    low, middle, high = np.percentile(values, [25, 50, 75])
    return finite(float(middle), n, 1.253 * (high - low) / 1.349 / math.sqrt(n) if n >= 4 else None)


def mean_of(values: npt.NDArray[np.float64], absent: str, weights: npt.NDArray[np.float64] | None = None) -> Outcome:
    """Return the mean, weighted where weights are given, with its standard error.

    Example:
        >>> mean_of(np.array([1.0, 3.0]), "vessels.none", np.array([3.0, 1.0])).value
        1.5
    """
    n = len(values)
    if n == 0:
        return failed(absent, 0)
    share = np.full(n, 1 / n) if weights is None else weights / weights.sum()
    mean = float(share @ values)
    error = math.sqrt(float(share**2 @ (values - mean) ** 2) * n / (n - 1)) if n >= 4 else None
    return finite(mean, n, error)
