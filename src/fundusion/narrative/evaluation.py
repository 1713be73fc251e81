"""Texts of a generator -> scores against the findings: what it says, of which eye, what contradicts, which numbers are made up."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..metrics import language as scores
from ..report.findings import percent
from .checker import FORMAL, judged
from .facts import Facts
from .names import check_language
from .writer import quantity, write_narrative

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScores:
    """Scores of texts; a value is None where nothing was there to be scored.

    Args:
        texts: How many.
        findings: Precision, recall, F1 of (finding, status).
        laterality: Share of right statements with the right eye.
        contradictions: Share of texts that contradict the findings.
        invented_numbers: Share of numbers that are not known.
        overlap: BLEU and ROUGE-L with the template, where their libraries are installed.
    """

    texts: int
    findings: scores.FindingScores
    laterality: float | None
    contradictions: float
    invented_numbers: float | None
    overlap: dict[str, float | None]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return asdict(self)


def known_statements(facts: Facts) -> list[scores.Statement]:
    """Return what is so of a study as statements (finding, status, eye).

    Example:
        >>> from .facts import Fact
        >>> known_statements(Facts(findings=(Fact(code="cataract", status="absent", probability=0.1, evidence=("a",)),)))
        [('cataract', 'absent', '')]
    """
    eye = facts.laterality.value if facts.laterality else ""
    return [(f.code, f.status, eye) for f in facts.findings]


def said_statements(text: str, facts: Facts) -> list[scores.Statement]:
    """Return what a text says of findings; what it says of a grade is left to the checker.

    Example:
        >>> said_statements("Cataract in the left eye.", Facts())
        [('cataract', 'present', 'OS')]
    """
    found = []
    for _, judgement in judged(text, facts):
        found += [(s.code, s.status, s.eye) for s in judgement.statements if s.grade is None or not s.explicit_grade]
    graded = ("nonproliferative_diabetic_retinopathy", "proliferative_diabetic_retinopathy")
    return [s for s in found if s[0] not in graded]


def evaluate_texts(texts: Sequence[str], facts: Sequence[Facts], *, language: str = "en") -> TextScores:
    """Return the scores of texts, each against the facts of its study.

    Args:
        texts: Of any generator.
        facts: One per text.
        language: Of the template they are compared with by words.

    Raises:
        InvalidInput: Different numbers of texts and facts, none at all, or an unknown language.
    """
    check_language(language)
    # Pairs are made below; a difference in length is told by the first score.
    pairs = list(zip(texts, facts, strict=False))
    said = [said_statements(t, f) for t, f in pairs] + [[] for _ in texts[len(pairs) :]]
    known = [known_statements(f) for f in facts]
    templates = [write_narrative(f, language=language) for f in facts]
    formal = [{s.text for s in t.sentences if s.kind in FORMAL} for t in templates]
    numbers = [
        [n for sentence, _ in judged(text, fact) if sentence not in skip for n in _NUMBER.findall(sentence)]
        for (text, fact), skip in zip(pairs, formal, strict=False)
    ]
    return TextScores(
        texts=len(texts),
        findings=scores.finding_scores(said, known),
        laterality=scores.laterality_accuracy(said, known),
        contradictions=scores.contradiction_rate(said, known),
        invented_numbers=scores.invented_number_rate(numbers, [known_numbers(f) for f in facts]),
        overlap=scores.text_overlap(list(texts), [t.text for t in templates], language=language),
    )


def known_numbers(facts: Facts) -> set[str]:
    """Return the numbers that a text may hold, as they are written.

    Example:
        >>> from .facts import GradeFact
        >>> sorted(known_numbers(Facts(grade=GradeFact(label="2", status="present", probability=0.61))))
        ['2', '61']
    """
    chances = [f.probability for f in facts.findings] + ([facts.grade.probability] if facts.grade else [])
    written = [percent(p) for p in chances if p is not None]
    written += [quantity(m, "en") for m in facts.measurements if m.value is not None]
    found = {n for words in written for n in _NUMBER.findall(words)}
    return found | ({facts.grade.label} if facts.grade else set())
