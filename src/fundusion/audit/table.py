"""Look at a table of studies before time is spent on it: files, repetitions, patients across splits, label sets."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import FundusionError
from ..core.study import StudyRecord, is_missing
from ..core.tasks import STANDARD_TASKS
from ..core.vocabulary import TABLE, TEXT
from ..transforms.targets import encode_label

Progress = Callable[[int, int], Any]
#: A label with fewer studies can neither be learned nor measured.
RARE = 5
#: A column of labels with more different values than this is no label set.
_MOST_VALUES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What a table of studies holds and what is wrong with it.

    Args:
        studies: Number of studies.
        patients: Number of patients that are named.
        unnamed: Studies without a patient identifier; how many patients these are is not known.
        files: Number of different files.
        modalities: Modality to number of studies that have it.
        labels: Task to label to number of studies; "(not annotated)" counts the rest.
        missing: Files that do not exist: (study, path).
        empty: Files of no bytes: (study, path).
        repeated: Groups of studies that hold a file of the same content.
        leaks: Patients in more than one split: patient to splits.
        twins: Identity (patient, visit, eye) of more than one study, to the studies.
        strange: Label cells outside their set: (study, task, message).
        content_leaks: Groups of `repeated` that stand in several splits.
    """

    studies: int
    patients: int
    files: int
    modalities: Mapping[str, int]
    labels: Mapping[str, Mapping[str, int]]
    missing: tuple[tuple[str, str], ...] = ()
    empty: tuple[tuple[str, str], ...] = ()
    repeated: tuple[tuple[str, ...], ...] = ()
    leaks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    twins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    strange: tuple[tuple[str, str, str], ...] = ()
    content_leaks: tuple[tuple[str, ...], ...] = ()
    unnamed: int = 0

    def problems(self, *, pictures: bool = True) -> list[str]:
        """Return a sentence for each thing to look at, the gravest first.

        Args:
            pictures: False leaves out leaks and repeated content, which a look at the pictures tells better.
        """
        lines: list[str] = []
        if pictures:
            lines += [f"patient {p} is in splits {' and '.join(s)}" for p, s in self.leaks.items()]
            lines += [f"the same picture is in several splits: {', '.join(g)}" for g in self.content_leaks]
        lines += [f"{s}: file is missing: {os.path.basename(p)}" for s, p in self.missing]
        lines += [f"{s}: file is empty: {os.path.basename(p)}" for s, p in self.empty]
        lines += [f"{s}: {t}: {m}" for s, t, m in self.strange]
        if pictures:
            unsplit = [g for g in self.repeated if g not in self.content_leaks]
            lines += [f"the same file content under: {', '.join(g)}" for g in unsplit]
        lines += [f"{who} is the eye of several studies: {', '.join(s)}" for who, s in self.twins.items()]
        for task, counts in self.labels.items():
            known = {k: v for k, v in counts.items() if not k.startswith("(")}
            if len(known) == 1:
                lines.append(f"label {task} has one value only: {next(iter(known))}")
            rare = [k for k, v in known.items() if 0 < v < RARE and k != "none"]
            if rare and len(known) > 1:
                lines.append(f"label {task}: fewer than {RARE} studies of {', '.join(rare)}")
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "studies": self.studies,
            "patients": self.patients,
            "studies_without_patient": self.unnamed,
            "files": self.files,
            "modalities": dict(self.modalities),
            "labels": {t: dict(c) for t, c in self.labels.items()},
            "missing_files": [list(x) for x in self.missing],
            "empty_files": [list(x) for x in self.empty],
            "repeated_content": [list(x) for x in self.repeated],
            "content_in_several_splits": [list(x) for x in self.content_leaks],
            "patients_in_several_splits": {p: list(s) for p, s in self.leaks.items()},
            "studies_of_one_eye_and_visit": {w: list(s) for w, s in self.twins.items()},
            "labels_outside_their_set": [list(x) for x in self.strange],
            "problems": self.problems(),
        }


