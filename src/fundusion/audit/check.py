"""Inputs -> everything that `fundusion check` knows about them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..core.study import StudyRecord
from ..datasets.folder import discover
from .cache import FingerprintCache
from .contamination import contaminated
from .counts import Counts, class_tables, missing_table
from .disc_side import MEASURED
from .problems import LEAKS, Member, Problem, find_problems, summary, to_dict
from .scan import File, Scan, scan
from .table import Audit, check_records
from .twins import Twin, find_twins

_READ_AS = re.compile(r"^'(?P<source>.+)' was read as (?P<name>\S+)$")
#: Gives the progress of a named step.
Steps = Callable[[str], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """The answer of a check.

    Args:
        members: All studies, those only compared with too.
        table: What the table alone shows.
        problems: What the pictures show, the gravest first.
        twins: Pairs of files of one retina.
        scan: Fingerprints.
        classes: Class counts per split, by label.
        missing: What is missing per split.
        rejected_rows: Rows of tables that are no record: origin, code, message.
        sources: Inputs and how many studies each gave.
        notes: How inputs were read, and what could not be compared.
    """

    members: Sequence[Member]
    table: Audit
    problems: Sequence[Problem]
    twins: Sequence[Twin]
    scan: Scan
    classes: Sequence[Counts]
    missing: Counts
    rejected_rows: Sequence[tuple[str, str, str]]
    sources: Mapping[str, int]
    notes: Sequence[str] = field(default_factory=tuple)

    def leaks(self) -> list[str]:
        """Return a sentence for each leak: patients or pictures in several splits, and overlap that was asked about."""
        patients = [_leak(p, s, self.members) for p, s in self.table.leaks.items()]
        return [*patients, *(p.sentence for p in self.problems if p.code in LEAKS)]

    def sentences(self) -> list[str]:
        """Return a sentence for everything there is to look at, the gravest first."""
        rejected = [f"{o}: {c}: {m}" for o, c, m in (*self.rejected_files(), *self.rejected_rows)]
        ours = [p.sentence for p in self.problems if p.code not in LEAKS]
        return [*self.leaks(), *ours, *rejected, *self.table.problems(pictures=False)]

    def rejected_files(self) -> list[tuple[str, str, str]]:
        """Return study, code and message of each file that cannot be used; missing and empty ones are in the table."""
        owner = _first_owner(self.members)
        return [
            (owner[self.scan.files[i]], code, message)
            for i, (code, message) in sorted(self.scan.rejected.items())
            if code != "file.missing" and self.scan.files[i][1] not in {p for _, p in self.table.empty}
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            **self.table.to_dict(),
            "inputs": dict(self.sources),
            "codes": summary(self.problems),
            "findings": [to_dict(p) for p in self.problems],
            "pictures": {
                "compared": int(self.scan.usable.sum()),
                "identical_pairs": sum(t.kind == "identical" for t in self.twins),
                "copies": sum(t.kind == "copy" for t in self.twins),
                "alike": sum(t.kind == "alike" for t in self.twins),
                "disc_side_answers": int((self.scan.sides != 0).sum()),
                "disc_side_measured": [list(m) for m in MEASURED],
            },
            "classes": [_counts(c) for c in self.classes],
            "missing": _counts(self.missing),
            "rejected_files": [list(r) for r in self.rejected_files()],
            "rejected_rows": [list(r) for r in self.rejected_rows],
            "notes": list(self.notes),
            "problems": self.sentences(),
        }


def check(
    inputs: Sequence[str | Path],
    *,
    against: Sequence[str | Path] = (),
    reading: Mapping[str, Any] | None = None,
    model: str | None = None,
    cache: str | Path | None = None,
    workers: int = 0,
    steps: Steps | None = None,
) -> Checked:
    """Return what the inputs hold and what is wrong with them.

    Args:
        inputs: Tables, folders or files; overlaps between them are told.
        against: Inputs that are only compared with.
        reading: How tables are read: arguments of `datasets.folder.discover` such as `columns`, `root`, `schema`.
        model: A shipped or published model; tells whether it was trained on what is given.
        cache: Folder of kept fingerprints; None keeps none.
        workers: Processes that read pictures.
        steps: Gives a context manager for a named step, which gives a function of (done, total).

    Raises:
        InvalidInput: An input cannot be used at all.
        ExhaustedResource: The volume of the cache is full.
    """
    members, rejected, notes = _members(inputs, against, reading or {})
    files, owners = _files(members)
    step = steps or (lambda _: nullcontext(None))
    with FingerprintCache(cache) if cache else nullcontext(None) as kept, step("pictures") as show:
        found = scan(files, cache=kept, workers=workers, progress=show)
    with step("pairs") as show:
        twins, unread = find_twins(found, workers=workers, progress=show)
    records = [m.record for m in members if not m.against]
    read_as = [(m["source"], m["name"]) for n in notes if (m := _READ_AS.match(n))]
    problems = contaminated(read_as, model) if model else []
    problems += find_problems(members, owners, twins, found)
    if unread:
        notes.append(f"{unread} pairs could not be read again for the second look")
    sources: dict[str, int] = {}
    for member in members:
        sources[member.source] = sources.get(member.source, 0) + 1
    return Checked(
        members=members,
        table=check_records(records, contents=_contents(found)),
        problems=sorted(problems, key=lambda p: p.code not in LEAKS),
        twins=twins,
        scan=found,
        classes=class_tables(records),
        missing=missing_table(records),
        rejected_rows=rejected,
        sources=sources,
        notes=tuple(notes),
    )


def _members(
    inputs: Sequence[str | Path],
    against: Sequence[str | Path],
    reading: Mapping[str, Any],
) -> tuple[list[Member], list[tuple[str, str, str]], list[str]]:
    members: list[Member] = []
    rejected: list[tuple[str, str, str]] = []
    notes: list[str] = []
    given = [(p, False) for p in inputs] + [(p, True) for p in against]
    names = _names([p for p, _ in given])
    for name, (path, only_compared) in zip(names, given, strict=True):
        found = discover([path], **reading)
        notes += [n.replace(f"'{Path(path).name}' was", f"'{name}' was") for n in found.notes]
        rejected += [(r.origin, r.code, r.message) for r in found.rejected]
        for record in found:
            # With several inputs the same identifier may stand for two studies.
            if len(given) > 1:
                record = replace(record, study_id=f"{name}:{record.study_id}")
            members.append(Member(record=record, source=name, against=only_compared))
    return members, rejected, notes


def _names(paths: Sequence[str | Path]) -> list[str]:
    """Return a short name for each input; equal ones get the folder before, then a number."""
    short = [Path(p).absolute().name for p in paths]
    named = [
        n if short.count(n) == 1 else "/".join(Path(p).absolute().parts[-2:]) for n, p in zip(short, paths, strict=True)
    ]
    return [n if named.count(n) == 1 else f"{n}~{i + 1}" for i, n in enumerate(named)]


def _files(members: Sequence[Member]) -> tuple[list[File], dict[int, list[int]]]:
    index: dict[File, int] = {}
    owners: dict[int, list[int]] = {}
    for i, member in enumerate(members):
        for modality, paths in member.record.images.items():
            for path in paths:
                at = index.setdefault((modality, path), len(index))
                if i not in owners.setdefault(at, []):
                    owners[at].append(i)
    return list(index), owners


def _contents(found: Scan) -> dict[str, str]:
    """Return path to digest; a file that could not be decoded counts as unlike every other."""
    answer = {}
    for i, (_, path) in enumerate(found.files):
        code = found.rejected.get(i, ("", ""))[0]
        if found.usable[i]:
            answer[path] = found.digests[i].tobytes().hex()
        elif code == "file.missing":
            answer[path] = "missing"
        else:
            answer[path] = "empty" if _is_empty(path) else f"unreadable {i}"
    return answer


def _is_empty(path: str) -> bool:
    try:
        return Path(path).stat().st_size == 0
    except OSError:
        return False


def _first_owner(members: Sequence[Member]) -> dict[File, str]:
    owner: dict[File, str] = {}
    for member in members:
        for modality, paths in member.record.images.items():
            for path in paths:
                owner.setdefault((modality, path), member.record.study_id)
    return owner


def _leak(patient: str, splits: Sequence[str], members: Sequence[Member]) -> str:
    eyes: dict[str, set[str]] = {}
    for member in members:
        record: StudyRecord = member.record
        if record.group == patient and record.split and record.laterality:
            eyes.setdefault(record.laterality.value, set()).add(record.split)
    divided = len(eyes) == 2 and len({frozenset(s) for s in eyes.values()}) == 2
    return f"patient {patient} is in splits {' and '.join(splits)}" + (" (the two eyes are divided)" if divided else "")


def _counts(counts: Counts) -> dict[str, Any]:
    return {
        "title": counts.title,
        "columns": [list(c) for c in counts.columns],
        "rows": [[n, *v] for n, v in counts.rows],
    }
