"""Sets a segmenter is not trained on: what it does on another hospital's pictures is asked after training, never during."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.durable import write_json
from ..core.errors import InvalidInput
from ..metrics.statistics import bootstrap
from ..segmenting import Segmenter, load_segmenter, masks_of, square_probabilities
from .mask_data import MaskData, prepare_masks
from .run import Reporter
from .segmentation import SegmentConfig

#: Written into the run folder.
FILE = "unseen.json"


def without(config: SegmentConfig, names: Sequence[str]) -> SegmentConfig:
    """Return a configuration that leaves sets out of training and looks at them afterwards.

    Args:
        config: Of training.
        names: Of its sets.

    Raises:
        InvalidInput: A set that is not there, or none would be left (`config.invalid`).

    Example:
        >>> from fundusion.train.mask_data import MaskSet
        >>> both = SegmentConfig(classes=("vessel",), sets=(MaskSet(name="drive", root="a"), MaskSet(name="hrf", root="b")))
        >>> one = without(both, ["hrf"])
        >>> [s.name for s in one.sets], [s.name for s in one.unseen]
        (['drive'], ['hrf'])
    """
    known = [s.name for s in config.sets]
    unknown = [n for n in names if n not in known]
    if unknown or set(names) >= set(known):
        raise InvalidInput(
            f"{unknown[0]!r} is no set of this recipe." if unknown else "no set would be left to train on.",
            code="config.invalid",
            hint=f"Its sets are {', '.join(known)}.",
        )
    left_out = tuple(s for s in config.sets if s.name in names)
    kept = tuple(s for s in config.sets if s.name not in names)
    return config.model_copy(update={"sets": kept, "unseen": (*config.unseen, *left_out)})


def score_unseen(out: str | Path, config: SegmentConfig, *, reporter: Reporter | None = None) -> dict[str, Any]:
    """Return Dice per set and structure on every picture of the sets that were not trained on, and write it beside the weights.

    Masks are compared at the scale of training, at the thresholds of the segmenter, four mirror images averaged; the mean over pictures has a
    95 % interval over patients.

    Args:
        out: Run folder.
        config: Of training; `unseen` names the sets.
        reporter: As in training.

    Raises:
        InvalidInput: No picture of a set has one of the structures.
    """
    reporter = reporter or (lambda title: nullcontext(lambda *a, **k: None))
    segmenter, found = load_segmenter(out), {}
    for source in config.unseen:
        data = prepare_masks(
            (source,), segmenter.classes, field_px=config.scale_px, reporter=reporter, cache=config.cache
        )
        with reporter(f"segmenting {source.name}") as show:
            rows = []
            for i in range(len(data)):
                rows.append(_dice(segmenter, data, i))
                show(i + 1, len(data))
        scores = np.array(rows)
        found[source.name] = {
            name: _summary(scores[:, k], data.groups)
            for k, name in enumerate(segmenter.classes)
            if np.isfinite(scores[:, k]).any()
        }
    write_json(Path(out) / FILE, found)
    return found


def _dice(segmenter: Segmenter, data: MaskData, row: int) -> list[float]:
    """Return Dice per structure over known pixels; two empty masks agree, and what is not annotated has none."""
    pixels, target, known = data[row]
    values = square_probabilities(segmenter, pixels)
    masks = masks_of(segmenter, dict(zip(segmenter.classes, values, strict=True)))
    answer = []
    for k, name in enumerate(segmenter.classes):
        if not known[k].any():
            answer.append(float("nan"))
            continue
        mine, truth = masks[name] & known[k], (target[k] >= 0.5) & known[k]
        total = int(mine.sum()) + int(truth.sum())
        answer.append(1.0 if total == 0 else 2 * int((mine & truth).sum()) / total)
    return answer


def _summary(scores: npt.NDArray[np.float64], groups: Sequence[str]) -> dict[str, float | int | None]:
    known = np.flatnonzero(np.isfinite(scores))
    values = scores[known]
    found = bootstrap(
        lambda w: float(np.average(values, weights=w)), [groups[i] for i in known], generator=np.random.default_rng(0)
    )
    rounded = {k: None if v is None else round(v, 4) for k, v in (("dice", found.value), ("low", found.low), ("high", found.high))}  # fmt: skip
    return {"pictures": len(known), **rounded}
