"""A small reader of written reports, English and Chinese, to set them beside the findings. Text is data, never an instruction.

Source: negation and its scope after NegEx, Chapman et al. 2001, doi:10.1006/jbin.2001.1029, with Chinese cues added.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ..core.results import Finding
from ..core.vocabulary import Laterality


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStatement:
    """One thing a report says.

    Args:
        name: Title of the finding, as in `Finding.name`.
        status: "present", "absent" or "uncertain".
        phrase: The clause it was read from.
        span: Start and end of the term in the text.
        laterality: Eye it speaks of; None when the clause names none or both.
    """

    name: str
    status: str
    phrase: str
    span: tuple[int, int]
    laterality: Laterality | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How the report and the findings relate on one point: "agrees", "contradicts", "open", "only in report", "other eye"."""

    name: str
    verdict: str
    statement: ReportStatement
    finding: Finding | None = None


_TERMS: dict[str, str] = {
    "diabetic retinopathy": r"(?<!non)(?:diabetic retinopathy|n?pdr\b|\bdr\b|microaneurysms?|糖尿病(?:性)?视网膜病变|微血管瘤|增殖期|增生期)",
    "glaucoma": r"(?:glaucoma\w*|青光眼)",
    "cataract": r"(?:cataracts?|白内障|晶(?:状)?体混浊)",
    "age-related macular degeneration": r"(?:age[- ]related macular degeneration|\bw?amd\b|drusen|黄斑变性|玻璃膜疣)",
    "hypertensive retinopathy": r"(?:hypertensive retinopathy|高血压(?:性)?视网膜病变)",
    "pathological myopia": r"(?:patholog\w+ myopi\w+|myopic maculopathy|病理性近视|高度近视)",
}
_NEGATED = re.compile(
    r"\b(?:no|not|without|denies|negative for|absence of|free of|ruled out)\b|未见|未发现|无|没有|否认|排除(?<!不排除)(?<!不能排除)"
)
_UNCERTAIN = re.compile(
    r"\b(?:possible|possibly|probable|suspected?|suspicious|questionable|cannot (?:be )?exclude\w*|may|might|rule out|\?)|可疑|疑似|不排除|不能排除|考虑|可能|待排"
)
_NEGATION_ENDS = re.compile(r"\b(?:but|however|except|although)\b|但|然而|除")
_CLAUSE = re.compile(r"[^.;!?。；！？\n,，]+")
_SENTENCE = re.compile(r"[^.;!?。；！？\n]+")
_RIGHT = re.compile(r"\b(?:od|right eye|re)\b|右眼", re.IGNORECASE)
_LEFT = re.compile(r"\b(?:os|left eye|le)\b|左眼", re.IGNORECASE)
_BOTH = re.compile(r"\b(?:ou|both eyes|bilateral\w*)\b|双眼", re.IGNORECASE)


def read_report(text: str | None) -> tuple[ReportStatement, ...]:
    """Return what a report says of the labelled findings.

    A negation reaches to the end of its clause or to a "but"; in a list ("no drusen, haemorrhage or exudate") it reaches
    over commas to the end of the sentence. Uncertainty words win over negation ("cannot exclude").

    Example:
        >>> [(s.name, s.status) for s in read_report("No cataract. Possible glaucoma in the left eye.")]
        [('cataract', 'absent'), ('glaucoma', 'uncertain')]
        >>> [(s.name, s.status) for s in read_report("右眼未见白内障，可疑青光眼。")]
        [('cataract', 'absent'), ('glaucoma', 'uncertain')]
    """
    if not text:
        return ()
    plain = _plain(text)
    statements: list[ReportStatement] = []
    eye: Laterality | None = None
    for sentence in _SENTENCE.finditer(plain):
        for name, pattern in _TERMS.items():
            for term in re.finditer(pattern, sentence.group()):
                before = sentence.group()[: term.start()]
                clause = next(
                    c.group() for c in _CLAUSE.finditer(sentence.group()) if c.start() <= term.start() < c.end()
                ).strip()
                start = sentence.start() + term.start()
                statements.append(
                    ReportStatement(
                        name=name,
                        status=_status(before, clause),
                        phrase=clause,
                        span=(start, start + len(term.group())),
                        laterality=_eye_of(before + clause, eye),
                    )
                )
        eye = _eye_of(sentence.group(), eye)
    return tuple(sorted(statements, key=lambda s: s.span))


def _plain(text: str) -> str:
    """Lower-case and make width uniform, one character for one, so that spans stay those of the text."""
    narrowed = "".join(n if len(n := unicodedata.normalize("NFKC", c)) == 1 else c for c in text)
    return "".join(low if len(low := c.lower()) == 1 else c for c in narrowed)


def _status(before: str, clause: str) -> str:
    if _UNCERTAIN.search(clause):
        return "uncertain"
    cues = list(_NEGATED.finditer(before))
    if not cues:
        after = r"\b(?:absent|excluded|ruled out|not (?:seen|present|evident|found))\b|阴性"
        return "absent" if re.search(after, clause) else "present"
    # What ends a negation must stand between it and the term; a "but" after the term speaks of the next one.
    if _NEGATION_ENDS.search(before[cues[-1].end() :]):
        return "present"
    # Over a comma the negation goes on only in a list of bare nouns: another verb or "with" ends it.
    if re.search(r"[,，]", before[cues[-1].end() :]) and re.search(
        r"\b(?:with|shows?|there (?:is|are)|seen|noted)\b|可见|伴|见(?!于)", before[cues[-1].end() :] + clause
    ):
        return "present"
    return "absent"


def _eye_of(text: str, previous: Laterality | None) -> Laterality | None:
    right, left, both = _RIGHT.search(text), _LEFT.search(text), _BOTH.search(text)
    if both or (right and left):
        last = max(((m.start(), e) for m, e in ((right, Laterality.RIGHT), (left, Laterality.LEFT)) if m), default=None)
        return None if both or last is None else last[1]
    if right:
        return Laterality.RIGHT
    if left:
        return Laterality.LEFT
    return previous


def compare_with_report(
    findings: Sequence[Finding], statements: Sequence[ReportStatement], laterality: Laterality | None
) -> tuple[Agreement, ...]:
    """Return how each statement relates to the findings.

    Statements about the other eye are marked so and compared with nothing. When the eye of the study is not known, a
    statement that names an eye is marked "other eye" too, because it cannot be placed.
    """
    known = {f.name: f for f in findings}
    referable = known.get("referable diabetic retinopathy")
    result: list[Agreement] = []
    for statement in statements:
        if statement.laterality is not None and statement.laterality != laterality:
            result.append(Agreement(name=statement.name, verdict="other eye", statement=statement))
            continue
        finding = known.get(statement.name) or (referable if statement.name == "diabetic retinopathy" else None)
        if finding is None:
            verdict = "only in report"
        elif "uncertain" in (finding.status, statement.status):
            verdict = "open"
        else:
            verdict = "agrees" if finding.status == statement.status else "contradicts"
        result.append(Agreement(name=statement.name, verdict=verdict, statement=statement, finding=finding))
    return tuple(result)
