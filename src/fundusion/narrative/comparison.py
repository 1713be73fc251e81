"""Texts beside the texts they should have been: what both say of findings and eyes, scores, and a page with the pictures.

Both sides are read by the report reader, so that only what can be read back counts. A finding that the truth does not name is not
"absent" there: a caption that adds one is wrong in precision, and contradicts only where the truth says the opposite or another eye.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.errors import InvalidInput
from ..metrics import language as scores
from ..readers.report import read_report
from ..readers.report.untrusted import instruction_start
from ..report.render import environment, template_file, trusted
from .evaluation import TextScores
from .names import check_language, title_of

_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NORMAL = "normal_fundus"
#: Most texts that a page shows; all of them are scored.
MOST_SHOWN = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A text and what it should have said.

    Args:
        study_id: Name of the study.
        text: Of a generator.
        reference: What is true, in words.
        laterality: Eye of the study, "OD" or "OS", for references that do not name it; "" when it is not known.
        kind: Type of question the text answers; "" for a description.
        picture: Data URI of the picture; "" without one.
    """

    study_id: str
    text: str
    reference: str
    laterality: str = ""
    kind: str = ""
    picture: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """What a comparison came to.

    Args:
        scores: Over all descriptions; None when there is none.
        answers: Type of question to the share of answers that are right, and how many there were.
        agreed: Findings of each pair on both sides, as (finding, status).
        missed: Only in the reference.
        added: Only in the text.
    """

    scores: TextScores | None
    answers: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    agreed: tuple[tuple[tuple[str, str], ...], ...] = ()
    missed: tuple[tuple[tuple[str, str], ...], ...] = ()
    added: tuple[tuple[tuple[str, str], ...], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form of the scores."""
        return {
            "descriptions": self.scores.to_dict() if self.scores else None,
            "answers": {k: {"accuracy": share, "answers": n} for k, (share, n) in self.answers.items()},
        }


def statements_in(text: str, laterality: str = "") -> list[scores.Statement]:
    """Return what a text says as (finding, status, eye); the eye of the study stands where the text names none.

    What speaks to a machine says nothing of an eye and is left out by the reader.

    Example:
        >>> statements_in("right eye: drusen, no cataract."), statements_in("drusen", "OS")
        ([('drusen', 'present', 'OD'), ('cataract', 'absent', 'OD')], [('drusen', 'present', 'OS')])
    """
    return list(dict.fromkeys((f.code, f.status, f.eye or laterality) for f in read_report(text).findings))


def compare_texts(pairs: Sequence[Pair], *, language: str = "en") -> Compared:
    """Return the scores of texts against their references, and what was agreed, missed and added in each.

    Args:
        pairs: Descriptions, and answers to questions (`kind`).
        language: Of the words that are compared.

    Raises:
        InvalidInput: No pair, or an unknown language.

    Example:
        >>> found = compare_texts([Pair(study_id="a", text="drusen", reference="drusen, cataract")])
        >>> found.missed, found.scores.findings.recall
        (((('cataract', 'present'),),), 0.5)
    """
    check_language(language)
    if not pairs:
        raise InvalidInput("there is no text to be scored.", code="text.none")
    told = [p for p in pairs if not p.kind]
    # The eye that the text itself names is judged; the truth has the eye of the study.
    said = [statements_in(p.text) for p in told]
    known = [statements_in(p.reference, p.laterality) for p in told]
    agreed, missed, added = [], [], []
    for a, b in zip(said, known, strict=True):
        mine, theirs = dict.fromkeys(s[:2] for s in a), dict.fromkeys(s[:2] for s in b)
        agreed.append(tuple(s for s in theirs if s in mine))
        missed.append(tuple(s for s in theirs if s not in mine))
        added.append(tuple(s for s in mine if s not in theirs))
    found = None
    if told:
        numbers = [_NUMBER.findall(p.text) for p in told]
        found = TextScores(
            texts=len(told),
            findings=scores.finding_scores(said, known),
            laterality=scores.laterality_accuracy(said, known),
            contradictions=scores.contradiction_rate(
                said, [_with_opposites(a, b) for a, b in zip(said, known, strict=True)]
            ),
            invented_numbers=scores.invented_number_rate(numbers, [_NUMBER.findall(p.reference) for p in told]),
            overlap=scores.text_overlap([p.text for p in told], [p.reference for p in told], language=language),
        )
    return Compared(
        scores=found, answers=_by_kind(pairs), agreed=tuple(agreed), missed=tuple(missed), added=tuple(added)
    )


def _with_opposites(said: Sequence[scores.Statement], known: Sequence[scores.Statement]) -> list[scores.Statement]:
    """Return the truth with what a normal fundus denies: every finding a text names, and itself where there is a finding."""
    named = {code for code, status, _ in known if status == "present"}
    if _NORMAL in named:
        denied = [(code, "absent", "") for code, _, _ in said if code != _NORMAL]
    else:
        denied = [(_NORMAL, "absent", "")] if named else []
    return [*denied, *known]


def _by_kind(pairs: Sequence[Pair]) -> dict[str, tuple[float, int]]:
    hits: dict[str, list[bool]] = {}
    for pair in pairs:
        if pair.kind:
            hits.setdefault(pair.kind, []).append(plain(pair.text) == plain(pair.reference))
    return {k: (sum(v) / len(v), len(v)) for k, v in sorted(hits.items())}


def plain(text: str) -> str:
    """Return an answer as it is compared: small letters, without signs at its end.

    Example:
        >>> plain("Right eye."), plain("有。")
        ('right eye', '有')
    """
    return " ".join(text.lower().split()).strip(" .。!！")


def comparison_page(pairs: Sequence[Pair], found: Compared, *, title: str, language: str = "en", note: str = "") -> str:
    """Return one HTML page: picture, truth, text, and what was agreed, missed and added; no outside request.

    Args:
        pairs: As they were compared; those with a kind are not shown.
        found: What `compare_texts` returned for them.
        title: Of the page.
        language: Of the names of findings.
        note: A sentence under the title.
    """
    told = [p for p in pairs if not p.kind]
    rows = [
        {
            "pair": pair,
            "lists": [
                (name, css, [_named(item, language) for item in items])
                for name, css, items in (
                    ("agreed", "absent", found.agreed[i]),
                    ("missed", "uncertain", found.missed[i]),
                    ("added", "present", found.added[i]),
                )
            ],
            "injected": instruction_start(pair.text) is not None,
        }
        for i, pair in enumerate(told[:MOST_SHOWN])
    ]
    return (
        environment()
        .get_template("comparison.html")
        .render(
            title=title,
            note=note,
            rows=rows,
            left=max(0, len(told) - MOST_SHOWN),
            numbers=score_rows(found),
            style=trusted(template_file("style.css")),
        )
    )


def _named(item: tuple[str, str], language: str) -> str:
    code, status = item
    return title_of(code, language) + ("" if status == "present" else f" ({status})")


def score_rows(found: Compared) -> list[tuple[str, str]]:
    """Return names and numbers of a comparison for people."""

    def shown(value: float | None, digits: int = 3) -> str:
        return "none" if value is None else f"{value:.{digits}f}"

    rows: list[tuple[str, str]] = []
    if found.scores is not None:
        s = found.scores
        rows = [
            ("texts", str(s.texts)),
            ("finding precision", shown(s.findings.precision)),
            ("finding recall", shown(s.findings.recall)),
            ("finding F1", shown(s.findings.f1)),
            ("finding macro F1", shown(s.findings.macro_f1)),
            ("right eye named", shown(s.laterality)),
            ("contradictions", shown(s.contradictions)),
            ("invented numbers", shown(s.invented_numbers)),
            *((k.upper().replace("_", "-"), shown(v, 1 if k == "bleu" else 3)) for k, v in s.overlap.items()),
        ]
    return rows + [(f"answers on {k} right", f"{share:.3f} of {n}") for k, (share, n) in found.answers.items()]
