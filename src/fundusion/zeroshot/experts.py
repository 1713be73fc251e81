"""Zero-shot answers as one more expert of late fusion, beside networks that were trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ..core.errors import InvalidInput
from ..core.tasks import Task
from ..decision.calibration import Calibration, fit_platt_shared, probabilities_from_logits
from ..fusion.late import Late
from ..train.evaluation import events_of

Array = npt.NDArray[np.float64]


def expert_logits(task: Task, labels: Sequence[str], logits: npt.ArrayLike) -> Array:
    """Return zero-shot logits as logits of the kind that a head of a task gives, `(n, task.outputs)`.

    Args:
        task: Of the trained heads.
        labels: Of the zero-shot question; the same as those of the task, in any order.
        logits: `(n, K)`: of exclusive labels, or log odds per label for a multi-label task.

    Raises:
        InvalidInput: Other labels, or a regression.

    Source:
        Ordinal: with exclusive classes P(y > k | y >= k) has the log odds logsumexp(z_j, j > k) - z_k (CORN, Shi et al. 2023,
        doi:10.1007/s10044-023-01181-9), and P(y > k) the log odds of the sums above and up to k (CORAL).

    Example:
        >>> from fundusion.core.tasks import Binary
        >>> expert_logits(Binary(), ["no", "yes"], [[1.0, 3.0]]).tolist()
        [[2.0]]
    """
    z = np.atleast_2d(np.asarray(logits, np.float64))
    if task.kind == "regression" or sorted(labels) != sorted(task.labels) or z.shape[1] != len(labels):
        raise InvalidInput(
            f"the question has the labels {', '.join(labels)}, the {task.kind} task has {', '.join(task.labels) or 'none'}.",
            code="zeroshot.other_labels",
            hint="Ask the set of labels that the task has.",
        )
    z = z[:, [list(labels).index(k) for k in task.labels]]
    if task.kind == "binary":
        return z[:, 1:] - z[:, :1]
    if task.kind != "ordinal":
        return z
    steps = range(len(task.labels) - 1)
    above = np.stack([_log_sum_exp(z[:, k + 1 :]) for k in steps], 1)
    if task.method == "corn":
        return above - z[:, :-1]
    return above - np.stack([_log_sum_exp(z[:, : k + 1]) for k in steps], 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertFusion:
    """Late fusion of experts that answer one task, each calibrated alone.

    Args:
        name: Of the task.
        task: All experts answer it.
        alone: Expert to its calibration.
        late: Weights of the sum.
    """

    name: str
    task: Task
    alone: Mapping[str, Calibration]
    late: Late

    def combine(self, logits: Mapping[str, npt.ArrayLike], present: Mapping[str, npt.ArrayLike] | None = None) -> Array:
        """Return fused logits `(n, outputs)`.

        Args:
            logits: Expert to `(n, outputs)`; rows of an absent expert may hold anything.
            present: Expert to bool `(n,)`; an expert without an entry answered all.

        Raises:
            InvalidInput: A study has no expert (`study.empty`), or an expert is not known.
        """
        unknown = sorted(set(logits) - set(self.alone))
        if unknown:
            raise InvalidInput(
                f"expert {unknown[0]!r} was not there when the fusion was fitted.", code="modality.unknown"
            )
        scaled, there = {}, {}
        for expert, given in logits.items():
            z = np.atleast_2d(np.asarray(given, np.float64))
            fit = self.alone[expert]
            known = (
                np.ones(len(z), bool)
                if (present or {}).get(expert) is None
                else np.asarray((present or {})[expert], bool)
            )
            scaled[expert] = torch.from_numpy(
                np.where(known[:, None], z * np.asarray(fit.scale) + np.asarray(fit.bias), 0.0)
            )
            there[expert] = torch.from_numpy(known)
        with torch.no_grad():
            fused = self.late.combine(self.name, scaled, there)
        return np.asarray(fused.double().numpy(), np.float64)

    def probabilities(
        self, logits: Mapping[str, npt.ArrayLike], present: Mapping[str, npt.ArrayLike] | None = None
    ) -> Array:
        """Return probabilities of the labels; arguments as in `combine`."""
        return probabilities_from_logits(self.task, self.combine(logits, present))


def fit_expert_fusion(
    name: str,
    task: Task,
    logits: Mapping[str, npt.ArrayLike],
    targets: npt.ArrayLike,
    *,
    present: Mapping[str, npt.ArrayLike] | None = None,
    ridge: float = 3.0,
) -> ExpertFusion:
    """Return the late fusion of experts, fitted on held-out studies: each alone first, then the weights of their sum.

    Args:
        name: Of the task.
        task: All experts answer it.
        logits: Expert to `(n, outputs)`, for instance {"cfp": those of a network, "zeroshot": those of `expert_logits`}.
        targets: `(n,)` or `(n, K)`; NaN means not annotated.
        present: Expert to bool `(n,)`; without an entry it answered all.
        ridge: Pull of the weights to one.

    Source:
        As `train.calibrate.fit_reliability`: stacking, Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1.
    """
    if not logits:
        raise InvalidInput("there is no expert to fuse.", code="study.empty")
    events = events_of(task, np.asarray(targets, np.float64))
    late = Late(tuple(logits), {name: task})
    alone: dict[str, Calibration] = {}
    calibrated, there = {}, {}
    for expert in late.modalities:
        z = np.atleast_2d(np.asarray(logits[expert], np.float64))
        given = (present or {}).get(expert)
        there[expert] = np.ones(len(z), bool) if given is None else np.asarray(given, bool)
        safe = np.where(there[expert][:, None], z, 0.0)
        (scale,), biases = fit_platt_shared(safe[:, :, None], np.where(there[expert][:, None], events, np.nan))
        alone[expert] = Calibration(
            scale=(float(scale),) * z.shape[1], bias=tuple(float(b) for b in biases), n=int(there[expert].sum())
        )
        calibrated[expert] = np.where(there[expert][:, None], safe * scale + biases, 0.0)
    several = np.sum([there[m] for m in late.modalities], 0) > 1
    y = np.where(several[:, None], events, np.nan)
    if not np.isnan(y).all():
        weights, biases = fit_platt_shared(np.stack([calibrated[m] for m in late.modalities], 2), y, ridge=ridge)
        with torch.no_grad():
            for i, weight in enumerate(weights):
                late.reliability[name][i] = float(np.log(np.expm1(max(weight, 1e-3))))
                late.offset[name][i] = torch.from_numpy(biases / len(late.modalities)).float()
    return ExpertFusion(name=name, task=task, alone=alone, late=late)


def _log_sum_exp(x: Array) -> Array:
    top = x.max(1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(np.exp(x - top).sum(1)), np.float64)
