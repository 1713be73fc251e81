"""How well a text says what is known: findings, eyes, contradictions, numbers; overlap with a reference by libraries.

Statements are tuples (finding, status, eye) that a reader made of the texts; nothing here reads words.

Source: precision, recall and F1 of findings as in CheXbert, Smit et al. 2020, arXiv:2004.09167; BLEU by sacrebleu, Post 2018,
arXiv:1804.08771; ROUGE-L by rouge-score, Lin 2004, W04-1013; METEOR by nltk, Banerjee and Lavie 2005, W05-0909, without synonyms.
"""

from __future__ import annotations

import importlib.util
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..core.errors import InvalidInput

Statement = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingScores:
    """Agreement of statements over all texts; a score is None where nothing was there to be scored.

    Args:
        precision: Share of what the texts say that is so.
        recall: Share of what is so that the texts say.
        f1: Harmonic mean of both.
        macro_f1: Mean F1 over the findings that occur on either side.
        right: Statements on both sides.
        extra: Only in the texts.
        missing: Only in the truth.
    """

    precision: float | None
    recall: float | None
    f1: float | None
    macro_f1: float | None
    right: int
    extra: int
    missing: int


def finding_scores(said: Sequence[Collection[Statement]], known: Sequence[Collection[Statement]]) -> FindingScores:
    """Return precision, recall and F1 of (finding, status) over texts; the eye has its own score.

    Args:
        said: Statements of each text.
        known: Statements that are true of the same study.

    Raises:
        InvalidInput: The two differ in length.

    Source:
        Smit et al. 2020, arXiv:2004.09167: F1 by finding, over the labels of a report labeller; here status is part of the label.

    Example:
        >>> s = finding_scores([[("cataract", "present", "OD"), ("drusen", "present", "OD")]], [[("cataract", "present", "OD")]])
        >>> s.precision, s.recall, round(s.f1, 3), s.macro_f1
        (0.5, 1.0, 0.667, 0.5)
    """
    _same_length(said, known)
    counts: Counter[tuple[str, str]] = Counter()
    for texts, truths in zip(said, known, strict=True):
        a, b = {s[:2] for s in texts}, {s[:2] for s in truths}
        for kind, found in (("right", a & b), ("extra", a - b), ("missing", b - a)):
            counts.update((kind, name) for name, _ in found)
    names = {name for _, name in counts}
    totals = [sum(n for (k, _), n in counts.items() if k == kind) for kind in ("right", "extra", "missing")]
    each = [_f1(*(counts[kind, name] for kind in ("right", "extra", "missing"))) for name in sorted(names)]
    scored = [value for value in each if value is not None]
    right, extra, missing = totals
    return FindingScores(
        precision=right / (right + extra) if right + extra else None,
        recall=right / (right + missing) if right + missing else None,
        f1=_f1(right, extra, missing),
        macro_f1=sum(scored) / len(scored) if scored else None,
        right=right,
        extra=extra,
        missing=missing,
    )


def _f1(right: int, extra: int, missing: int) -> float | None:
    total = 2 * right + extra + missing
    return 2 * right / total if total else None


def laterality_accuracy(said: Sequence[Collection[Statement]], known: Sequence[Collection[Statement]]) -> float | None:
    """Return the share of right statements that name an eye and name the right one; None when none names an eye.

    Source:
        A statement counts when finding and status are right and both sides name an eye, so that an error of the finding is
        not counted twice.

    Example:
        >>> laterality_accuracy([[("cataract", "present", "OS")]], [[("cataract", "present", "OD")]])
        0.0
    """
    _same_length(said, known)
    right = total = 0
    for texts, truths in zip(said, known, strict=True):
        eyes = {s[:2]: s[2] for s in truths if s[2]}
        for name, status, eye in set(texts):
            if eye and (name, status) in eyes:
                total += 1
                right += eye == eyes[name, status]
    return right / total if total else None


