"""What came of reading a set: its records, and each file that is missing, each that no table lists, each row that contradicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

from ..core.errors import InvalidInput, ReadError
from ..core.registry import DatasetCard
from ..core.study import StudyRecord, is_missing
from ..core.vocabulary import Laterality
from ..readers.manifest import RejectedRow
from ._tables import Row, number_of, rows
from ._tree import Folder, locate


class Reading(Sequence[StudyRecord]):
    """Records of a set and what its folder does not agree with.

    Args:
        records: One per eye and visit, or per picture where the set tells no more.
        missing: Files that a table lists and the folder has not, relative to the folder of the set.
        unlisted: Pictures that no table lists, relative to the folder of the set.
        contradictory: (where, sentence) of rows that contradict each other, the file name or the scale.
        notes: What a user should know: parts that are absent, rows said twice.
        rejected: Studies that a table lists and that are no records: their picture is missing, or their rows contradict.
        folder: Folder of the set.
    """

    def __init__(
        self,
        records: Sequence[StudyRecord],
        *,
        missing: Sequence[str] = (),
        unlisted: Sequence[str] = (),
        contradictory: Sequence[tuple[str, str]] = (),
        notes: Sequence[str] = (),
        rejected: Sequence[RejectedRow] = (),
        folder: str = "",
    ) -> None:
        self.records = tuple(records)
        self.missing = tuple(missing)
        self.unlisted = tuple(unlisted)
        self.contradictory = tuple(contradictory)
        self.notes = tuple(notes)
        self.rejected = tuple(rejected)
        self.folder = folder

    @overload
    def __getitem__(self, index: int) -> StudyRecord: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[StudyRecord]: ...
    def __getitem__(self, index: int | slice) -> StudyRecord | Sequence[StudyRecord]:
        return self.records[index]

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[StudyRecord]:
        return iter(self.records)

    def of_split(self, split: str | None) -> Reading:
        """Return the reading with the records of one part; what was found wrong stays."""
        if split is None:
            return self
        known = sorted({r.split for r in self.records if r.split})
        if split not in known:
            raise InvalidInput(
                f"the folder has no part {split!r}.",
                code="dataset.split",
                hint=f"Its parts are {', '.join(known)}." if known else "The set has no parts: leave the split out.",
            )
        return Reading(
            [r for r in self.records if r.split == split],
            missing=self.missing,
            unlisted=self.unlisted,
            contradictory=self.contradictory,
            notes=self.notes,
            rejected=self.rejected,
            folder=self.folder,
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many records each part, modality, structure and label value has."""
        table: dict[str, Counter[str]] = {"split": Counter(), "modality": Counter()}
        for record in self.records:
            table["split"][record.split or "(none)"] += 1
            table["modality"].update(record.images.keys())
            if record.masks:
                table.setdefault("mask", Counter()).update(record.masks.keys())
            for task, value in record.labels.items():
                table.setdefault(f"label {task}", Counter()).update(_words(task, value))
        return {name: dict(sorted(counter.items())) for name, counter in table.items()}

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready report without the records."""
        return {
            "records": len(self.records),
            "patients": len({r.patient_id for r in self.records if r.patient_id is not None}),
            "counts": self.counts(),
            "listed_but_missing": list(self.missing),
            "present_but_unlisted": list(self.unlisted),
            "contradictory": [{"where": where, "what": what} for where, what in self.contradictory],
            "left_out": [{"study": r.study_id, "code": r.code, "why": r.message} for r in self.rejected],
            "notes": list(self.notes),
        }


def _words(task: str, value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [k for k, v in value.items() if v == 1] or ["none of them"]
    if isinstance(value, (tuple, list)):
        return ["(point)"] if task.endswith("_px") else [str(v) for v in value] or ["none of them"]
    if isinstance(value, float):
        # A measurement has too many values to count one by one.
        return [f"{value:g}"] if value == int(value) and 0 <= value < 10 else ["(number)"]
    return [str(value)[:60]]


_WATCH: ContextVar[Callable[[int], None] | None] = ContextVar("watch", default=None)


@contextmanager
def watched(show: Callable[[int], None]) -> Iterator[None]:
    """Call `show` with the number of records every thousand records that are read inside."""
    token = _WATCH.set(show)
    try:
        yield
    finally:
        _WATCH.reset(token)


class Collector:
    """Gathers records while a set is read, and compares what tables list with what is there."""

    def __init__(self, base: Folder) -> None:
        self.base = base
        self._records: dict[str, StudyRecord] = {}
        self._dropped: set[str] = set()
        self._used: set[Path] = set()
        self._missing: dict[str, None] = {}
        self._unlisted: dict[str, None] = {}
        self._contradictory: list[tuple[str, str]] = []
        self._notes: dict[str, int] = {}
        self._rejected: dict[str, RejectedRow] = {}
        self._show = _WATCH.get()
        self._count = 0

    def relative(self, path: str | Path) -> str:
        """Return a path as it stands below the folder of the set."""
        try:
            text = Path(path).relative_to(self.base.path).as_posix()
        except ValueError:
            text = Path(path).name
        # Names that are no UTF-8 exist on disks that came from elsewhere; they must be printable.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")

    def note(self, sentence: str) -> None:
        """Keep a sentence for the user; the same one is kept once, with a count."""
        self._notes[sentence] = self._notes.get(sentence, 0) + 1

    def contradiction(self, where: str, what: str, *, lost: str | None = None) -> None:
        """Keep a row that cannot be right; `lost` is the study that is left out because of it."""
        self._contradictory.append((where, what))
        if lost is not None:
            self._reject(lost, "dataset.contradictory", what, where)

    def lost(self, expected: str) -> None:
        """Keep a listed picture that is not there: its study is left out."""
        self.missing(expected)
        self._reject(expected, "file.missing", "the listed picture is not in the folder", expected)

    def _reject(self, study: str, code: str, message: str, origin: str) -> None:
        hint = "Unpack the set again; a part of it may be an archive of its own." if code == "file.missing" else ""
        self._rejected[study] = RejectedRow(study_id=study, code=code, message=message, hint=hint, origin=origin)

    def missing(self, path: str | Path) -> None:
        """Keep a file that is listed and not there."""
        self._missing[self.relative(path) if Path(path).is_absolute() else str(path)] = None

    def pick(self, files: Mapping[str, Path], stem: str, *, expected: str) -> Path | None:
        """Return the file of a listed stem; when it is not there, `expected` is kept as missing."""
        found = files.get(stem)
        if found is None:
            self.lost(expected)
        return found

    def unlisted(self, files: Iterable[Path], *, forget: bool = False) -> None:
        """Keep those of the files that no record uses; `forget` frees the names of a folder that is not asked about again."""
        for path in files:
            if path not in self._used:
                self._unlisted[self.relative(path)] = None
            elif forget:
                self._used.discard(path)

    def use(self, *paths: Path) -> None:
        """Say that files are accounted for though no record holds them."""
        self._used.update(paths)

    def rows(self, path: Path, *, needs: Sequence[str | tuple[str, ...]]) -> Iterator[Row]:
        """Yield the lines of a table; one with more cells than the header is contradictory, for its columns may be shifted."""
        for row in rows(path, needs=needs):
            if row.too_long:
                what = "the line has more cells than the header; it was left out"
                self.contradiction(row.origin, what, lost=row.origin)
            else:
                yield row

    def choice(self, row: Row, column: str, meanings: Mapping[str, Any]) -> Any | None:
        """Return what a coded cell means; None when it is empty, and a contradiction when the code is not known."""
        text = row.known(column)
        if text is None:
            return None
        key = text.casefold()
        number = number_of(text)
        if key not in meanings and number is not None and number == int(number):
            key = str(int(number))
        if key not in meanings:
            self.contradiction(row.origin, f"{column} is {text[:40]!r}; known are {', '.join(meanings)}")
            return None
        return meanings[key]

    def grade(self, row: Row, column: str, highest: int) -> float | None:
        """Return a grade from 0 to `highest`; None when the cell is empty or holds anything else."""
        value = self.choice(row, column, {str(g): float(g) for g in range(highest + 1)})
        return None if value is None else float(value)

    def add(self, study_id: str, *, images: Mapping[str, Iterable[Path | str]], **fields: Any) -> None:
        """Keep a record. Two rows for one study that differ are contradictory: neither is kept."""
        files = {m: tuple(str(p) for p in paths) for m, paths in images.items()}
        masks = {m: tuple(str(p) for p in paths) for m, paths in (fields.pop("masks", None) or {}).items()}
        self._used.update(Path(p.partition("#")[0]) for group in (files, masks) for v in group.values() for p in v)
        fields["metadata"] = fields.get("metadata") or {}
        fields["labels"] = {k: v for k, v in (fields.get("labels") or {}).items() if not is_missing(v)}
        record = StudyRecord(
            study_id=study_id,
            images={m: tuple(_absolute(p) for p in v) for m, v in files.items()},
            masks={m: tuple(_absolute(p) for p in v) for m, v in masks.items()},
            **fields,
        )
        known = self._records.get(study_id)
        self._count += 1
        if self._show is not None and self._count % 1000 == 0:
            self._show(self._count)
        if study_id in self._dropped:
            self.contradiction(record.origin or study_id, f"{study_id} is listed again")
        elif known is None:
            self._records[study_id] = record
        elif repr(replace(known, origin=None)) == repr(replace(record, origin=None)):
            self.note("rows that repeat an earlier row word for word were left out")
        else:
            what = f"{study_id} differs from what {known.origin} says; neither is kept"
            self.contradiction(record.origin or study_id, what, lost=study_id)
            del self._records[study_id]
            self._dropped.add(study_id)

    def done(self, split: str | None = None) -> Reading:
        """Return what was gathered."""
        records = list(self._records.values())
        self.unlisted(sorted(self.base.shadowed))
        notes = [s if n == 1 else f"{s} ({n} times)" for s, n in self._notes.items()]
        contradictory = list(self._contradictory)
        across: dict[str, set[str]] = {}
        for record in records:
            if record.patient_id is not None and record.split:
                across.setdefault(record.patient_id, set()).add(record.split)
        for patient, splits in across.items():
            if len(splits) > 1:
                contradictory.append((f"patient {patient}", f"stands in {' and '.join(sorted(splits))}"))
        if records and all(r.patient_id is None for r in records):
            notes.append("the set has no patient identifier; none is invented")
        return Reading(
            records,
            missing=tuple(self._missing),
            unlisted=tuple(self._unlisted),
            contradictory=tuple(contradictory),
            notes=tuple(notes),
            rejected=tuple(self._rejected.values()),
            folder=str(self.base.path),
        ).of_split(split)


def begin(root: str | Path, fits: Callable[[Folder], object], card: DatasetCard) -> Collector:
    """Return a collector for the folder of a set.

    Raises:
        ReadError: `dataset.layout`: no folder here has the layout; says what was looked for.
    """
    base = locate(root, fits)
    if base is None:
        raise ReadError(
            f"{Path(root).name!r} does not look like {card.title}.",
            code="dataset.layout",
            hint=f"Needed is {card.layout} Give the folder as it was unpacked, or the one that holds it.",
        )
    return Collector(base)


def eye_of(word: str) -> Laterality | None:
    """Return the eye of a word that stands for one; anything else is no eye.

    Example:
        >>> eye_of("left"), eye_of("OD"), eye_of("both")
        (<Laterality.LEFT: 'OS'>, <Laterality.RIGHT: 'OD'>, None)
    """
    return {
        "left": Laterality.LEFT, "l": Laterality.LEFT, "os": Laterality.LEFT,
        "right": Laterality.RIGHT, "r": Laterality.RIGHT, "od": Laterality.RIGHT,
    }.get(word.strip().casefold())  # fmt: skip


def disease_of(grade: float | None) -> dict[str, float] | None:
    """Return what a retinopathy grade says of the eight labels: of D all, of N only that such an eye is not normal.

    Example:
        >>> disease_of(2.0), disease_of(0.0)
        ({'D': 1.0, 'N': 0.0}, {'D': 0.0})
    """
    if grade is None:
        return None
    return {"D": 1.0, "N": 0.0} if grade > 0 else {"D": 0.0}


def _absolute(path: str) -> str:
    return str(Path(path).absolute())
