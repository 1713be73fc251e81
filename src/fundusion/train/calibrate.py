"""What is fitted on held-out patients: reliability of modalities, calibration, thresholds, and what each modality adds."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ..core.interfaces import Features
from ..core.tasks import Task
from ..decision.calibration import Calibration, fit_calibration, fit_platt_shared, probabilities_from_logits
from ..decision.operating_point import fit_thresholds
from ..fusion.late import Late
from ..metrics.classification import Undefined, auroc, macro
from ..network import MultimodalNetwork
from ..quality.degradations import KINDS, UNGRADABLE_FROM, degrade
from .config import TrainConfig
from .data import PreparedSet
from .evaluation import Encoded, encode_rows, events_of, fuse_subset
from .experts import fit_linear_experts

Array = npt.NDArray[np.float64]


def calibrate(
    network: MultimodalNetwork,
    data: PreparedSet,
    held_out: npt.NDArray[np.int64],
    training: npt.NDArray[np.int64],
    *,
    config: TrainConfig,
) -> dict[str, Any]:
    """Return the facts that travel with the weights; a late fusion gets its reliabilities on the way.

    Args:
        network: Trained, in evaluation mode; changed only when its fusion is `late`.
        data: With all studies.
        held_out: Rows that were not trained on.
        training: Rows that were.
        config: Of the run.
    """
    fit_linear_experts(network, data, training)
    encoded = encode_rows(network, data, held_out)
    targets = {n: np.asarray(data.targets[n][held_out], np.float64) for n in network.spec.tasks}
    extra = _spoilt(network, data, held_out, config) if "gradable" in targets and config.augment.degrade > 0 else None
    if extra is not None:
        encoded, targets = _joined(encoded, targets, *extra)
    if isinstance(network.fusion, Late):
        fit_reliability(network, encoded, targets)
    full = fuse_subset(network, encoded, network.modalities)
    calibration: dict[str, Any] = {}
    thresholds: dict[str, Any] = {}
    for name, task in network.spec.tasks.items():
        if task.kind == "regression":
            continue
        if isinstance(network.fusion, Late):
            # Its logits are calibrated for every set of modalities already.
            p = probabilities_from_logits(task, full[name])
        else:
            fitted: Calibration = fit_calibration(task, full[name], targets[name])
            calibration[name] = fitted.to_dict()
            p = fitted.apply(task, full[name])
        found = fit_thresholds(
            task, p, targets[name], rule=config.model.threshold_rule, value=config.model.threshold_value
        )
        if found:
            thresholds[name] = found
    return {
        "required": list(config.model.required),
        "calibration": calibration,
        "thresholds": thresholds,
        "prevalence": {
            n: prevalence(t, data.targets[n][training]) for n, t in network.spec.tasks.items() if t.kind != "regression"
        },
        "would_add": would_add(network, encoded, targets),
        "split": {
            "validation_fraction": config.data.validation_fraction,
            "seed": config.data.seed,
            "sets": [{"name": c.name} for c in config.data.sets],
        },
        "card": {
            "title": config.model.title,
            "version": config.model.version,
            "modalities": list(network.modalities),
            "training_data": list(config.model.training_data),
            "terms": config.model.terms,
            **(
                {"warning": "patients may be both trained on and held out"} if config.data.allow_patient_overlap else {}
            ),
            "studies": {"trained on": len(training), "held out": len(held_out)},
        },
    }


def prevalence(task: Task, targets: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return the share of annotated studies per label; of "at least this grade" for an ordinal task."""
    y = np.asarray(targets, np.float64)
    if task.kind == "multilabel":
        return {k: float(np.nanmean(y[:, i])) for i, k in enumerate(task.labels) if not np.isnan(y[:, i]).all()}
    known = y[~np.isnan(y)]
    if len(known) == 0:
        return {}
    if task.kind == "ordinal":
        return {k: float((known >= i).mean()) for i, k in enumerate(task.labels)}
    return {k: float((known == i).mean()) for i, k in enumerate(task.labels)}


