"""Prepared studies -> predictions, shares and maps: the only way from tensors back to plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from .core.errors import FundusionError
from .core.interfaces import Batch, Features, NetworkOutput
from .core.results import Explanation, Prediction
from .core.tasks import Task
from .core.vocabulary import REFERABLE_ICDR_GRADE, TABLE, TEXT
from .decision.calibration import Calibration, probabilities_from_logits
from .decision.operating_point import decide
from .explain.cam import class_activation_maps
from .explain.inputs import column_contributions, phrase_contributions, strongest
from .explain.modality import modality_shapley, shares_of
from .explain.target import Target
from .layers.precision import fast_matmul
from .network import MultimodalNetwork
from .transforms.collate import collate
from .transforms.prepared import PreparedStudy

Maps = Mapping[str, Sequence[npt.NDArray[np.float32]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Everything a network says about one study.

    Args:
        predictions: Task to prediction.
        shares: Modality used to its share; sums to one.
        explanations: One per explained target, without maps.
        maps: Target label to modality to one map per prepared image, `(h, w)` in [0, 1].
    """

    predictions: Mapping[str, Prediction]
    shares: Mapping[str, float]
    explanations: tuple[Explanation, ...] = ()
    maps: Mapping[str, Maps] = field(default_factory=dict)


@torch.inference_mode()
def encode_mirrored(network: MultimodalNetwork, batch: Batch) -> dict[str, Features]:
    """Return features averaged over each image and its mirror image, maps included."""
    vectors: dict[str, Tensor] = {}
    maps: dict[str, Tensor] = {}
    # Float32 products take the faster route where a self-check showed that it is exact.
    with fast_matmul():
        for modality, images in batch.images.items():
            plain = network.image_vectors(modality, images)
            mirrored = network.image_vectors(modality, images.flip(3))
            vectors[modality] = (plain.pooled.float() + mirrored.pooled.float()) / 2
            if plain.maps:
                maps[modality] = (plain.maps[-1].float() + mirrored.maps[-1].float().flip(3)) / 2
        features = network.encode(replace(batch, images=vectors))
    return {m: replace(f, maps=(maps[m],)) if m in maps else f for m, f in features.items()}


def make_batch(network: MultimodalNetwork, studies: Sequence[PreparedStudy], *, with_targets: bool = False) -> Batch:
    """Return the batch a network reads."""
    return collate(
        studies,
        network.modalities,
        inputs=network.spec.inputs,
        tokenize=network.encoders[TEXT].tokenize if TEXT in network.encoders else None,
        tasks=network.spec.tasks if with_targets else None,
    )


def infer(
    network: MultimodalNetwork,
    studies: Sequence[PreparedStudy],
    facts: Mapping[str, Any],
    *,
    device: str = "cpu",
    explain: str = "cam",
) -> list[Answer]:
    """Return one answer per study, in order.

    Args:
        network: In evaluation mode.
        studies: Each with at least one modality the network reads.
        facts: Calibration, thresholds and prevalence saved with the weights.
        device: Where the network is.
        explain: "none", "cam" or "full".

    Raises:
        FundusionError: The network gave a number that is not finite (`model.not_finite`); never a class.
    """
    batch = make_batch(network, studies).to(device)
    # Inference tensors cannot be part of a graph; the maps need one through fusion and heads, so these are copied.
    features = {m: _copied(f) for m, f in encode_mirrored(network, batch).items()}
    presence = {m: p for m, p in batch.presence().items() if m in network.encoders}
    with torch.no_grad():
        output = network.fuse(features, presence)
    predictions = predictions_of(network.spec.tasks, output, facts)
    answers: list[Answer] = []
    for row, study in enumerate(studies):
        targets = [t for name, p in predictions[row].items() if (t := choose_target(network.spec.tasks[name], p))]
        answers.append(
            _explain(network, row, study, targets, predictions[row], features, presence, batch, facts, explain)
        )
    return answers


def predictions_of(
    tasks: Mapping[str, Task], output: NetworkOutput, facts: Mapping[str, Any]
) -> list[dict[str, Prediction]]:
    """Return task to prediction for each study: calibrated probabilities, label and decision."""
    calibrations = facts.get("calibration", {})
    rows = next(iter(output.logits.values())).shape[0]
    answers: list[dict[str, Prediction]] = [{} for _ in range(rows)]
    for name, task in tasks.items():
        logits = output.logits[name].double().numpy(force=True)
        if not np.isfinite(logits).all():
            raise FundusionError(f"the network gave a value of {name!r} that is not finite.", code="model.not_finite")
        if task.kind == "regression":
            for answer, value in zip(answers, logits[:, 0], strict=True):
                answer[name] = Prediction(
                    task=name, kind=task.kind, value=float(value) * task.scale + task.center, unit=task.unit
                )
            continue
        if name in calibrations:
            probabilities = Calibration.from_dict(calibrations[name]).apply(task, logits)
        else:
            probabilities = probabilities_from_logits(task, logits)
        thresholds = facts.get("thresholds", {}).get(name, {})
        for answer, row in zip(answers, probabilities, strict=True):
            named = {label: float(p) for label, p in zip(task.labels, row, strict=True)}
            label, decision = decide(task, named, thresholds)
            answer[name] = Prediction(
                task=name, kind=task.kind, probabilities=named, label=label, decision=decision, thresholds=thresholds
            )
    return answers


