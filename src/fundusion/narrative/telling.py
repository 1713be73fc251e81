"""Findings through a generator and back through the checker: descriptions, answers, wordings of rules; nothing unchecked leaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..core.interfaces import Turn
from .checker import Checked, Removed, check_text, judged
from .facts import Facts
from .names import check_language
from .prompting import description_turns, question_turns, rewording_turns
from .questions import Answer, answer_question
from .recommend import Recommendation
from .rewording import Reworded, check_rewording
from .writer import write_narrative

#: Words of an answer and of a recommendation.
SHORT = 60


class Writer(Protocol):
    """What is asked of a generator; `generators.Worder` is one.

    Args:
        origin: For the record.
        lengths: Of prompts it reads, from the longest.
    """

    lengths: Sequence[str]

    @property
    def origin(self) -> str: ...

    def write(self, wishes: Sequence[Sequence[Turn]], pictures: Mapping[str, Any], **how: Any) -> tuple[str, int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A checked description.

    Args:
        checked: What may be shown and what was taken out.
        draft: What the generator wrote; None when it was not asked.
        prompt: Which length of the findings it was told.
    """

    checked: Checked
    draft: str | None
    prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A checked answer.

    Args:
        answer: What is shown; its value is always that of the findings.
        origin: Of the words: "template" or a generator.
        removed: Sentences of the generator that were taken out.
        draft: What the generator wrote; None when it was not asked.
    """

    answer: Answer
    origin: str = "template"
    removed: tuple[Removed, ...] = ()
    draft: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


def describe_with(
    writer: Writer,
    facts: Facts,
    pictures: Mapping[str, Any],
    *,
    language: str = "en",
    words: int = 120,
    seed: int = 0,
    watch: Callable[[str], None] | None = None,
) -> Told:
    """Return the description of a study by a generator, checked against the findings.

    Of a study that was refused the generator is not asked: the template says why.

    Args:
        writer: The generator.
        facts: What may be said; it is told to the generator, in lines.
        pictures: As the generator wants them.
        language: "en" or "zh".
        words: Most words.
        seed: Of draws.
        watch: Called with the words so far, which are not checked.

    Raises:
        InvalidInput: Unknown language, a prompt that does not fit, a missing picture.
    """
    check_language(language)
    if facts.refusal is not None:
        narrative = write_narrative(facts, language=language)
        return Told(checked=Checked(narrative=narrative, fell_back=True), draft=None, prompt="none")
    wishes = [description_turns(facts, language=language, words=words, length=n) for n in writer.lengths]
    draft, used = writer.write(wishes, pictures, words=words, seed=seed, watch=watch)
    checked = check_text(draft, facts, language=language, origin=writer.origin)
    return Told(checked=checked, draft=draft, prompt=writer.lengths[used])


def answer_with(
    writer: Writer,
    question: str,
    facts: Facts,
    pictures: Mapping[str, Any],
    *,
    language: str | None = None,
    seed: int = 0,
    watch: Callable[[str], None] | None = None,
) -> Answered:
    """Return the answer to a question; the findings decide it, a generator may word it.

    The generator's sentences are shown when each rests on findings and together on those the answer rests on. Where the findings give no
    answer, its sentences stand if they rest on findings at all. It is not asked when the question speaks to a machine, asks for treatment,
    or the study was refused.

    Args:
        writer: The generator.
        question: In English or Chinese.
        facts: What is known.
        pictures: As the generator wants them.
        language: Of the answer; None takes that of the question.
        seed: Of draws.
        watch: Called with the words so far, which are not checked.
    """
    known = answer_question(question, facts, language=language)
    if known.code in ("ask.injection", "ask.advice") or facts.refusal is not None:
        return Answered(answer=known)
    spoken = language or ("zh" if any("\u3400" <= c <= "\u9fff" for c in question) else "en")
    wishes = [question_turns(question, facts, language=spoken, length=n) for n in writer.lengths]
    draft, _ = writer.write(wishes, pictures, words=SHORT, seed=seed, watch=watch)
    kept, removed = [], []
    for sentence, judgement in judged(draft, facts):
        if judgement.kinds:
            removed.append(Removed(text=sentence, kinds=judgement.kinds, detail=judgement.detail))
        else:
            kept.append((sentence, judgement.evidence))
    counts: dict[str, int] = {}
    for item in removed:
        counts[item.kinds[0]] = counts.get(item.kinds[0], 0) + 1
    told = {e for _, evidence in kept for e in evidence}
    spoiled = any({"injection", "hidden_text"} & set(r.kinds) for r in removed)
    fits = bool(kept) and not spoiled and (known.kind == "refused" or set(known.evidence) <= told)
    if not fits or (known.kind != "refused" and not known.evidence):
        return Answered(answer=known, removed=tuple(removed), draft=draft, counts=counts)
    text = ("" if spoken == "zh" else " ").join(s for s, _ in kept)
    if known.kind == "refused":
        answer = Answer(kind="summary", text=text, value=None, evidence=tuple(sorted(told)))
    else:
        answer = replace(known, text=text, evidence=tuple(dict.fromkeys(e for _, ev in kept for e in ev)))
    return Answered(answer=answer, origin=writer.origin, removed=tuple(removed), draft=draft, counts=counts)


def recommend_with(
    writer: Writer,
    items: Sequence[Recommendation],
    pictures: Mapping[str, Any],
    *,
    language: str = "en",
    seed: int = 0,
    watch: Callable[[str], None] | None = None,
) -> list[Reworded]:
    """Return the words of recommendations: those of a generator where they say what the rule says, else the rule's own.

    What is "not determined" is never handed to a generator.
    """
    check_language(language)
    told = []
    for item in items:
        if item.status != "determined":
            told.append(Reworded(text=item.text, origin="rule"))
            continue
        wishes = [rewording_turns(item, language=language, length=n) for n in writer.lengths]
        draft, _ = writer.write(wishes, pictures, words=SHORT, seed=seed, watch=watch)
        told.append(check_rewording(draft, item))
    return told
