"""Records -> an index of their pictures and reports; every item ends ok, rejected or pending, and a kill loses nothing finished."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..core.errors import FundusionError, InvalidInput
from ..core.registry import ImageInput
from ..core.study import StudyRecord, is_missing
from ..intake import take_study
from ..readers.manifest import Manifest, RejectedRow
from ..retrieval.changes import add, reject
from ..retrieval.index import Index, Item, known, need_same_model
from ..transforms.prepared import prepare_study
from .workers import prepare_all

Vectors = npt.NDArray[np.float32]
Progress = Callable[[int, int, Mapping[str, int]], None]
#: Items that are encoded and committed together.
BATCH = 16


class Embeds(Protocol):
    """What turns pictures and texts into vectors."""

    modality: str
    wanted: ImageInput
    reads_text: bool

    def facts(self) -> dict[str, Any]: ...

    def pictures(self, studies: Sequence[Sequence[npt.NDArray[np.uint8]]]) -> Vectors: ...

    def texts(self, texts: Sequence[str]) -> Vectors: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexed:
    """What a run came to.

    Args:
        counts: total, ok, rejected, pending.
        already: Of the ok ones, those that were there before.
        codes: Code of rejection to number.
        rejected: Study, code and sentence of each rejected item of this run.
        interrupted: A person stopped the run; the same command goes on.
    """

    counts: dict[str, int]
    already: int = 0
    codes: dict[str, int] = field(default_factory=dict)
    rejected: tuple[tuple[str, str, str], ...] = ()
    interrupted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """One file, one report, or a row that is already known to be bad."""

    item: Item
    record: StudyRecord | None = None
    error: FundusionError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What is left of a file for a model: prepared frames `(S, S, C)` uint8, and the SHA-256 of the file."""

    frames: tuple[npt.NDArray[np.uint8], ...]
    digest: str | None


def index_records(
    records: Manifest | Sequence[StudyRecord],
    index: Index,
    embedder: Embeds,
    *,
    workers: int = 0,
    timeout_s: float = 120.0,
    progress: Progress | None = None,
) -> Indexed:
    """Add pictures and reports of records to an index; what it already holds is left as it is.

    Args:
        records: Studies; rows a manifest rejected become rejected items.
        index: Open for writing, of the same model.
        embedder: Encodes.
        workers: Processes that read; 0 reads in this one.
        timeout_s: Longest time to read one file.
        progress: Called with (done, total, counts).

    Raises:
        InvalidInput: The index was built by something else (`index.other_model`).
        ExhaustedResource: The volume is full; finished items are kept.
    """
    need_same_model(index, embedder.facts())
    run = _Run(index, embedder, list(_tasks(records, embedder)), progress)
    files = (t.record for t in run.waiting if t.record is not None)
    how = {"workers": workers, "timeout_s": timeout_s, "ahead": max(2 * BATCH, 2 * workers)}
    ready = prepare_all(files, partial(read_frames, modality=embedder.modality, wanted=embedder.wanted), **how)
    interrupted = False
    run.show()
    try:
        for start in range(0, len(run.waiting), BATCH):
            run.take(
                [(t, next(ready) if t.record is not None else t.error) for t in run.waiting[start : start + BATCH]]
            )
            run.show()
    except KeyboardInterrupt:
        interrupted = True
    return run.answer(interrupted)


class _Run:
    def __init__(self, index: Index, embedder: Embeds, tasks: list[_Task], progress: Progress | None) -> None:
        self.index, self.embedder, self.progress = index, embedder, progress
        self.total = len(tasks)
        self.waiting = [t for t in tasks if not _is_there(index, t)]
        self.ok = self.already = self.total - len(self.waiting)
        self.bad: list[tuple[str, str, str]] = []

    def show(self) -> None:
        if self.progress:
            counts = {"rejected": len(self.bad)} if self.bad else {}
            self.progress(self.ok + len(self.bad), self.total, counts)

    def take(self, batch: Sequence[tuple[_Task, Any]]) -> None:
        """Encode and commit a few items; a bad one takes no other with it."""
        usable: list[tuple[Item, Any]] = []
        for task, ready in batch:
            item = task.item
            if isinstance(ready, Exception):
                self.refuse(item, ready)
                continue
            if isinstance(ready, Ready):
                item = replace(item, digest=ready.digest)
                there = known(self.index, item.key)
                if there is not None:
                    self.same_or_refused(item, there[1])
                    continue
            elif known(self.index, item.key) is not None:
                self.same_or_refused(item, None)
                continue
            usable.append((item, ready))
        good: list[tuple[Item, Vectors]] = []
        for item, answer in self.encoded(usable):
            if isinstance(answer, Exception):
                self.refuse(item, answer)
            else:
                good.append((item, answer))
        if good:
            add(self.index, [item for item, _ in good], np.stack([v for _, v in good]))
            self.ok += len(good)

    def encoded(self, usable: Sequence[tuple[Item, Any]]) -> list[tuple[Item, Any]]:
        """Return a vector, or why there is none, for each item."""
        found: list[tuple[Item, Any]] = []
        for kind, encode in (("image", self._pictures), ("report", self._texts)):
            part = [(i, r) for i, r in usable if i.kind == kind]
            try:
                answers: list[Any] = list(encode(part)) if part else []
            except Exception:
                answers = [self._alone(encode, one) for one in part]
            found += [(i, _directed(a)) for (i, _), a in zip(part, answers, strict=True)]
        return found

    def _alone(self, encode: Callable[..., Vectors], one: tuple[Item, Any]) -> Any:
        try:
            return encode([one])[0]
        except FundusionError as error:
            return error
        except Exception as error:
            return FundusionError(f"encoding failed: {type(error).__name__}: {error}.", code="internal")

    def _pictures(self, part: Sequence[tuple[Item, Any]]) -> Vectors:
        return self.embedder.pictures([ready.frames for _, ready in part])

    def _texts(self, part: Sequence[tuple[Item, Any]]) -> Vectors:
        return self.embedder.texts([item.report or "" for item, _ in part])

    def same_or_refused(self, item: Item, digest: str | None) -> None:
        """Count an item whose very content is there; refuse one that would take the place of another."""
        if digest is not None and digest == item.digest:
            self.ok += 1
            self.already += 1
            return
        message = f"the index holds something else as {item.kind} of study {item.study_id!r}."
        hint = "Forget that study first if this one goes in its place; else give each study an identifier of its own."
        self.refuse(item, InvalidInput(message, code="index.other_content", hint=hint))

    def refuse(self, item: Item, error: Exception) -> None:
        code, message = getattr(error, "code", "internal"), str(error)
        reject(self.index, item.key, item.study_id, patient_id=item.patient_id, code=code, message=message)
        self.bad.append((item.study_id, code, message))

    def answer(self, interrupted: bool) -> Indexed:
        counts = {"total": self.total, "ok": self.ok, "rejected": len(self.bad)}
        counts["pending"] = self.total - self.ok - len(self.bad)
        codes: dict[str, int] = {}
        for _, code, _ in self.bad:
            codes[code] = codes.get(code, 0) + 1
        return Indexed(
            counts=counts,
            already=self.already,
            codes=dict(sorted(codes.items())),
            rejected=tuple(self.bad),
            interrupted=interrupted,
        )


