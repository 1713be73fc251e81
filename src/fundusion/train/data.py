"""Records -> arrays that a training loop can index: every study is read once, none is dropped silently."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..core.errors import FundusionError, InvalidInput
from ..core.interfaces import Batch
from ..core.registry import ImageInput, datasets
from ..core.study import StudyRecord, is_missing
from ..core.table import TableSchema
from ..core.tasks import Task
from ..core.vocabulary import TABLE, TEXT
from ..datasets._splits import position_of
from ..readers import read_study, split_part
from ..readers.manifest import Manifest, read_manifest
from ..readers.oct import SUFFIXES as VENDOR_OCT
from ..transforms.image import preprocessing_signature
from ..transforms.prepared import prepare_study
from ..transforms.targets import encode_label, encode_labels
from .config import DataConfig, TaskConfig, TrainConfig, data_folder
from .store import BlockStore

Progress = Callable[..., None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """A study that could not be used in training."""

    study_id: str
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PreparedSet:
    """Studies as arrays, in a fixed order.

    Args:
        study_ids: Length n.
        groups: Patient of each study.
        images: Modality to uint8 `(T, S, S, C)` or float32 `(T, E)` (vectors of a frozen encoder).
        starts: Modality to `(n + 1,)`: images of study i are `starts[i]` to `starts[i + 1]`.
        texts: Report per study, "" when there is none.
        table: float32 `(n, F)` and mask, or None.
        targets: Task to `(n,)` or `(n, K)`, NaN where not annotated.
        rejected: Studies left out, with the reason.
        digest: Of the content of all inputs and labels.
    """

    study_ids: tuple[str, ...]
    groups: tuple[str, ...]
    images: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    starts: Mapping[str, npt.NDArray[np.int64]] = field(default_factory=dict)
    texts: tuple[str, ...] = ()
    table: npt.NDArray[np.float32] | None = None
    table_mask: npt.NDArray[np.bool_] | None = None
    targets: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    rejected: tuple[Rejected, ...] = ()
    digest: str = ""

    def __len__(self) -> int:
        return len(self.study_ids)

    def held_out(self, fraction: float, seed: int) -> npt.NDArray[np.bool_]:
        """Return which studies belong to the patients that are held out."""
        return np.asarray([position_of(g, seed=seed) < fraction for g in self.groups], np.bool_)

    def batch(
        self,
        rows: Sequence[int] | npt.NDArray[np.int64],
        modalities: Sequence[str],
        *,
        pixels: Callable[[str, Tensor, Tensor], Tensor],
        tokenize: Callable[[list[str]], tuple[Tensor, Tensor]] | None = None,
    ) -> Batch:
        """Return studies as a batch.

        Args:
            rows: Which studies, in which order.
            modalities: What the network reads.
            pixels: Called with (modality, stored images, index of each in the set); gives what the encoder reads.
            tokenize: Of the text encoder.
        """
        index = np.asarray(rows, np.int64)
        present = torch.zeros(len(index), len(modalities), dtype=torch.bool)
        images: dict[str, Tensor] = {}
        owner: dict[str, Tensor] = {}
        ids = mask = table = known = None
        for column, modality in enumerate(modalities):
            if modality == TEXT:
                texts = [self.texts[i] for i in index] if self.texts else [""] * len(index)
                if tokenize is not None:
                    ids, mask = tokenize(texts)
                    present[:, column] = mask.any(1)
            elif modality == TABLE:
                if self.table is not None and self.table_mask is not None:
                    table, known = torch.from_numpy(self.table[index]), torch.from_numpy(self.table_mask[index])
                    present[:, column] = known.any(1)
            elif modality in self.images:
                starts = self.starts[modality]
                counts = starts[index + 1] - starts[index]
                present[:, column] = torch.from_numpy(counts > 0)
                where = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in index]) if len(index) else index
                if len(where):
                    stored = torch.from_numpy(np.ascontiguousarray(self.images[modality][where]))
                    images[modality] = pixels(modality, stored, torch.from_numpy(where))
                    owner[modality] = torch.from_numpy(np.repeat(np.arange(len(index)), counts))
        return Batch(
            study_ids=tuple(self.study_ids[i] for i in index),
            modalities=tuple(modalities),
            present=present,
            images=images,
            owner=owner,
            text_ids=ids,
            text_mask=mask,
            table=table,
            table_mask=known,
            targets={name: torch.from_numpy(np.asarray(y[index])) for name, y in self.targets.items()},
        )


def load_records(config: DataConfig) -> Manifest:
    """Return the records a configuration names.

    Raises:
        InvalidInput: It names none.
    """
    records: list[StudyRecord] = []
    rejected: list[Any] = []
    for chosen in config.sets:
        folder = Path(chosen.root)
        found = datasets.create(chosen.name, root=folder if folder.is_absolute() else data_folder() / folder)
        # Two sets may use the same names; the name of the set keeps their studies and patients apart.
        records += [
            replace(
                r,
                study_id=f"{chosen.name}/{r.study_id}",
                patient_id=f"{chosen.name}/{r.patient_id}" if r.patient_id else None,
            )
            for r in found
        ]
        # A set as downloaded says which of its listed studies are not usable: they count like rows that cannot be read.
        rejected += getattr(found, "rejected", ())
    if config.manifest:
        table = read_manifest(config.manifest, columns=config.columns, root=config.root, on_bad_row="collect")
        records += table
        rejected += table.rejected
    if not records:
        raise InvalidInput(
            "the configuration names no studies.", code="config.data", hint="Give data.manifest or data.sets."
        )
    return Manifest(records, rejected=rejected)


def resolve_tasks(
    config: TrainConfig, records: Sequence[StudyRecord], training: npt.NDArray[np.bool_]
) -> dict[str, Task]:
    """Return every task of a configuration; labels "auto" are those of enough training studies."""
    tasks: dict[str, Task] = {}
    for name, wanted in config.tasks.items():
        found: tuple[str, ...] = ()
        if wanted.labels == "auto":
            counts: dict[str, int] = {}
            for record, used in zip(records, training, strict=True):
                if used:
                    for label in set(_labels_of(record.labels.get(name))):
                        counts[label] = counts.get(label, 0) + 1
            found = tuple(sorted(k for k, c in counts.items() if c >= wanted.min_count))
            if not found:
                raise InvalidInput(f"no label of {name!r} has {wanted.min_count} training studies.", code="config.task")
        tasks[name] = wanted.task(name, found)
    return tasks


def _labels_of(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, (tuple, list)):
        return [str(v) for v in value]
    return [w for w in str(value).split("|") if w and w != "none"]


def label_of(record: StudyRecord, name: str, task: Task, wanted: TaskConfig) -> Any:
    """Return the cell a target is read from: a label, a list of findings, or a column of the table."""
    if wanted.column is not None:
        return record.metadata.get(wanted.column)
    value = record.labels.get(name)
    if task.kind == "multilabel" and isinstance(value, (tuple, list)):
        known = set(map(str, value))
        return {k: float(k in known) for k in task.labels} if known else None
    return value


def prepare_set(
    records: Sequence[StudyRecord],
    inputs: Mapping[str, ImageInput],
    *,
    tasks: Mapping[str, Task] | None = None,
    wanted: Mapping[str, TaskConfig] | None = None,
    schema: TableSchema | None = None,
    side: int | None = None,
    cache: str | Path | None = None,
    progress: Progress | None = None,
) -> PreparedSet:
    """Return records read, cut and scaled. A study that cannot be read is listed in `rejected`.

    Args:
        records: In the order of the result.
        inputs: Image modality to what its encoder wants.
        tasks: Targets to encode.
        wanted: Where targets are read from.
        schema: Columns of the table.
        side: Side of the stored pictures; None takes each encoder's own.
        cache: Folder for prepared pictures; a picture is found again by its content and the preprocessing.
        progress: Called with (done, total).
    """
    sized = {m: replace(i, size=side) if side else i for m, i in inputs.items()}
    stores = {
        m: BlockStore(cache, purpose=preprocessing_signature(i), shape=(i.size, i.size, i.channels), dtype=np.uint8)
        for m, i in sized.items()
    } if cache else {}  # fmt: skip
    images: dict[str, list[npt.NDArray[np.uint8]]] = {m: [] for m in inputs}
    starts: dict[str, list[int]] = {m: [0] for m in inputs}
    kept: list[StudyRecord] = []
    rejected: list[Rejected] = []
    cells: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]] = []
    sums = hashlib.sha256()
    for done, record in enumerate(records, 1):
        if progress:
            progress(done, len(records), {"rejected": len(rejected)} if rejected else None)
        try:
            coded = schema.encode(record.metadata) if schema is not None else None
            found, content = _pictures(record, sized, stores)
            if not any(found.values()) and not record.report and (coded is None or not coded[1].any()):
                raise InvalidInput("the study holds nothing the network reads.", code="study.empty")
        except FundusionError as error:
            rejected.append(Rejected(study_id=record.study_id, code=error.code, message=error.message))
            continue
        kept.append(record)
        sums.update(
            f"{record.study_id}|{content}|{sorted(record.labels.items())!r}|{sorted(record.metadata.items())!r}|{record.report}".encode()
        )
        if coded is not None:
            cells.append(coded)
        for modality, pictures in found.items():
            images[modality] += pictures
            starts[modality].append(len(images[modality]))
    targets = {
        name: _targets(name, task, kept, (wanted or {}).get(name) or TaskConfig())
        for name, task in (tasks or {}).items()
    }
    return PreparedSet(
        study_ids=tuple(r.study_id for r in kept),
        groups=tuple(r.group for r in kept),
        images={m: np.stack(v) for m, v in images.items() if v},
        starts={m: np.asarray(s, np.int64) for m, s in starts.items()},
        texts=tuple(r.report or "" for r in kept),
        table=np.stack([c for c, _ in cells]) if cells else None,
        table_mask=np.stack([m for _, m in cells]) if cells else None,
        targets=targets,
        rejected=tuple(rejected),
        digest=sums.hexdigest(),
    )


def _targets(name: str, task: Task, records: Sequence[StudyRecord], wanted: TaskConfig) -> npt.NDArray[np.float32]:
    try:
        return encode_labels(task, [label_of(r, name, task, wanted) for r in records])
    except InvalidInput as error:
        # Which study it was is what a person needs to know.
        for record in records:
            try:
                encode_label(task, label_of(record, name, task, wanted))
            except InvalidInput:
                where = f" ({record.origin})" if record.origin else ""
                raise InvalidInput(
                    f"study {record.study_id!r}{where}, task {name!r}: {error.message}",
                    code=error.code,
                    hint=error.hint,
                ) from error
        raise


def _pictures(
    record: StudyRecord, inputs: Mapping[str, ImageInput], stores: Mapping[str, BlockStore]
) -> tuple[dict[str, list[npt.NDArray[np.uint8]]], str]:
    """Return prepared pictures by modality, from the cache where the content is known, and a digest of the content."""
    paths = [p for m in inputs for p in record.images.get(m, ())]
    if (
        stores
        and all(split_part(p)[0].is_file() for p in paths)
        and len(paths) == sum(len(record.images.get(m, ())) for m in inputs)
    ):
        content = "+".join(_file_digest(p, record) for p in paths)
        cached = {m: _cached(record, m, stores[m]) for m in inputs}
        if all(v is not None for v in cached.values()):
            return {m: list(v) for m, v in cached.items() if v is not None}, content
    study = read_study(replace(record, images={m: record.images[m] for m in inputs if m in record.images}))
    prepared = prepare_study(study, inputs)
    content = "+".join(i.digest or "" for v in study.images.values() for i in v)
    found = {m: [i.pixels for i in prepared.images.get(m, ())] for m in inputs}
    for modality, store in stores.items():
        single = len(record.images.get(modality, ())) == len(found[modality])
        if single:
            store.put(
                {
                    _file_digest(p, record): x
                    for p, x in zip(record.images.get(modality, ()), found[modality], strict=True)
                }
            )
    return found, content


def _file_digest(path: str, record: StudyRecord) -> str:
    """Return what stands for the pixels of a path: the content, the part of it, and the eye where a file may hold both."""
    file, part = split_part(path)
    with open(file, "rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    eye = record.laterality.value if record.laterality and file.suffix.lower() in VENDOR_OCT else None
    return "#".join(x for x in (content, part, eye) if x)


def _cached(record: StudyRecord, modality: str, store: BlockStore) -> npt.NDArray[np.uint8] | None:
    keys = [_file_digest(p, record) for p in record.images.get(modality, ())]
    if not all(k in store for k in keys):
        return None
    return store.get(keys).astype(np.uint8, copy=False)


def training_counts(task: Task, targets: npt.NDArray[np.float32]) -> Tensor | None:
    """Return class counts `(K,)`, or `(K, 2)` negatives and positives for multi-label and binary; None for regression."""
    if task.kind == "regression":
        return None
    if task.kind in ("multilabel", "binary"):
        y = targets if targets.ndim == 2 else targets[:, None]
        return torch.tensor([[float((y[:, k] == 0).sum()), float((y[:, k] == 1).sum())] for k in range(y.shape[1])])
    known = targets[~np.isnan(targets)].astype(int)
    return torch.from_numpy(np.bincount(known, minlength=len(task.labels)).astype(np.float32))


def table_rows(records: Sequence[StudyRecord]) -> list[Mapping[str, Any]]:
    """Return the tables of records that have any known cell."""
    return [r.metadata for r in records if any(not is_missing(v) for v in r.metadata.values())]
