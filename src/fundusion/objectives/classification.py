"""Losses of one head. Entries that are not annotated weigh nothing.

Source: focal, Lin et al. 2017, arXiv:1708.02002; logit adjustment, Menon et al. 2021, arXiv:2007.07314; asymmetric, Ridnik et al. 2021,
arXiv:2009.14119; CORN, Shi et al. 2023, doi:10.1007/s10044-023-01181-9; CORAL, Cao et al. 2020, doi:10.1016/j.patrec.2020.11.008.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.errors import InvalidInput
from ..core.interfaces import Batch, Loss
from ..core.registry import Card, objectives
from ..core.tasks import Task

HeadLoss = Callable[[Tensor, Tensor], Tensor]

WEIGHTINGS = ("none", "sqrt", "balanced")


def class_weights(counts: Sequence[float], weighting: str) -> Tensor:
    """Return a weight per class with mean one over the samples: inverse frequency, its square root, or one.

    Example:
        >>> class_weights([90, 10], "balanced").tolist()
        [0.5555555820465088, 5.0]
    """
    if weighting not in WEIGHTINGS:
        raise InvalidInput(f"weighting {weighting!r} is not one of {WEIGHTINGS}.")
    n = torch.tensor(counts, dtype=torch.float32).clamp_min(1)
    weight = {"none": n * 0 + 1, "sqrt": n**-0.5, "balanced": 1 / n}[weighting]
    return weight * n.sum() / (weight * n).sum()


def positive_weights(positives: Sequence[float], negatives: Sequence[float], weighting: str) -> Tensor:
    """Return the weight of a positive entry per label, at most 6 (sqrt) or 20 (balanced)."""
    if weighting not in WEIGHTINGS:
        raise InvalidInput(f"weighting {weighting!r} is not one of {WEIGHTINGS}.")
    ratio = torch.tensor(negatives, dtype=torch.float32).clamp_min(1) / torch.tensor(positives).clamp_min(1)
    if weighting == "none":
        return torch.ones_like(ratio)
    return ratio.sqrt().clamp(1, 6) if weighting == "sqrt" else ratio.clamp(1, 20)


def _nothing(logits: Tensor) -> Tensor:
    # A zero that still hangs on the graph, so that backward works on a batch without annotation.
    return logits.sum() * 0.0


def cross_entropy(logits: Tensor, target: Tensor, *, weight: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return the mean over annotated rows."""
    known = ~torch.isnan(target)
    if not bool(known.any()):
        return _nothing(logits)
    return F.cross_entropy(logits[known], target[known].long(), weight=weight, label_smoothing=smoothing)


def focal(logits: Tensor, target: Tensor, *, gamma: float = 2.0, weight: Tensor | None = None) -> Tensor:
    """Return the focal loss of a multi-class head, equation 5 of Lin et al."""
    known = ~torch.isnan(target)
    if not bool(known.any()):
        return _nothing(logits)
    log_p = F.log_softmax(logits[known], 1).gather(1, target[known].long()[:, None])[:, 0]
    each = -((1 - log_p.exp()) ** gamma) * log_p
    return each.mean() if weight is None else (each * weight[target[known].long()]).mean()


def logit_adjusted(logits: Tensor, target: Tensor, *, prior: Tensor, tau: float = 1.0) -> Tensor:
    """Return cross entropy of logits moved by the class prior, equation 10 of Menon et al."""
    return cross_entropy(logits + tau * torch.log(prior).to(logits.device), target)


