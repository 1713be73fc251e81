"""A network on many studies: logits for every set of modalities, metrics, tables of predictions and vectors."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.durable import write_bytes
from ..core.errors import InvalidInput
from ..core.interfaces import Features
from ..core.registry import terms_of_weights
from ..core.study import StudyRecord
from ..core.tasks import Task
from ..datasets._splits import position_of
from ..datasets.folder import discover
from ..decision.calibration import Calibration, probabilities_from_logits
from ..inference import encode_mirrored
from ..layers.precision import usable_precision
from ..metrics.classification import Undefined, auroc, macro
from ..network import MultimodalNetwork, load_network
from ..readers.manifest import RejectedRow
from ..report.evaluation import write_evaluation
from ..shipped import resolve_model
from ..transforms.collate import normalise_images
from .data import PreparedSet, prepare_set
from .embeddings import resized

Array = npt.NDArray[np.float64]
Progress = Callable[..., None]
_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """Features and presence of many studies on the CPU; fusing them again is cheap."""

    features: Mapping[str, Features]
    presence: Mapping[str, Tensor]

    def __len__(self) -> int:
        return int(next(iter(self.presence.values())).shape[0])


@torch.inference_mode()
def encode_rows(
    network: MultimodalNetwork,
    data: PreparedSet,
    rows: Sequence[int] | npt.NDArray[np.int64],
    *,
    size: int | None = None,
    device: str | torch.device = "cpu",
    low_precision: bool = False,
    progress: Progress | None = None,
) -> Encoded:
    """Return the features of studies, each picture with its mirror image.

    Args:
        network: In evaluation mode.
        data: Prepared studies.
        rows: Which ones.
        size: Side of the pictures; None takes the encoder's own.
        device: Where the network is.
        low_precision: bfloat16 where it is safe; for validation during training, not for results.
        progress: Called with (done, total).
    """
    network.eval()
    parts: list[tuple[dict[str, Features], dict[str, Tensor]]] = []
    tokenize = network.encoders["text"].tokenize if "text" in network.encoders else None

    def pixels(modality: str, stored: Tensor, where: Tensor) -> Tensor:
        if stored.dtype != torch.uint8:
            return stored
        wanted = network.spec.inputs[modality]
        return normalise_images(resized(stored, size or wanted.size), wanted)

    kind = torch.device(device).type
    low_precision = low_precision and usable_precision("bf16", device) == "bf16"
    for start in range(0, len(rows), _BATCH):
        chosen = np.asarray(rows[start : start + _BATCH], np.int64)
        batch = data.batch(chosen, network.modalities, pixels=pixels, tokenize=tokenize).to(device)
        with torch.autocast(kind, torch.bfloat16, enabled=low_precision):
            raw = {m for m, x in batch.images.items() if x.ndim == 4}
            features = encode_mirrored(network, batch) if raw else network.encode(batch)
        parts.append(({m: _to_cpu(f) for m, f in features.items()}, {m: p.cpu() for m, p in batch.presence().items()}))
        if progress:
            progress(min(start + _BATCH, len(rows)), len(rows))
    return _joined(parts, network)


def _to_cpu(f: Features) -> Features:
    def move(value: Tensor | None) -> Tensor | None:
        return None if value is None else (value.float() if value.is_floating_point() else value).cpu().clone()

    moved = move(f.pooled)
    return Features(
        pooled=moved if moved is not None else f.pooled, tokens=move(f.tokens), token_mask=move(f.token_mask)
    )


def _joined(
    parts: Sequence[tuple[Mapping[str, Features], Mapping[str, Tensor]]], network: MultimodalNetwork
) -> Encoded:
    presence = {m: torch.cat([p[m] for _, p in parts]) for m in network.modalities}
    sizes = [next(iter(p.values())).shape[0] for _, p in parts]
    features = {}
    for modality in network.modalities:
        width = int(network.encoders[modality].embed_dim)
        given = [f.get(modality) for f, _ in parts]
        if not any(given):
            features[modality] = Features(pooled=torch.zeros(sum(sizes), width))
            continue
        pooled = torch.cat(
            [torch.zeros(n, width) if f is None else f.pooled for f, n in zip(given, sizes, strict=True)]
        )
        longest = max((f.tokens.shape[1] for f in given if f is not None and f.tokens is not None), default=0)
        tokens = mask = None
        if longest:
            deep = next(f.tokens.shape[2] for f in given if f is not None and f.tokens is not None)
            padded = [_padded(f, n, longest, deep) for f, n in zip(given, sizes, strict=True)]
            tokens, mask = torch.cat([t for t, _ in padded]), torch.cat([m for _, m in padded])
        features[modality] = Features(pooled=pooled, tokens=tokens, token_mask=mask)
    return Encoded(features=features, presence=presence)


def _padded(f: Features | None, rows: int, longest: int, width: int) -> tuple[Tensor, Tensor]:
    if f is None or f.tokens is None:
        return torch.zeros(rows, longest, width), torch.zeros(rows, longest, dtype=torch.bool)
    mask = f.token_mask if f.token_mask is not None else torch.ones(f.tokens.shape[:2], dtype=torch.bool)
    extra = longest - f.tokens.shape[1]
    return F.pad(f.tokens, (0, 0, 0, extra)), F.pad(mask, (0, extra))


@torch.no_grad()
def fuse_subset(network: MultimodalNetwork, encoded: Encoded, modalities: Sequence[str]) -> dict[str, Array]:
    """Return logits per task `(n, K)` when only some modalities are shown; NaN rows where a study has none of them."""
    presence = {m: encoded.presence[m] for m in modalities}
    some = torch.stack(list(presence.values())).any(0)
    answer = {n: np.full((len(encoded), t.outputs), np.nan) for n, t in network.spec.tasks.items()}
    index = torch.nonzero(some)[:, 0]
    for rows in torch.split(index, 4096):
        part = {
            m: Features(
                pooled=f.pooled[rows],
                tokens=None if f.tokens is None else f.tokens[rows],
                token_mask=None if f.token_mask is None else f.token_mask[rows],
            )
            for m, f in encoded.features.items()
            if m in presence
        }
        output = network.cpu().eval().fuse(part, {m: p[rows] for m, p in presence.items()})
        for name, logits in output.logits.items():
            answer[name][rows.numpy()] = logits.double().numpy()
    return answer


def events_of(task: Task, targets: Array) -> Array:
    """Return the 0/1/NaN event each logit answers, `(n, K)`."""
    if task.kind == "multilabel":
        return targets
    if task.kind == "ordinal":
        steps = np.arange(len(task.labels) - 1)
        events = (targets[:, None] > steps).astype(np.float64)
        asked = targets[:, None] >= steps if task.method == "corn" else np.ones_like(events, bool)
        events[~asked | np.isnan(targets)[:, None]] = np.nan
        return events
    if task.kind == "multiclass":
        events = (targets[:, None] == np.arange(len(task.labels))).astype(np.float64)
        events[np.isnan(targets)] = np.nan
        return events
    return targets[:, None]


def validation_score(
    network: MultimodalNetwork, data: PreparedSet, rows: npt.NDArray[np.int64], *, size: int | None, device: Any
) -> dict[str, float]:
    """Return the macro AUROC over all events of all tasks on held-out studies, and per task."""
    was_training = network.training
    kind = torch.device(device)
    encoded = encode_rows(network, data, rows, size=size, device=kind, low_precision=True)
    logits = fuse_subset(network, encoded, network.modalities)
    network.to(kind).train(was_training)
    scores: dict[str, float] = {}
    everything: list[Any] = []
    for name, task in network.spec.tasks.items():
        if task.kind == "regression":
            error = np.nanmean(np.abs(logits[name][:, 0] * task.scale + task.center - data.targets[name][rows]))
            scores[f"{name}.mae"] = float(error)
            continue
        events = events_of(task, np.asarray(data.targets[name][rows], np.float64))
        values = [auroc(events[:, k], logits[name][:, k]) for k in range(events.shape[1])]
        mean = macro(values)
        everything += values
        if not isinstance(mean, Undefined):
            scores[f"{name}.auroc"] = mean
    total = macro(everything)
    if not isinstance(total, Undefined):
        scores["macro_auroc"] = total
    elif any(k.endswith(".mae") for k in scores):
        scores["macro_auroc"] = -float(np.mean([v for k, v in scores.items() if k.endswith(".mae")]))
    return scores


def probabilities_of(
    network: MultimodalNetwork, facts: Mapping[str, Any], logits: Mapping[str, Array]
) -> dict[str, Array]:
    """Return calibrated probabilities per task; NaN rows stay NaN; regression values in their unit `(n, 1)`."""
    answer = {}
    for name, task in network.spec.tasks.items():
        z = logits[name]
        known = ~np.isnan(z).any(1)
        if task.kind == "regression":
            answer[name] = z * task.scale + task.center
            continue
        p = np.full((len(z), len(task.labels)), np.nan)
        if known.any():
            fitted = facts.get("calibration", {}).get(name)
            p[known] = (
                Calibration.from_dict(fitted).apply(task, z[known])
                if fitted
                else probabilities_from_logits(task, z[known])
            )
        answer[name] = p
    return answer


def _studies(
    manifest: str | Path | Sequence[StudyRecord], options: Mapping[str, Any]
) -> tuple[list[StudyRecord], tuple[RejectedRow, ...]]:
    if not isinstance(manifest, str | Path):
        return list(manifest), ()
    found = discover([manifest], columns=options.get("columns"), root=options.get("root"))
    return list(found), found.rejected


def _of_split(records: list[StudyRecord], split: str | None, facts: Mapping[str, Any]) -> list[StudyRecord]:
    if split is None:
        return records
    if split == "held_out":
        rule = facts.get("split", {})
        fraction, seed = float(rule.get("validation_fraction", 0)), int(rule.get("seed", 0))
        names = [s["name"] for s in rule.get("sets", [])] or [""]
        chosen = [
            r
            for r in records
            if any(
                position_of(
                    f"{n}/{r.group}" if n and r.patient_id else (r.group if not n else f"study:{n}/{r.study_id}"),
                    seed=seed,
                )
                < fraction
                for n in names
            )
        ]
    else:
        chosen = [r for r in records if r.split == split]
    if not chosen:
        raise InvalidInput(f"no study belongs to split {split!r}.", code="evaluate.split")
    return chosen


def evaluate(
    model: str | Path | tuple[MultimodalNetwork, Mapping[str, Any]],
    manifest: str | Path | Sequence[StudyRecord],
    out: str | Path,
    *,
    split: str | None = None,
    n_resamples: int = 1000,
    device: str = "cpu",
    progress: Progress | None = None,
    **options: Any,
) -> Path:
    """Write `metrics.json` and `evaluation.html` for a network on labelled studies; return the page.

    Args:
        model: Run folder, shipped name, or a network with its facts.
        manifest: Table, folder as downloaded, or records.
        out: Folder; created.
        split: Only studies of this split; "held_out": patients the training left out.
        n_resamples: Bootstrap resamples over patients.
        device: Where the network runs.
        progress: Called with (done, total).
        options: `columns` and `root` for tables.
    """
    network, facts = load_network(resolve_model(model)[0]) if isinstance(model, str | Path) else model
    records, bad_rows = _studies(manifest, options)
    records = _of_split(records, split, facts)
    data = prepare_set(
        records, network.spec.inputs, tasks=network.spec.tasks, schema=network.spec.table, progress=progress
    )
    if len(data) == 0:
        raise InvalidInput("no study can be used.", code=data.rejected[0].code if data.rejected else "input.empty")
    network.to(device)
    encoded = encode_rows(network, data, np.arange(len(data)), device=device, progress=progress)
    subsets = [
        list(s) for k in range(1, len(network.modalities) + 1) for s in itertools.combinations(network.modalities, k)
        if any(bool(encoded.presence[m].any()) for m in s)
    ]  # fmt: skip
    ablation = {"+".join(s): probabilities_of(network, facts, fuse_subset(network, encoded, s)) for s in subsets}
    return write_evaluation(
        out,
        tasks=network.spec.tasks,
        targets={n: np.asarray(y, np.float64) for n, y in data.targets.items()},
        probabilities=ablation["+".join(network.modalities)]
        if "+".join(network.modalities) in ablation
        else next(reversed(ablation.values())),
        groups=data.groups,
        ablation=ablation,
        thresholds=facts.get("thresholds", {}),
        meta={
            "studies": len(data),
            "patients": len(set(data.groups)),
            "rejected": len(data.rejected) + len(bad_rows),
            "rejected_by_code": _counts([r.code for r in (*data.rejected, *bad_rows)]),
            "weights_sha256": facts.get("weights_sha256"),
            **terms_of_weights(network.origins),
        },
        n_resamples=n_resamples,
    )


def _counts(codes: Sequence[str]) -> dict[str, int]:
    return {c: codes.count(c) for c in sorted(set(codes))}


def predict_table(
    model: str | Path,
    manifest: str | Path,
    out: str | Path,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    **options: Any,
) -> tuple[int, int]:
    """Write a row per study to `.csv` or `.parquet`: status, code, probabilities; return numbers of ok and rejected ones."""
    found = _answered(model, manifest, device, progress, options)
    columns: dict[str, Any] = {}
    if found.encoded is not None:
        logits = fuse_subset(found.network, found.encoded, found.network.modalities)
        for name, p in probabilities_of(found.network, found.facts, logits).items():
            labels = found.network.spec.tasks[name].labels or ("value",)
            columns |= {f"{name}.{k}": p[:, i] for i, k in enumerate(labels)}
    return _write_rows(found, columns, Path(out))


def embed_table(
    model: str | Path,
    manifest: str | Path,
    out: str | Path,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    **options: Any,
) -> tuple[int, int]:
    """Write a row per study to Parquet: status, code, the vector of each modality and the fused one; return both numbers."""
    found = _answered(model, manifest, device, progress, options)
    columns: dict[str, Any] = {}
    if found.encoded is not None:
        columns["patient_id"] = [g if not g.startswith("study:") else None for g in found.data.groups]
        for modality, f in found.encoded.features.items():
            here = found.encoded.presence[modality].numpy()
            columns[modality] = [v.tolist() if h else None for v, h in zip(f.pooled.numpy(), here, strict=True)]
        if not found.network.decision_level:
            with torch.no_grad():
                fused = found.network.cpu().fuse(found.encoded.features, found.encoded.presence).fused
            columns["fused"] = fused.pooled.numpy().tolist() if fused is not None else []
    return _write_rows(found, columns, Path(out))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answered:
    network: MultimodalNetwork
    facts: Mapping[str, Any]
    data: PreparedSet
    encoded: Encoded | None
    rejected: tuple[tuple[str, str], ...]


def _answered(
    model: str | Path, manifest: str | Path, device: str, progress: Progress | None, options: Mapping[str, Any]
) -> _Answered:
    """Read and encode the studies of a table; the bad ones are listed with their codes."""
    network, facts = load_network(resolve_model(model)[0])
    records, bad_rows = _studies(manifest, options)
    data = prepare_set(
        [replace(r, labels={}) for r in records], network.spec.inputs, schema=network.spec.table, progress=progress
    )
    rows = np.arange(len(data))
    encoded = encode_rows(network.to(device), data, rows, device=device) if len(data) else None
    rejected = (*((r.study_id, r.code) for r in data.rejected), *((r.study_id, r.code) for r in bad_rows))
    return _Answered(network=network, facts=facts, data=data, encoded=encoded, rejected=tuple(rejected))


def _write_rows(found: _Answered, columns: Mapping[str, Any], out: Path) -> tuple[int, int]:
    import polars

    good, bad = len(found.data), len(found.rejected)
    heads = {
        "study_id": [*found.data.study_ids, *(s for s, _ in found.rejected)],
        "status": ["ok"] * good + ["rejected"] * bad,
        "code": ["ok"] * good + [c for _, c in found.rejected],
    }
    limit = terms_of_weights(found.network.origins).get("terms_of_use")
    if limit:
        heads["terms_of_use"] = [limit] * (good + bad)
    answers = polars.DataFrame(dict(columns)).fill_nan(None) if good else polars.DataFrame()
    empty = polars.DataFrame({k: polars.Series(k, [None] * bad, dtype=t) for k, t in answers.schema.items()})
    _write_frame(polars.concat([polars.DataFrame(heads), polars.concat([answers, empty])], how="horizontal"), out)
    return good, bad


def _write_frame(frame: Any, path: Path) -> None:
    import io

    stream = io.BytesIO()
    if path.suffix.lower() == ".csv":
        frame.write_csv(stream)
    elif path.suffix.lower() == ".parquet":
        frame.write_parquet(stream)
    else:
        raise InvalidInput(
            f"tables of type {path.suffix!r} are not written.", code="config.type", hint="Use .csv or .parquet."
        )
    write_bytes(path, stream.getvalue())
