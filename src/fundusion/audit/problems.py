"""Twins, table and fingerprints -> what is wrong, the gravest first, each with a code and a sentence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.study import StudyRecord, is_missing
from ..core.vocabulary import Laterality
from .scan import Scan
from .table import words_of
from .twins import Twin

#: Codes in the order of their gravity: what makes a measured number wrong, then what makes a label wrong, then the rest.
ORDER = (
    "split.leak",
    "model.contamination",
    "against.overlap",
    "label.contradiction",
    "patient.two_ids",
    "laterality.conflict",
    "laterality.disc_side",
    "input.overlap",
    "duplicate.exact",
    "duplicate.near",
)
#: Codes that `--strict` refuses.
LEAKS = ("split.leak", "model.contamination", "against.overlap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing to look at.

    Args:
        code: Of `ORDER`, or of a file that could not be read.
        sentence: For a person; names studies, never folders.
        studies: Identifiers.
        twin: The pair of files it rests on, None when it rests on the table alone.
    """

    code: str
    sentence: str
    studies: tuple[str, ...]
    twin: Twin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A study and the input it came from; `against` marks one that is only compared with."""

    record: StudyRecord
    source: str
    against: bool = False


def find_problems(
    members: Sequence[Member], owners: Mapping[int, Sequence[int]], twins: Sequence[Twin], found: Scan
) -> list[Problem]:
    """Return what the pictures show to be wrong; what the table alone shows is in `table.Audit`.

    Args:
        members: All studies.
        owners: Index of a file to the indices of its studies.
        twins: Pairs of files of one retina.
        found: Fingerprints.
    """
    problems: list[Problem] = []
    overlaps: dict[tuple[str, str], set[str]] = defaultdict(set)
    by_patients: dict[tuple[str, str], list[tuple[Member, Member, Twin]]] = defaultdict(list)
    for a, b, twin in _pairs(members, owners, twins):
        if a.against and b.against:
            continue
        problems += _of_pair(a, b, twin)
        if a.source != b.source:
            overlaps[a.source, b.source].add(a.record.study_id)
            overlaps[b.source, a.source].add(b.record.study_id)
        ids = (a.record.patient_id, b.record.patient_id)
        # Two sets number their patients each for itself: other ids in another input are no contradiction.
        if a.source == b.source and ids[0] and ids[1] and ids[0] != ids[1]:
            by_patients[min(ids), max(ids)].append((a, b, twin))
    problems += [_two_ids(ids, pairs) for ids, pairs in by_patients.items()]
    problems += _overlaps(members, overlaps)
    problems += _disc_sides(members, owners, found)
    rank = {code: i for i, code in enumerate(ORDER)}
    return sorted(problems, key=lambda p: rank[p.code])


def _pairs(
    members: Sequence[Member], owners: Mapping[int, Sequence[int]], twins: Sequence[Twin]
) -> Iterator[tuple[Member, Member, Twin]]:
    seen: set[tuple[int, int]] = set()
    same = [Twin(first=f, second=f, kind="identical") for f, o in owners.items() if len(o) > 1]
    for twin in (*same, *twins):
        for i in owners[twin.first]:
            for j in owners[twin.second]:
                pair = (min(i, j), max(i, j))
                if i == j or pair in seen:
                    continue
                seen.add(pair)
                yield members[i], members[j], twin


def _of_pair(a: Member, b: Member, twin: Twin) -> Iterator[Problem]:
    one, two = a.record, b.record
    studies = (one.study_id, two.study_id)
    names = f"{one.study_id} and {two.study_id}"
    if a.against != b.against:
        mine, theirs = (b, a) if a.against else (a, b)
        sentence = f"{mine.record.study_id} is also in {theirs.source} as {theirs.record.study_id}: {twin.words}"
        yield Problem(code="against.overlap", sentence=sentence, studies=studies, twin=twin)
    elif one.split and two.split and one.split != two.split:
        sentence = f"{one.study_id} ({one.split}) and {two.study_id} ({two.split}) are in two splits: {twin.words}"
        yield Problem(code="split.leak", sentence=sentence, studies=studies, twin=twin)
    different = _contradictions(one, two)
    if different:
        said = "; ".join(f"{task}: {x} and {y}" for task, x, y in different)
        sentence = f"{names} have different labels ({said}): {twin.words}"
        yield Problem(code="label.contradiction", sentence=sentence, studies=studies, twin=twin)
    eyes = {one.laterality, two.laterality}
    if twin.variant == "upright" and eyes == {Laterality.RIGHT, Laterality.LEFT}:
        sentence = f"{names} are named as two eyes: {twin.words}"
        yield Problem(code="laterality.conflict", sentence=sentence, studies=studies, twin=twin)
    code = "duplicate.exact" if twin.kind == "identical" else "duplicate.near"
    yield Problem(code=code, sentence=f"{names}: {twin.words}", studies=studies, twin=twin)


def _contradictions(one: StudyRecord, two: StudyRecord) -> list[tuple[str, str, str]]:
    """Return tasks both are annotated for, with different answers."""
    different = []
    for task in sorted(set(one.labels) & set(two.labels)):
        x, y = one.labels[task], two.labels[task]
        if isinstance(x, Mapping) and isinstance(y, Mapping):
            both = [k for k in x if k in y and not is_missing(x[k]) and not is_missing(y[k])]
            clash = any(float(x[k]) != float(y[k]) for k in both)
            x, y = {k: x[k] for k in both}, {k: y[k] for k in both}
        else:
            clash = bool(words_of(x)) and bool(words_of(y)) and set(words_of(x)) != set(words_of(y))
        if clash:
            different.append((task, "|".join(words_of(x)), "|".join(words_of(y))))
    return different


def _two_ids(ids: tuple[str, str], pairs: Sequence[tuple[Member, Member, Twin]]) -> Problem:
    strongest = max(pairs, key=lambda p: p[2].similarity)
    one, two = strongest[0].record, strongest[1].record
    shared = [k for k in one.metadata if not is_missing(one.metadata[k]) and one.metadata[k] == two.metadata.get(k)]
    other = [
        k for k in one.metadata
        if k in two.metadata and not is_missing(one.metadata[k]) and not is_missing(two.metadata[k]) and k not in shared
    ]  # fmt: skip
    table = (f"; equal in the table: {', '.join(shared)}" if shared else "") + (
        f"; different: {', '.join(other)}" if other else ""
    )
    many = f" and {len(pairs) - 1} more" if len(pairs) > 1 else ""
    sentence = (
        f"patients {ids[0]} and {ids[1]} look like one person: {one.study_id} and {two.study_id}{many}, "
        f"{strongest[2].words}{table}"
    )
    studies = tuple(dict.fromkeys(m.record.study_id for p in pairs for m in p[:2]))
    return Problem(code="patient.two_ids", sentence=sentence, studies=studies, twin=strongest[2])


def _overlaps(members: Sequence[Member], overlaps: Mapping[tuple[str, str], set[str]]) -> Iterator[Problem]:
    total: dict[str, int] = defaultdict(int)
    for member in members:
        total[member.source] += 1
    for (inside, other), studies in sorted(overlaps.items()):
        share = len(studies) / total[inside]
        sentence = f"{len(studies)} of {total[inside]} studies ({share:.0%}) of {inside} are also in {other}"
        yield Problem(code="input.overlap", sentence=sentence, studies=tuple(sorted(studies)))


def _disc_sides(members: Sequence[Member], owners: Mapping[int, Sequence[int]], found: Scan) -> Iterator[Problem]:
    for i in range(len(found.files)):
        if not found.sides[i]:
            continue
        seen = Laterality.RIGHT if found.sides[i] > 0 else Laterality.LEFT
        for owner in owners[i]:
            member = members[owner]
            stated = member.record.laterality
            if stated is None or stated == seen or member.against:
                continue
            sentence = (
                f"{member.record.study_id} is named {stated.value}, the optic disc lies as in {seen.value}: the eye is "
                "named wrongly, the picture is mirrored, or it shows another field"
            )
            # A pair of the file with itself carries the picture to the page.
            twin = Twin(first=i, second=i, kind="identical")
            yield Problem(code="laterality.disc_side", sentence=sentence, studies=(member.record.study_id,), twin=twin)


def summary(problems: Sequence[Problem]) -> dict[str, int]:
    """Return how many problems there are of each code, in the order of their gravity."""
    counts: dict[str, int] = {}
    for problem in problems:
        counts[problem.code] = counts.get(problem.code, 0) + 1
    return counts


def to_dict(problem: Problem) -> dict[str, Any]:
    """Return a JSON-ready form."""
    twin = problem.twin if problem.twin and problem.twin.first != problem.twin.second else None
    pair = {"kind": twin.kind, "variant": twin.variant, "similarity": round(twin.similarity, 3)} if twin else None
    return {"code": problem.code, "sentence": problem.sentence, "studies": list(problem.studies), "pair": pair}
