"""Whether a finding is said to be there: cues before and after it, and how several of them add up.

A cue is a word such as "no", "cannot exclude" or "已吸收" with a kind and a direction. The languages decide how far a cue
reaches; the sum of the kinds that reach a finding is its status.

Source: negation, history, hypothesis and experiencer as in ConText, Harkema et al. 2009, doi:10.1016/j.jbi.2009.05.002;
doubt and the rules of Chinese are added here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

#: Cues looked at on each side of a finding. A farther one is cut off by the nearer ones; the bound keeps the time linear.
_NEAREST = 8

#: Whether a cue reaches a finding, given all cues of the sentence; None when it cannot be told.
Reach = Callable[["Cue", tuple[int, int], Sequence["Cue"]], "bool | None"]

#: What a report may say of a finding.
STATUSES = ("present", "absent", "uncertain", "history", "conditional", "family")
#: Characters that hide findings, eyes and numbers while cues are looked for.
TERM, EYE, NUMBER = "\x01", "\x02", "\x03"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cue:
    """A word that changes the status of findings near it.

    Args:
        kind: A status, or "affirmed" for words that look like a negation and are none ("no change in").
        forward: Whether it stands before the finding.
        start: Position in the sentence.
        end: One past its last character.
        text: The word.
    """

    kind: str
    forward: bool
    start: int
    end: int
    text: str


def mask(
    text: str, terms: Sequence[tuple[int, int]], eyes: Sequence[tuple[int, int]], numbers: Sequence[tuple[int, int]]
) -> str:
    """Return a sentence in small letters in which findings, eyes and numbers are marks of the same length.

    Example:
        >>> mask("No MA OD", [(3, 5)], [(6, 8)], []).encode()
        b'no \\x01\\x01 \\x02\\x02'
    """
    characters = [c if len(c.lower()) != 1 else c.lower() for c in text]
    for mark, spans in ((NUMBER, numbers), (EYE, eyes), (TERM, terms)):
        for start, end in spans:
            characters[start:end] = mark * (end - start)
    return "".join(characters)


def compile_cues(table: Mapping[tuple[str, str], Sequence[str]]) -> re.Pattern[str]:
    """Return one pattern for all cues; a longer cue wins over a shorter one at the same place."""
    parts: list[tuple[str, str]] = []
    for (kind, direction), patterns in table.items():
        parts += [(f"{kind}_{direction}", p) for p in patterns]
    parts.sort(key=lambda part: -len(part[1]))
    return re.compile("|".join(f"(?P<{name}__{i}>{pattern})" for i, (name, pattern) in enumerate(parts)), re.ASCII)


def find_cues(pattern: re.Pattern[str], masked: str) -> list[Cue]:
    """Return the cues of a masked sentence in order."""
    cues: list[Cue] = []
    for match in pattern.finditer(masked):
        kind, direction = str(match.lastgroup).split("__")[0].rsplit("_", 1)
        cues.append(
            Cue(kind=kind, forward=direction == "forward", start=match.start(), end=match.end(), text=match.group())
        )
    return cues


def reaching(
    cues: Sequence[Cue],
    item: tuple[int, int],
    reaches: Reach,
) -> list[Cue]:
    """Return the cues that reach a finding; one of which that cannot be told (None) counts as doubt."""
    found = []
    before = [cue for cue in cues if cue.start < item[0]][-_NEAREST:]
    near = before + [cue for cue in cues if cue.start >= item[0]][:_NEAREST]
    for cue in near:
        answer = reaches(cue, item, near)
        if answer is not False:
            found.append(cue if answer else replace(cue, kind="uncertain"))
    return found


def add_up(cues: Sequence[Cue], *, section: str = "", kind: str = "disease") -> str | None:
    """Return the status that cues, section and kind of finding add up to; None when nothing is said of the patient.

    Args:
        cues: The cues that reach the finding.
        section: Kind of the passage.
        kind: Kind of the finding; a treatment in a plan is not done yet.

    Example:
        >>> no = Cue(kind="absent", forward=True, start=0, end=2, text="no")
        >>> past = Cue(kind="history", forward=True, start=3, end=13, text="history of")
        >>> add_up([]), add_up([no]), add_up([no, past]), add_up([past], section="family")
        ('present', 'absent', 'absent', 'family')
    """
    kinds = {cue.kind for cue in cues}
    after = {cue.kind for cue in cues if not cue.forward}
    if section == "family" or "family" in kinds:
        return None if "absent" in kinds else "family"
    if "conditional" in kinds and not after & {"absent", "present"}:
        return "conditional"
    if "affirmed" in kinds:
        return "present"
    if "uncertain" in kinds and "absent" not in after:
        return "uncertain"
    if "absent" in kinds:
        return "absent"
    if "history" in kinds or (section == "history" and kind != "symptom"):
        return "history"
    if section == "plan" and kind == "treatment":
        return "conditional"
    return "present"