def check_records(
    records: Sequence[StudyRecord],
    *,
    contents: Mapping[str, str] | None = None,
    progress: Progress | None = None,
) -> Audit:
    """Return what the records hold; no picture is decoded.

    Args:
        records: Studies of one table.
        contents: Path to digest, "missing" or "empty" where it is known; None reads every file once.
        progress: Called with (files done, files).
    """
    owners: dict[str, list[str]] = defaultdict(list)
    for record in records:
        for paths in record.images.values():
            for path in paths:
                owners[path].append(record.study_id)
    contents = _contents(list(owners), progress) if contents is None else {p: contents[p] for p in owners}
    by_content: dict[str, list[str]] = defaultdict(list)
    for path, digest in contents.items():
        if digest not in ("missing", "empty"):
            by_content[digest] += owners[path]
    split_of = {r.study_id: r.split for r in records}
    repeated = [tuple(dict.fromkeys(s)) for s in by_content.values() if len(set(s)) > 1]
    across = [g for g in repeated if len({split_of[s] for s in g if split_of[s]}) > 1]
    counts, strange = _labels(records)
    return Audit(
        studies=len(records),
        patients=len({r.patient_id for r in records if r.patient_id is not None}),
        unnamed=sum(r.patient_id is None for r in records),
        files=len(owners),
        modalities=_modalities(records),
        labels=counts,
        missing=tuple((owners[p][0], p) for p, d in contents.items() if d == "missing"),
        empty=tuple((owners[p][0], p) for p, d in contents.items() if d == "empty"),
        repeated=tuple(repeated),
        content_leaks=tuple(across),
        leaks=_leaks(records),
        twins=_twins(records),
        strange=tuple(strange),
    )


def _contents(paths: Sequence[str], progress: Progress | None) -> dict[str, str]:
    answer: dict[str, str] = {}
    with ThreadPoolExecutor(4) as pool:
        for done, (path, digest) in enumerate(zip(paths, pool.map(_content, paths), strict=True), 1):
            answer[path] = digest
            if progress:
                progress(done, len(paths))
    return answer


def _content(path: str) -> str:
    if os.path.isdir(path):
        # A folder of B-scans: its files in order are its content.
        inner = sorted(os.path.join(path, n) for n in os.listdir(path) if not n.startswith("."))
        parts = [_content(p) for p in inner]
        return hashlib.sha256("|".join(parts).encode()).hexdigest() if parts else "empty"
    try:
        with open(path, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            return digest if stream.tell() else "empty"
    except OSError:
        return "missing"


def _modalities(records: Iterable[StudyRecord]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for record in records:
        counts.update(list(record.images))
        counts[TEXT] += bool(record.report and record.report.strip())
        counts[TABLE] += any(not is_missing(v) for v in record.metadata.values())
    return {m: n for m, n in counts.most_common() if n}


def _leaks(records: Iterable[StudyRecord]) -> dict[str, tuple[str, ...]]:
    splits: dict[str, set[str]] = defaultdict(set)
    for record in records:
        if record.split:
            splits[record.group].add(record.split)
    return {p: tuple(sorted(s)) for p, s in splits.items() if len(s) > 1}


def _twins(records: Iterable[StudyRecord]) -> dict[str, tuple[str, ...]]:
    seen: dict[str, list[str]] = defaultdict(list)
    for r in records:
        if r.patient_id is not None and r.laterality is not None and r.visit is not None:
            seen[f"patient {r.patient_id}, visit {r.visit}, {r.laterality.value}"].append(r.study_id)
    return {who: tuple(s) for who, s in seen.items() if len(s) > 1}


def _labels(records: Sequence[StudyRecord]) -> tuple[dict[str, dict[str, int]], list[tuple[str, str, str]]]:
    names = sorted({n for r in records for n in r.labels})
    counts: dict[str, dict[str, int]] = {}
    strange: list[tuple[str, str, str]] = []
    for name in names:
        found: Counter[str] = Counter()
        for record in records:
            words = words_of(record.labels.get(name))
            found.update(words or ["(not annotated)"])
            if name in STANDARD_TASKS:
                try:
                    encode_label(STANDARD_TASKS[name], record.labels.get(name))
                except FundusionError as error:
                    strange.append((record.study_id, name, error.message))
        if len(found) > _MOST_VALUES:
            annotated = len(records) - found["(not annotated)"]
            found = Counter({"(numbers or many values)": annotated, "(not annotated)": found["(not annotated)"]})
        counts[name] = {k: n for k, n in sorted(found.items()) if n}
    return counts, strange


def words_of(value: Any) -> list[str]:
    """Return the classes a label cell names; none when it is not annotated.

    Example:
        >>> words_of(2.0), words_of("N|D"), words_of({"N": 0.0, "D": 1.0}), words_of(float("nan"))
        (['2'], ['N', 'D'], ['D'], [])
    """
    if isinstance(value, Mapping):
        known = {str(k): v for k, v in value.items() if not is_missing(v)}
        return [k for k, v in known.items() if float(v) == 1.0] or (["none"] if known else [])
    if isinstance(value, (tuple, list)):
        return [str(v) for v in value]
    if is_missing(value):
        return []
    # A grade read from a table with gaps is 2.0; it is the grade 2.
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
    return [w.strip() for w in text.split("|") if w.strip()]
