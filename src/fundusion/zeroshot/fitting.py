"""A few labelled eyes -> calibration, thresholds and prediction sets of a zero-shot question."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..core.durable import write_json
from ..core.errors import FundusionError, InvalidInput, ReadError
from ..core.study import StudyRecord
from ..core.tasks import Task
from ..datasets._splits import position_of
from ..decision.calibration import Calibration, fit_calibration, fit_vector_scaling
from ..decision.conformal import Conformal, fit_conformal, least_eyes
from ..decision.operating_point import fit_thresholds
from ..metrics.classification import Undefined, auroc, macro
from ..transforms.targets import encode_label

if TYPE_CHECKING:
    from .answers import ZeroShot

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What labelled eyes taught, and for which model and question.

    Args:
        signature: Of the `ZeroShot` it was fitted for.
        calibration: Scale and bias of logits.
        thresholds: Per label, multi-label only.
        conformal: Limits of prediction sets; None when none were asked for.
        facts: Numbers of eyes and patients, what was left out, how well the labels are told apart.
    """

    signature: Mapping[str, Any]
    calibration: Calibration
    thresholds: Mapping[str, float] = field(default_factory=dict)
    conformal: Conformal | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def probabilities(self, task: Task, logits: npt.ArrayLike) -> Array:
        """Return calibrated probabilities `(B, K)`."""
        return self.calibration.apply(task, logits)

    def check(self, signature: Mapping[str, Any]) -> None:
        """Raise unless the fit belongs to a model and a question.

        Raises:
            InvalidInput: `zeroshot.other_fit`, with what differs.
        """
        wrong = [k for k in signature if self.signature.get(k) != signature[k]]
        if wrong:
            raise InvalidInput(
                f"the calibration was fitted for another {', '.join(w.replace('_', ' ') for w in wrong)}.",
                code="zeroshot.other_fit",
                hint="Fit it again with --calibrate and the same model, labels and options.",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "signature": dict(self.signature),
            "calibration": self.calibration.to_dict(),
            "thresholds": dict(self.thresholds),
            "conformal": None if self.conformal is None else self.conformal.to_dict(),
            "facts": dict(self.facts),
        }

    def digest(self) -> str:
        """Return a digest of the numbers."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def save(self, path: str | Path) -> None:
        """Write it as JSON."""
        write_json(path, self.to_dict())

    @staticmethod
    def load(path: str | Path) -> Fit:
        """Return a saved fit.

        Raises:
            ReadError: No such file, or not a fit.
        """
        try:
            value = json.loads(Path(path).read_text("utf-8"))
            return Fit(
                signature=value["signature"],
                calibration=Calibration.from_dict(value["calibration"]),
                thresholds=value["thresholds"],
                conformal=Conformal.from_dict(value["conformal"]) if value["conformal"] else None,
                facts=value["facts"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReadError(
                f"{Path(path).name!r} holds no calibration of a zero-shot question.",
                code="zeroshot.fit_unreadable",
                hint="It is the calibration.json that `fundusion zeroshot --calibrate` writes.",
            ) from error


def fit_zeroshot(
    asked: ZeroShot,
    records: Sequence[StudyRecord],
    *,
    coverage: float | None = 0.9,
    seed: int = 0,
    progress: Callable[..., None] | None = None,
) -> Fit:
    """Return the fit of a question from labelled eyes.

    With prediction sets the patients are divided: half teach the calibration, half the limits of the sets, because limits from eyes that
    were calibrated on are too narrow.

    Args:
        asked: Without a fit.
        records: With the label that the question has in tables.
        coverage: Of prediction sets; None makes none and calibrates on all.
        seed: Of the division.
        progress: Called with (done, total, counts).

    Raises:
        InvalidInput: No labelled eye can be used (`zeroshot.no_labels`).
    """
    logits, targets, groups, rejected = labelled_logits(asked, records, progress=progress)
    task = asked.question.task
    first = np.ones(len(groups), bool)
    if coverage is not None:
        first = np.asarray([position_of(g, seed=seed) < 0.5 for g in groups])
        if first.all() or not first.any():
            # One side would be empty; the sets then keep every label, and say so by their counts.
            first[:] = True
    calibration = calibrate(task, logits[first], targets[first])
    p = calibration.apply(task, logits)
    conformal = None
    if coverage is not None:
        rest = ~first
        conformal = fit_conformal(
            task, p[rest].reshape(-1, len(task.labels)), targets[rest], groups=[g for g, r in zip(groups, rest, strict=True) if r],
            coverage=coverage, seed=seed,
        )  # fmt: skip
    facts = {
        "eyes": len(groups),
        "patients": len(set(groups)),
        "calibrated_on": int(first.sum()),
        "rejected": rejected,
        "macro_auroc": _macro_auroc(task, p, targets),
        **({"least_patients_for_sets": least_eyes(coverage)} if coverage is not None else {}),
    }
    return Fit(
        signature=asked.signature,
        calibration=calibration,
        thresholds=fit_thresholds(task, p[first], targets[first]),
        conformal=conformal,
        facts=facts,
    )


def calibrate(task: Task, logits: Array, targets: Array) -> Calibration:
    """Return the calibration of few eyes: levels and one scale of exclusive labels, level and scale of each other label.

    A label with ten eyes that all have it is not certain: 0 and 1 are taken for the rates that one more eye of each kind would give.

    Source:
        Platt 1999, section 2.2: targets (n1 + 1) / (n1 + 2) and 1 / (n0 + 2).
    """
    if task.kind == "multiclass":
        return fit_vector_scaling(logits, targets)
    ones, zeros = (targets == 1).sum(0), (targets == 0).sum(0)
    smooth = np.where(targets == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    return fit_calibration(task, logits, np.where(np.isnan(targets), np.nan, smooth))


def labelled_logits(
    asked: ZeroShot, records: Sequence[StudyRecord], *, progress: Callable[..., None] | None = None
) -> tuple[Array, Array, list[str], dict[str, int]]:
    """Return logits `(n, K)`, targets, patients, and how many records were left out for which reason.

    Raises:
        InvalidInput: None is left (`zeroshot.no_labels`).
    """
    task, name = asked.question.task, asked.question.label_in_tables
    prepare = asked.preparer()
    rows: list[Array] = []
    targets: list[Any] = []
    groups: list[str] = []
    rejected: dict[str, int] = {}
    for done, record in enumerate(records, 1):
        if progress:
            progress(done, len(records), {"labelled": len(groups)})
        try:
            value = encode_label(task, record.labels.get(name))
            if np.isnan(value).all():
                raise InvalidInput("no label.", code="label.missing")
            item = prepare(record)
        except FundusionError as error:
            rejected[error.code] = rejected.get(error.code, 0) + 1
            continue
        pictures = np.stack([i.pixels for i in item.prepared.images[asked.question.modality]])
        rows.append(asked.logits(pictures).mean(0))
        targets.append(value)
        groups.append(record.group)
    if not groups:
        known = sorted({k for r in records for k in r.labels})
        raise InvalidInput(
            f"none of {len(records)} studies has a usable picture and a label {name!r}.",
            code="zeroshot.no_labels",
            hint=f"Labels there are: {', '.join(known) or 'none'}; left out: "
            + (", ".join(f"{n} x {code}" for code, n in rejected.items()) or "none")
            + ". --task names the column.",
        )
    return np.stack(rows), np.asarray(targets, np.float64), groups, rejected


def _macro_auroc(task: Task, p: Array, targets: Array) -> float | None:
    """Return the mean over labels that have both kinds of eyes; None when there is none."""
    events = targets if task.kind == "multilabel" else (targets[:, None] == np.arange(len(task.labels))).astype(float)
    if task.kind != "multilabel":
        events[np.isnan(targets)] = np.nan
    value = macro([auroc(events[:, k], p[:, k]) for k in range(p.shape[1])])
    return None if isinstance(value, Undefined) else float(value)