def choose_target(task: Task, prediction: Prediction) -> Target | None:
    """Return what to explain of a prediction: the finding, not its absence.

    Multi-label: the label furthest above (or nearest to) its threshold, normal left out unless nothing else is there.
    Ordinal ICDR grade: "referable". The image-quality head is not explained.
    """
    if prediction.task == "gradable":
        return None
    label = prediction.label
    if task.kind == "multilabel":
        abnormal = {k: p for k, p in prediction.probabilities.items() if k != "N"} or dict(prediction.probabilities)
        label = max(abnormal, key=lambda k: abnormal[k] / max(prediction.thresholds.get(k, 0.5), 1e-6))
    elif task.kind == "ordinal":
        usual = str(REFERABLE_ICDR_GRADE)
        label = usual if usual in task.labels else task.labels[max(1, len(task.labels) // 2)]
    elif task.kind == "binary":
        label = task.labels[1]
    elif task.kind == "regression":
        label = "value"
    return Target(task_name=prediction.task, task=task, label=label) if label else None


def _explain(
    network: MultimodalNetwork,
    row: int,
    study: PreparedStudy,
    targets: Sequence[Target],
    predictions: Mapping[str, Prediction],
    features: Mapping[str, Features],
    presence: Mapping[str, Tensor],
    batch: Batch,
    facts: Mapping[str, Any],
    explain: str,
) -> Answer:
    alone, there = _row_of(features, presence, row, batch)
    explanations: list[Explanation] = []
    maps: dict[str, Maps] = {}
    total: dict[str, list[float]] = {}
    for target in targets:
        baseline = float(facts.get("prevalence", {}).get(target.task_name, {}).get(target.label, 0.5))
        shapley = modality_shapley(alone, there, target, fuse=network.fuse, baseline=baseline)
        signed = {m: float(v[0]) for m, v in shapley.items() if not np.isnan(v[0])}
        for modality, share in shares_of(signed).items():
            total.setdefault(modality, []).append(share)
        columns: dict[str, float] = {}
        phrases: dict[str, float] = {}
        if explain == "full":
            columns, phrases = _input_contributions(network, target, alone, there, study)
        if explain != "none":
            found = class_activation_maps(alone, there, target, fuse=network.fuse, pools=network.pools)
            maps[target.label] = {m: _scaled(v) for m, v in found.items()}
        explanations.append(
            Explanation(
                task=target.task_name,
                target=target.label,
                shares=shares_of(signed),
                shapley=signed,
                columns=columns,
                phrases=phrases,
                method="Shapley value over modalities"
                + ("" if explain == "none" else "; Grad-CAM of the same forward"),
            )
        )
    shares = {m: float(np.mean(v)) for m, v in total.items()}
    if not shares:
        used = [m for m, p in there.items() if bool(p[0])]
        shares = {m: 1 / len(used) for m in used}
    return Answer(predictions=predictions, shares=shares, explanations=tuple(explanations), maps=maps)


def _input_contributions(
    network: MultimodalNetwork,
    target: Target,
    features: Mapping[str, Features],
    presence: Mapping[str, Tensor],
    study: PreparedStudy,
) -> tuple[dict[str, float], dict[str, float]]:
    columns: dict[str, float] = {}
    phrases: dict[str, float] = {}
    if TABLE in features and bool(presence[TABLE][0]) and network.spec.table is not None:
        device = features[TABLE].pooled.device
        values = column_contributions(
            features,
            presence,
            target,
            fuse=network.fuse,
            encoder=network.encoders[TABLE],
            table=torch.from_numpy(study.table[None]).to(device),
            table_mask=torch.from_numpy(study.table_mask[None]).to(device),
        )[0]
        columns = {n: float(v) for n, v in zip(network.spec.table.names, values, strict=True) if not np.isnan(v)}
    if TEXT in features and bool(presence[TEXT][0]) and study.text:
        found = phrase_contributions(
            0, features, presence, target, fuse=network.fuse, encoder=network.encoders[TEXT], text=study.text
        )
        phrases = strongest(found)
    return columns, phrases


def _row_of(
    features: Mapping[str, Features], presence: Mapping[str, Tensor], row: int, batch: Batch
) -> tuple[dict[str, Features], dict[str, Tensor]]:
    """Return features and presence of one study, with the frames that belong to it."""
    picked: dict[str, Features] = {}
    for modality, f in features.items():
        if not bool(presence[modality][row]):
            continue
        extras: dict[str, Tensor] = {}
        maps: tuple[Tensor, ...] = ()
        if "owner" in f.extras:
            mine = f.extras["owner"] == row
            extras = {
                "owner": torch.zeros(int(mine.sum()), dtype=torch.int64, device=mine.device),
                "frame_vectors": f.extras["frame_vectors"][mine],
            }
            maps = tuple(m[mine] for m in f.maps)
        picked[modality] = Features(
            pooled=f.pooled[row : row + 1],
            tokens=None if f.tokens is None else f.tokens[row : row + 1],
            token_mask=None if f.token_mask is None else f.token_mask[row : row + 1],
            maps=maps,
            extras=extras,
        )
    return picked, {m: presence[m][row : row + 1] for m in picked}


def _copied(features: Features) -> Features:
    def copy(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.clone()

    return Features(
        pooled=features.pooled.clone(),
        tokens=copy(features.tokens),
        token_mask=copy(features.token_mask),
        maps=tuple(m.clone() for m in features.maps),
        extras={k: v.clone() for k, v in features.extras.items()},
    )


def _scaled(maps: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Scale the maps of a study so that its greatest value is one; a study without evidence stays zero."""
    peak = float(maps.max()) if maps.size else 0.0
    return [(m / peak if peak > 0 else m).astype(np.float32) for m in maps]