def _directed(answer: Any) -> Any:
    """Return a vector, or an error where it has no direction."""
    if isinstance(answer, Exception):
        return answer
    length = float(np.linalg.norm(answer.astype(np.float64)))
    if np.isfinite(length) and length > 0:
        return answer
    return FundusionError("the model gave a vector without direction.", code="model.not_finite")


def _tasks(records: Manifest | Sequence[StudyRecord], embedder: Embeds) -> Iterator[_Task]:
    """Give every file and report of the records, and what is bad about the others."""
    for record in records:
        fixed = {
            "study_id": record.study_id,
            "patient_id": record.patient_id,
            "laterality": record.laterality.value if record.laterality else None,
            "visit": record.visit,
            "split": record.split,
            "report": record.report if record.report and record.report.strip() else None,
            "cells": _cells(record),
        }
        paths = record.images.get(embedder.modality, ())
        for number, path in enumerate(paths):
            alone = replace(record, images={embedder.modality: (path,)})
            item = Item(
                key=f"image|{record.study_id}|{embedder.modality}|{number}",
                kind="image",
                modality=embedder.modality,
                path=path,
                **fixed,
            )
            yield _Task(item=item, record=alone)
        written = embedder.reads_text and fixed["report"] is not None
        if written:
            digest = hashlib.sha256(str(fixed["report"]).encode()).hexdigest()
            yield _Task(item=Item(key=f"report|{record.study_id}", kind="report", digest=digest, **fixed))
        if not paths and not written:
            error = InvalidInput(f"the study has no {embedder.modality} picture.", code="study.empty")
            yield _Task(
                item=Item(key=f"image|{record.study_id}|{embedder.modality}|0", kind="image", **fixed), error=error
            )
    for row in records.rejected if isinstance(records, Manifest) else ():
        yield _refused_row(row)


def _refused_row(row: RejectedRow) -> _Task:
    item = Item(key=f"row|{row.origin or ''}|{row.study_id}", kind="image", study_id=row.study_id)
    return _Task(item=item, error=FundusionError(row.message, code=row.code, hint=row.hint))


def _is_there(index: Index, task: _Task) -> bool:
    there = known(index, task.item.key)
    if there is None:
        return False
    return there[1] == task.item.digest if task.item.kind == "report" else there[0] == task.item.path


def _cells(record: StudyRecord) -> dict[str, float | str]:
    """Return what the table says, flat: a label of many parts is `task.part`. What is missing is left out."""
    found: dict[str, float | str] = {}
    for name, value in (*record.metadata.items(), *record.labels.items()):
        parts = {f"{name}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {name: value}
        for key, cell in parts.items():
            if isinstance(cell, str) and cell.strip():
                found.setdefault(key, cell)
            elif isinstance(cell, bool | int | float | np.number) and not is_missing(float(cell)):
                found.setdefault(key, float(cell))
    return found


def read_frames(record: StudyRecord, *, modality: str, wanted: ImageInput) -> Ready:
    """Return the frames of the file of a record."""
    inputs = {modality: wanted}
    taken = take_study(record, inputs)
    ready = prepare_study(taken.study, inputs, fields=taken.fields)
    digest = next((i.digest for i in taken.study.images.get(modality, ()) if i.digest), None)
    return Ready(frames=tuple(p.pixels for p in ready.images.get(modality, ())), digest=digest)