def multilabel(logits: Tensor, target: Tensor, *, weight: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return binary cross entropy over known entries."""
    known = ~torch.isnan(target)
    if not bool(known.any()):
        return _nothing(logits)
    wanted = torch.nan_to_num(target) * (1 - smoothing) + smoothing / 2
    each = F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight, reduction="none")
    return (each * known).sum() / known.sum()


def asymmetric(
    logits: Tensor, target: Tensor, *, gamma_negative: float = 4.0, gamma_positive: float = 0.0, margin: float = 0.05
) -> Tensor:
    """Return the asymmetric loss over known entries, equation 5 of Ridnik et al."""
    known = ~torch.isnan(target)
    if not bool(known.any()):
        return _nothing(logits)
    wanted = torch.nan_to_num(target)
    p = torch.sigmoid(logits)
    shifted = (p - margin).clamp_min(0)
    positive = wanted * (1 - p) ** gamma_positive * torch.log(p.clamp_min(1e-8))
    negative = (1 - wanted) * shifted**gamma_negative * torch.log((1 - shifted).clamp_min(1e-8))
    return -((positive + negative) * known).sum() / known.sum()


def binary(logits: Tensor, target: Tensor, *, weight: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """Return binary cross entropy of a yes/no head."""
    return multilabel(logits, target[:, None], weight=weight, smoothing=smoothing)


def ordinal(logits: Tensor, target: Tensor, *, method: str = "corn", weight: Tensor | None = None) -> Tensor:
    """Return the CORN or CORAL loss over annotated rows.

    CORN: threshold k sees only studies of grade k or more. CORAL: every threshold sees every study.
    """
    known = ~torch.isnan(target)
    if not bool(known.any()):
        return _nothing(logits)
    z, y = logits[known], target[known]
    steps = torch.arange(z.shape[1], device=z.device)
    above = (y[:, None] > steps).float()
    asked = (y[:, None] >= steps).float() if method == "corn" else torch.ones_like(above)
    each = F.binary_cross_entropy_with_logits(z, above, reduction="none") * asked
    if weight is not None:
        each = each * weight.to(z.device)[y.long()][:, None]
    return each.sum() / asked.sum()


def regression(logits: Tensor, target: Tensor, *, center: float = 0.0, scale: float = 1.0) -> Tensor:
    """Return smooth L1 in scaled units over annotated rows."""
    known = ~torch.isnan(target)
    if not bool(known.any()):
        return _nothing(logits)
    return F.smooth_l1_loss(logits[known, 0], (target[known] - center) / scale)


def head_loss(
    task: Task, *, counts: Tensor | None = None, weighting: str = "none", name: str = "", smoothing: float = 0.0
) -> HeadLoss:
    """Return the loss that fits a task, weighted by the class counts of the training part.

    Args:
        task: What the head answers.
        counts: Per class `(K,)`; multi-label and binary `(K, 2)` known negatives and positives.
        weighting: "none", "sqrt" or "balanced".
        name: Override: "focal", "logit_adjusted", "asymmetric"; empty takes the usual one.
        smoothing: Label smoothing of cross entropies.
    """
    allowed = {"multiclass": ("focal", "logit_adjusted"), "multilabel": ("asymmetric",)}.get(task.kind, ())
    if name and name not in allowed:
        raise InvalidInput(
            f"loss {name!r} does not fit a {task.kind} task; it may be {list(allowed) or 'only the usual one'}."
        )
    if task.kind == "regression":
        return partial(regression, center=task.center, scale=task.scale)
    if task.kind in ("multilabel", "binary"):
        weight = None
        if counts is not None and weighting != "none":
            weight = positive_weights(counts[:, 1].tolist(), counts[:, 0].tolist(), weighting)
        if name == "asymmetric":
            return asymmetric
        return partial(multilabel if task.kind == "multilabel" else binary, weight=weight, smoothing=smoothing)
    weight = class_weights(counts.tolist(), weighting) if counts is not None and weighting != "none" else None
    if task.kind == "ordinal":
        return partial(ordinal, method=task.method, weight=weight)
    if name == "focal":
        return partial(focal, weight=weight)
    if name == "logit_adjusted":
        if counts is None:
            raise InvalidInput("logit adjustment needs the class counts of the training part.")
        return partial(logit_adjusted, prior=counts.clamp_min(1) / counts.clamp_min(1).sum())
    return partial(cross_entropy, weight=weight, smoothing=smoothing)


def _single(task_name: str, loss: HeadLoss) -> Callable[..., Loss]:
    def objective(network: Callable[..., object], batch: Batch, *, generator: torch.Generator | None = None) -> Loss:
        output = network(batch, generator=generator)
        value = loss(output.logits[task_name], batch.targets[task_name])
        return Loss(total=value, parts={task_name: value})

    return objective


@objectives.register("classification.default", Card(title="The usual loss of one task"))
def default(
    *,
    task_name: str,
    task: Task,
    counts: Tensor | None = None,
    weighting: str = "none",
    loss: str = "",
    smoothing: float = 0.0,
) -> Callable[..., Loss]:
    """Return the objective of one head."""
    return _single(task_name, head_loss(task, counts=counts, weighting=weighting, name=loss, smoothing=smoothing))