def contradiction_rate(said: Sequence[Collection[Statement]], known: Sequence[Collection[Statement]]) -> float:
    """Return the share of texts with a statement that is the opposite of what is known, or of another eye.

    Source:
        "Present" against "absent" of the same finding, or an eye that is not the known one; doubt contradicts nothing.

    Raises:
        InvalidInput: There is no text, or the two differ in length.

    Example:
        >>> contradiction_rate([[("cataract", "present", "")], []], [[("cataract", "absent", "")], []])
        0.5
    """
    _same_length(said, known)
    if not said:
        raise InvalidInput("there is no text to be scored.")
    wrong = 0
    for texts, truths in zip(said, known, strict=True):
        status = {name: (state, eye) for name, state, eye in truths}
        wrong += any(
            name in status and ({state, status[name][0]} == {"present", "absent"} or bool(eye and status[name][1] and eye != status[name][1]))
            for name, state, eye in texts
        )  # fmt: skip
    return wrong / len(said)


def invented_number_rate(numbers: Sequence[Collection[str]], known: Sequence[Collection[str]]) -> float | None:
    """Return the share of the numbers of texts that are not known of their study; None when no text holds a number.

    Source:
        Numbers are compared as written: 0.6 is not 0.62.

    Example:
        >>> invented_number_rate([["93", "0.8"]], [["93", "0.62"]])
        0.5
    """
    _same_length(numbers, known)
    total = sum(len(texts) for texts in numbers)
    wrong = sum(sum(n not in set(truths) for n in texts) for texts, truths in zip(numbers, known, strict=True))
    return wrong / total if total else None


def text_overlap(texts: Sequence[str], references: Sequence[str], *, language: str = "en") -> dict[str, float | None]:
    """Return BLEU (0 to 100), ROUGE-L and METEOR (0 to 1) of texts; None for one whose library is not installed.

    Overlap of words says little of truth ("no cataract" and "cataract" share most of them): read it beside the others.

    Source:
        Post 2018, arXiv:1804.08771 (sacrebleu, its tokenizer "zh" for Chinese); Lin 2004, W04-1013 (rouge-score, ROUGE-L F1;
        characters stand for words in Chinese); Banerjee and Lavie 2005, W05-0909 (nltk). METEOR here matches words and their
        stems, never synonyms: WordNet would have to be downloaded, so these values are a little below published ones.

    Example:
        >>> text_overlap(["no cataract in the right eye"], ["no cataract in the right eye"])["bleu"] in (None, 100.0)
        True
    """
    _same_length(texts, references)
    scores: dict[str, float | None] = {"bleu": None, "rouge_l": None, "meteor": None}
    if not texts:
        return scores
    if importlib.util.find_spec("sacrebleu") is not None:
        import sacrebleu

        tokenizer = "zh" if language == "zh" else "13a"
        scores["bleu"] = round(
            float(sacrebleu.corpus_bleu(list(texts), [list(references)], tokenize=tokenizer).score), 6
        )
    if importlib.util.find_spec("rouge_score") is not None:
        from rouge_score import rouge_scorer

        # Its own tokenizer keeps Latin letters and digits only.
        scorer = rouge_scorer.RougeScorer(["rougeL"], tokenizer=_Characters() if language == "zh" else None)
        values = [scorer.score(r, t)["rougeL"].fmeasure for t, r in zip(texts, references, strict=True)]
        scores["rouge_l"] = float(sum(values) / len(values))
    if importlib.util.find_spec("nltk") is not None:
        scores["meteor"] = _meteor(texts, references, language)
    return scores


_LATIN = re.compile(r"[a-z]+|\d+")


def _meteor(texts: Sequence[str], references: Sequence[str], language: str) -> float:
    from nltk.translate.meteor_score import single_meteor_score

    def split(text: str) -> list[str]:
        return _Characters().tokenize(text) if language == "zh" else _LATIN.findall(text.lower())

    values = [
        single_meteor_score(split(r), split(t), wordnet=_NoSynonyms()) for t, r in zip(texts, references, strict=True)
    ]
    return float(sum(values) / len(values))


class _NoSynonyms:
    """Stands for WordNet, which would have to be downloaded."""

    def synsets(self, word: str) -> list[object]:
        """Return nothing."""
        return []


class _Characters:
    """Splits a text into its characters, as rouge-score wants it."""

    def tokenize(self, text: str) -> list[str]:
        """Return the characters that are no space."""
        return [c for c in text if not c.isspace()]


def _same_length(a: Sequence[object], b: Sequence[object]) -> None:
    if len(a) != len(b):
        raise InvalidInput(f"{len(a)} texts and {len(b)} references were given; each text needs one.")
