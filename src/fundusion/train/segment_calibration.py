"""Calibration of a segmenter on the pictures its recipe holds out, written beside the weights; masks never change by it.

Source: Platt 1999 (scale and offset on logits); expected calibration error Guo et al. 2017, arXiv:1706.04599.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.durable import write_json
from ..core.errors import InvalidInput
from ..decision.calibration import sigmoid
from ..decision.pixel_calibration import LEVELS, PixelCalibration, count_levels, fit_pixels
from ..metrics.classification import expected_calibration_error
from ..segmenting import load_segmenter, square_probabilities
from .mask_data import MaskData, prepare_masks
from .run import Reporter
from .segmentation import SegmentConfig

Counts = npt.NDArray[np.int64]


def pixel_error(
    counts: Sequence[Counts],
    calibration: PixelCalibration | None = None,
    *,
    bins: int = 15,
    undecided: bool = False,
) -> float:
    """Return the expected calibration error over the pixels of some pictures.

    Args:
        counts: Per picture, of `count_levels`.
        calibration: Applied first; None takes the probabilities as they are.
        bins: Of equal mass.
        undecided: Only pixels whose probability was 0.05 to 0.95 before calibration: most pixels are clearly background and hide the rest.

    Example:
        >>> counts = np.zeros((2, len(LEVELS)), int)
        >>> counts[:, len(LEVELS) // 2] = 3, 1
        >>> pixel_error([counts])
        0.25
    """
    whole = np.sum(counts, 0)
    kept = np.abs(LEVELS) <= np.log(19.0) if undecided else np.ones(len(LEVELS), np.bool_)
    p = sigmoid(LEVELS) if calibration is None else calibration(sigmoid(LEVELS)).astype(np.float64)
    # One entry per level: pixels of one probability must not be told apart by their truth.
    total = whole.sum(0)[kept]
    share = whole[1][kept] / np.maximum(total, 1)
    found = expected_calibration_error(share, p[kept], bins=bins, weight=total)
    return found if isinstance(found, float) else float("nan")


def left_out_counts(counts: Sequence[Counts], groups: Sequence[str], *, undecided: bool = False) -> list[Counts]:
    """Return the pixels of every picture at the levels that a calibration fitted on all other patients moves them to.

    Args:
        counts: Per picture, of `count_levels`.
        groups: Patient of each.
        undecided: Only pixels whose probability was 0.05 to 0.95 before.
    """
    fitted = {g: fit_pixels([c for c, h in zip(counts, groups, strict=True) if h != g]) for g in set(groups)}
    moved: list[Counts] = []
    for one, group in zip(counts, groups, strict=True):
        kept = np.where(np.abs(LEVELS) <= np.log(19.0), one, 0) if undecided else one
        by = fitted[group]
        moved.append(kept if by is None else _moved(kept, by))
    return moved


def left_out_error(counts: Sequence[Counts], groups: Sequence[str], *, undecided: bool = False) -> float:
    """Return the calibration error over all pixels when every patient is calibrated without being fitted on."""
    return pixel_error(left_out_counts(counts, groups, undecided=undecided))


def no_better_for(counts: Sequence[Counts], groups: Sequence[str]) -> list[str]:
    """Return the public sets whose patients are no better for a calibration fitted on all others: sets are not drawn by one rule.

    A set with fewer than three patients is too small to judge by.

    Args:
        counts: Per picture, of `count_levels`.
        groups: Set and patient of each, "drive/21".
    """
    moved = left_out_counts(counts, groups)
    worse = []
    for name in sorted({g.partition("/")[0] for g in groups}):
        mine = [i for i, g in enumerate(groups) if g.partition("/")[0] == name]
        if len({groups[i] for i in mine}) < 3:
            continue
        if pixel_error([moved[i] for i in mine]) >= pixel_error([counts[i] for i in mine]):
            worse.append(name)
    return worse


def _moved(counts: Counts, by: PixelCalibration) -> Counts:
    step = LEVELS[1] - LEVELS[0]
    places = np.clip(np.rint((by.scale * LEVELS + by.offset - LEVELS[0]) / step), 0, len(LEVELS) - 1).astype(np.int64)
    return np.stack([np.bincount(places, row, minlength=len(LEVELS)) for row in counts]).astype(np.int64)


def calibrate_segmenter(
    folder: str | Path,
    config: SegmentConfig,
    *,
    data: MaskData | None = None,
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Fit the calibration of a trained segmenter on the pictures that its recipe holds out, and write it into `segmenter.json`.

    Args:
        folder: With `segmenter.json` and its weights.
        config: The recipe it was trained by.
        data: Its pictures, if they were read already.
        reporter: Called with a title; gives a context whose value is called with (done, total, counts).

    Returns:
        Per structure scale, offset, and the calibration error before, after, and with every patient left out in turn; or why there is none.

    Raises:
        InvalidInput: The recipe is of another segmenter.
    """
    reporter = reporter or (lambda title: nullcontext(lambda *a, **k: None))
    segmenter = load_segmenter(Path(folder))
    if not set(segmenter.classes) <= set(config.classes) or segmenter.field_px != config.scale_px:
        raise InvalidInput(
            f"the segmenter draws {', '.join(segmenter.classes)} at {segmenter.field_px} px, the recipe "
            f"{', '.join(config.classes)} at {config.scale_px} px.",
            code="config.invalid",
            hint="Give the recipe it was trained by.",
        )
    if data is None:
        data = prepare_masks(
            config.sets, config.classes, field_px=config.scale_px, cache=config.cache, reporter=reporter
        )
    rows = np.flatnonzero(data.held_out(config.validation_fraction, seed=config.train.seed))
    counts: dict[str, list[Counts]] = {c: [] for c in segmenter.classes}
    groups: dict[str, list[str]] = {c: [] for c in segmenter.classes}
    with reporter("calibrating") as show:
        for number, row in enumerate(rows, 1):
            pixels, target, known = data[row]
            found = square_probabilities(segmenter, pixels)
            # Outside the field of view everything is black and nothing is asked.
            seen = pixels.max(2) > 8
            for k, name in enumerate(segmenter.classes):
                place = config.classes.index(name)
                judged = known[place] & seen
                if judged.any():
                    counts[name].append(count_levels(found[k], target[place] >= 0.5, judged))
                    groups[name].append(data.groups[row])
            show(number, len(rows), {})
    report: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    for name, mine in counts.items():
        fitted = fit_pixels(mine)
        if fitted is None or len(set(groups[name])) < 2:
            report[name] = {"reason": "fewer than two held-out patients, or none of them shows it"}
            continue
        made = {"scale": round(fitted.scale, 5), "offset": round(fitted.offset, 5)}
        report[name] = {
            **made,
            "pictures": len(mine),
            "ece": round(pixel_error(mine), 5),
            "ece_calibrated": round(pixel_error(mine, fitted), 5),
            "ece_left_out": round(left_out_error(mine, groups[name]), 5),
        }
        worse = no_better_for(mine, groups[name])
        if worse:
            report[name]["reason"] = f"patients of {', '.join(worse)} that it was not fitted on are no better for it"
        else:
            kept[name] = made
    path = Path(folder) / "segmenter.json"
    facts = json.loads(path.read_text("utf-8"))
    write_json(path, {**{k: v for k, v in facts.items() if k != "calibration"}, "calibration": kept})
    return report
