"""A generator's wording of what a rule says -> that wording, or the words of the rule: a recommendation is decided by the table alone.

A wording stays only when, clause by clause, it holds the words of the rule and no other: the same numbers, the same words that deny, the
same words that tell how soon. Order of clauses, words without a meaning of their own and punctuation are free.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ..readers.report.cleaning import clean_text
from ..readers.report.untrusted import instruction_start
from .recommend import Recommendation

#: Why a wording is not shown, the most serious first.
REASONS = ("injection", "hidden_text", "number", "denial", "words")
#: Far more than any rule says.
_LONGEST = 2000
_CLAUSE = re.compile(r"[.;:!?。；：！？\n]+")
_LIGHT = frozenset(
    ["a", "an", "the", "is", "are", "be", "been", "please", "should", "to", "of", "and", "that", "this", "it", "there"]
)
_LIGHT_CHINESE = re.compile(r"[请应的地将并且即可为、，,\s]")
_DENIALS = frozenset(["no", "not", "none", "never", "without"])
_DENIED = re.compile(r"无需|不必|不能|不要|不|无|未")
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*|\d+(?:\.\d+)?", re.IGNORECASE | re.ASCII)
_CHINESE = re.compile(r"[\u3400-\u9fff]")
_DIGITS = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reworded:
    """What is shown of a recommendation.

    Args:
        text: Of the generator, or of the rule.
        origin: "generator" or "rule".
        reason: Why the words of the generator are not shown, one of `REASONS`; None when they are.
        draft: What the generator wrote.
    """

    text: str
    origin: str
    reason: str | None = None
    draft: str = ""


def check_rewording(draft: str, item: Recommendation) -> Reworded:
    """Return a generator's wording of a recommendation where it says what the rule says, else the rule's own.

    Example:
        >>> item = Recommendation(topic="x", status="determined", text="Refer to an ophthalmologist urgently. Next examination within 1 month.")
        >>> check_rewording("Next examination within 1 month. Please urgently refer to the ophthalmologist.", item).origin
        'generator'
        >>> check_rewording("Refer to an ophthalmologist urgently. Next examination within 2 months.", item).reason
        'number'
    """
    reason = _reason(draft, item.text)
    if reason is None:
        return Reworded(text=" ".join(draft.split()), origin="generator", draft=draft)
    return Reworded(text=item.text, origin="rule", reason=reason, draft=draft)


def _reason(draft: str, rule: str) -> str | None:
    clean = clean_text(draft[:_LONGEST])
    plain = clean.plain
    if instruction_start(plain) is not None:
        return "injection"
    if any(True for _ in (*clean.invisible, *clean.direction, *clean.lookalikes)):
        return "hidden_text"
    if len(draft) > _LONGEST:
        return "words"
    known = clean_text(rule).plain
    if sorted(_DIGITS.findall(plain)) != sorted(_DIGITS.findall(known)):
        return "number"
    if _denials(plain) != _denials(known):
        return "denial"
    return None if _clauses(plain) == _clauses(known) else "words"


def _clauses(text: str) -> list[str]:
    """Return the clauses in an order of their own, each as its words in theirs; one with Chinese keeps the order of its signs."""
    found = []
    for clause in _CLAUSE.split(text.lower()):
        if _CHINESE.search(clause):
            found.append(_LIGHT_CHINESE.sub("", clause))
        else:
            words = [_singular(w) for w in _WORD.findall(clause) if w not in _LIGHT]
            # What a denial denies stays beside it; the rest may change places.
            found.append(" ".join(sorted(words)))
    return sorted(c for c in found if c)


def _denials(text: str) -> list[str]:
    """Return each word that denies with what it denies."""
    words = [w.lower() for w in _WORD.findall(text) if w.lower() not in _LIGHT]
    pairs = [f"{w} {words[i + 1] if i + 1 < len(words) else ''}" for i, w in enumerate(words) if w in _DENIALS]
    plain = _LIGHT_CHINESE.sub("", text)
    return sorted([*pairs, *(plain[m.start() : m.end() + 2] for m in _DENIED.finditer(plain))])


def _singular(word: str) -> str:
    return word[:-1] if word in ("months", "examinations", "intervals") else word
