"""What a reading of a report consists of: findings, flags, and all of it together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.errors import InvalidInput
from .context import STATUSES
from .laterality import BOTH, Eyes
from .measurements import ReportMeasurement


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFinding:
    """One thing a report says of one finding.

    Args:
        code: Stable name; `readers.report.terms.known_terms()` lists all.
        name: Words for a reader.
        status: "present", "absent", "uncertain", "history", "conditional" or "family".
        eyes: Eyes it speaks of; empty when the text does not say.
        span: Start and end of the term in the original text.
        text: The term as written.
        sentence: Start and end of its sentence in the original text.
        cues: Spans of the words that decided the status.
        severity: "mild", "moderate", ... beside the finding.
        grade: Scale and value, for instance ("icdr", "2").
        location: Words of place in the same clause.
        section: Kind of passage: "", "findings", "conclusion", "history", "family", "complaint",
            "plan".
        flags: Codes of doubts: `term.ambiguous`, `term.misspelt`.
    """

    code: str
    name: str
    status: str
    eyes: Eyes
    span: tuple[int, int]
    text: str
    sentence: tuple[int, int]
    cues: tuple[tuple[int, int], ...] = ()
    severity: str | None = None
    grade: tuple[str, str] | None = None
    location: tuple[str, ...] = ()
    section: str = ""
    flags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InvalidInput(f"status {self.status!r} is not one of {STATUSES}.")

    @property
    def eye(self) -> str:
        """Return "OD", "OS", "OU", or "" when the text does not say."""
        return "OU" if len(self.eyes) == 2 else "".join(e.value for e in self.eyes)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "code": self.code,
            "name": self.name,
            "status": self.status,
            "eye": self.eye or None,
            "span": list(self.span),
            "text": self.text,
            "sentence": list(self.sentence),
            "cues": [list(c) for c in self.cues],
            "severity": self.severity,
            "grade": "=".join(self.grade) if self.grade else None,
            "location": list(self.location),
            "section": self.section,
            "flags": list(self.flags),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFlag:
    """Something about the text that a person should know.

    Args:
        code: Stable code such as `text.injection`.
        message: One sentence.
        span: Place in the original text.
    """

    code: str
    message: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportReading:
    """What a report says, in order of the text.

    Args:
        findings: Findings with status, eye and span.
        measurements: Numbers with unit.
        flags: What a person should know of the text.
        characters: Length of the text that was read.
    """

    findings: tuple[ReportFinding, ...] = ()
    measurements: tuple[ReportMeasurement, ...] = ()
    flags: tuple[ReportFlag, ...] = ()
    characters: int = 0

    @property
    def named_eyes(self) -> Eyes:
        """Eyes that any statement names."""
        named = {e for item in (*self.findings, *self.measurements) for e in item.eyes}
        return tuple(e for e in BOTH if e in named)