@torch.no_grad()
def fit_reliability(
    network: MultimodalNetwork, encoded: Encoded, targets: Mapping[str, Array], *, ridge: float = 3.0
) -> None:
    """Fit a scale and biases of each modality alone, then the weights of their sum, and write them into the network.

    The first makes a study with one modality calibrated, the second a study with several; weights of the sum are shared by
    the outputs of a task, with a bias each. Both are logistic fits pulled towards "each as it is, log-odds added".

    Source: stacking, Wolpert 1992, doi:10.1016/S0893-6080(05)80023-1; Platt 1999.
    """
    names = network.fusion.modalities
    there = {m: encoded.presence[m].numpy() for m in names}
    for task_name, task in network.spec.tasks.items():
        if task.kind == "regression":
            continue
        events = events_of(task, targets[task_name])
        alone: dict[str, Array] = {}
        for modality in names:
            head = network.heads[task_name][modality].linear
            logits = network.heads[task_name][modality](encoded.features[modality].pooled).double().numpy()
            if not network.heads[task_name][modality].is_coral:
                y = np.where(there[modality][:, None], events, np.nan)
                (scale,), biases = fit_platt_shared(logits[:, :, None], y)
                head.weight *= float(scale)
                head.bias.copy_(head.bias * float(scale) + torch.from_numpy(biases).float())
                logits = logits * scale + biases
            alone[modality] = np.where(there[modality][:, None], logits, 0.0)
        several = np.sum([there[m] for m in names], 0) > 1
        y = np.where(several[:, None], events, np.nan)
        if np.isnan(y).all():
            continue
        weights, biases = fit_platt_shared(np.stack([alone[m] for m in names], 2), y, ridge=ridge)
        for i, weight in enumerate(weights):
            network.fusion.reliability[task_name][i] = float(np.log(np.expm1(max(weight, 1e-3))))
            network.fusion.offset[task_name][i] = torch.from_numpy(biases / len(names)).float()


def would_add(network: MultimodalNetwork, encoded: Encoded, targets: Mapping[str, Array]) -> dict[str, str]:
    """Return per modality a sentence: what it added to the others on held-out patients."""
    if len(network.modalities) < 2:
        return {}
    sentences = {}
    complete = torch.stack([encoded.presence[m] for m in network.modalities]).all(0).numpy()
    if complete.sum() < 20:
        return {}
    for modality in network.modalities:
        others = [m for m in network.modalities if m != modality]
        gains = []
        full, reduced = fuse_subset(network, encoded, network.modalities), fuse_subset(network, encoded, others)
        for name, task in network.spec.tasks.items():
            if task.kind == "regression" or name == "gradable":
                continue
            events = events_of(task, targets[name])[complete]
            for k in range(events.shape[1]):
                a, b = auroc(events[:, k], full[name][complete, k]), auroc(events[:, k], reduced[name][complete, k])
                if not isinstance(a, Undefined) and not isinstance(b, Undefined):
                    gains.append(a - b)
        gain = macro(list(gains))
        if not isinstance(gain, Undefined):
            sentences[modality] = f"on held-out patients it added {gain:+.3f} AUROC on average"
    return sentences


def _spoilt(
    network: MultimodalNetwork, data: PreparedSet, rows: npt.NDArray[np.int64], config: TrainConfig
) -> tuple[Encoded, dict[str, Array]] | None:
    """Return the held-out studies with spoilt photographs, whose only known label is "ungradable"."""
    stored = data.images.get("cfp")
    if stored is None or stored.ndim != 4:
        return None
    from dataclasses import replace

    generator = np.random.default_rng(config.train.seed + 5)
    index = np.unique(np.concatenate([np.arange(data.starts["cfp"][r], data.starts["cfp"][r + 1]) for r in rows]))
    pictures = {}
    for i, kind in zip(index, itertools.cycle(KINDS), strict=False):
        severity = float(generator.uniform(min(1.0, UNGRADABLE_FROM[kind] + 0.1), 1.0))
        pictures[int(i)] = degrade(stored[i], kind, severity, generator)
    changed = np.array(stored, copy=True)
    for i, picture in pictures.items():
        changed[i] = picture
    spoilt = encode_rows(network, replace(data, images={**data.images, "cfp": changed}), rows)
    targets = {}
    for name in network.spec.tasks:
        y = np.full(data.targets[name][rows].shape, np.nan)
        targets[name] = np.zeros(len(rows)) if name == "gradable" else y
    return spoilt, targets


def _joined(
    one: Encoded, one_targets: Mapping[str, Array], two: Encoded, two_targets: Mapping[str, Array]
) -> tuple[Encoded, dict[str, Array]]:
    first = dict(one_targets)
    y = first["gradable"]
    first["gradable"] = np.where(np.isnan(y), 1.0, y)
    features = {
        m: Features(pooled=torch.cat([f.pooled, two.features[m].pooled]), tokens=_cat(f.tokens, two.features[m].tokens),
                    token_mask=_cat(f.token_mask, two.features[m].token_mask))
        for m, f in one.features.items()
    }  # fmt: skip
    presence = {m: torch.cat([p, two.presence[m]]) for m, p in one.presence.items()}
    targets = {n: np.concatenate([y, two_targets[n]]) for n, y in first.items()}
    return Encoded(features=features, presence=presence), targets


def _cat(one: torch.Tensor | None, two: torch.Tensor | None) -> torch.Tensor | None:
    return None if one is None or two is None else torch.cat([one, two])
