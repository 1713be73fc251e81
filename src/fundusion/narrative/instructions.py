"""Conversations built from what is known of an eye: labels, table, knowledge -> questions and answers in English and Chinese.

Every answer follows from the record by a template; nothing is guessed. A finding that nobody annotated is neither present nor absent, an eye
that is not stated is not named, and a missing cell gives no question. The wording varies by a draw that the seed decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.errors import InvalidInput
from ..core.results import Measurement
from ..core.study import StudyRecord, is_missing
from ..core.vocabulary import ODIR_LABELS, REFERABLE_ICDR_GRADE, Laterality
from ..knowledge import Knowledge
from .facts import Fact, Facts, GradeFact
from .names import (
    DIABETIC,
    EYE_NAMES,
    GRADE_NAMES,
    LANGUAGES,
    REFERABLE,
    check_language,
    code_of,
    measurement_name,
    modality_name,
    title_of,
)
from .prompting import description_turns
from .recommend import recommend
from .writer import quantity, write_narrative

#: Kinds of items, in the order they are told apart.
KINDS = (
    "description",
    "wording",
    "modality",
    "laterality",
    "grade",
    "finding",
    "measurement",
    "recommendation",
    "definition",
)
#: Column of the table -> measurement and its unit.
_CELLS = {"iop": ("intraocular_pressure", "mmHg")}
_NORMAL = "normal_fundus"
#: Most words that a wording is asked for.
_WORDS = 120

_QUESTIONS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "en": {
        "description": ("Describe the findings.", "What do you see?", "Summarise the findings of this eye.", "Write a short report."),
        "modality": ("What kind of image is this?", "Which examination is this?", "What type of picture is it?"),
        "laterality": ("Which eye is this?", "Is this the left or the right eye?", "Left or right eye?"),
        "grade": ("What is the grade of diabetic retinopathy?", "Which ICDR grade is it?", "How severe is the retinopathy?"),
        "finding": ("Is there {0}?", "Does the eye show {0}?", "Any sign of {0}?", "Can you see {0}?"),
        "measurement": ("What is the {0}?", "How large is the {0}?", "Tell me the {0}."),
        "recommendation": ("What should be done next?", "Which follow-up do guidelines ask for?", "Is a referral needed?"),
        "definition": ("What is {0}?", "How does {0} look?", "Explain {0}."),
    },
    "zh": {
        "description": ("请描述所见。", "你看到了什么？", "请总结该眼的检查结果。", "请写一份简短的报告。"),
        "modality": ("这是什么类型的图像？", "这是哪种检查？", "这张图片是什么检查？"),
        "laterality": ("这是哪只眼？", "这是左眼还是右眼？", "左眼还是右眼？"),
        "grade": ("糖尿病视网膜病变几级？", "ICDR分级是多少？", "视网膜病变有多严重？"),
        "finding": ("有{0}吗？", "该眼可见{0}吗？", "是否有{0}？", "能看到{0}的征象吗？"),
        "measurement": ("{0}是多少？", "请给出{0}。", "测得的{0}是多少？"),
        "recommendation": ("下一步应如何处理？", "指南建议怎样随访？", "需要转诊吗？"),
        "definition": ("什么是{0}？", "{0}有什么表现？", "请解释{0}。"),
    },
}  # fmt: skip
#: Not "无{0}": "无" before the Chinese name of referable retinopathy reads as "no referral is needed".
_ANSWERS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "en": {
        "present": ("There are signs of {0}.", "Signs of {0} are seen.", "Signs of {0}."),
        "absent": ("No sign of {0}.", "There is no sign of {0}.", "No evidence of {0}."),
        "grade": ("ICDR grade {0} ({1}).", "It is ICDR grade {0} ({1}).", "The ICDR grade is {0} ({1})."),
        "modality": ("A {0}.", "This is a {0}.", "It is a {0}."),
        "laterality": ("The {0}.", "This is the {0}.", "It is the {0}."),
        "measurement": ("{0}: {1}.", "The {0} is {1}.", "The measured {0} is {1}."),
    },
    "zh": {
        "present": ("可见{0}征象。", "有{0}征象。", "发现{0}征象。"),
        "absent": ("未见{0}征象。", "未见{0}。", "未发现{0}征象。"),
        "grade": ("ICDR分级{0}级（{1}）。", "为ICDR分级{0}级（{1}）。", "ICDR分级为{0}级（{1}）。"),
        "modality": ("{0}。", "这是{0}。", "该图像为{0}。"),
        "laterality": ("{0}。", "这是{0}。", "该图像为{0}。"),
        "measurement": ("{0}：{1}。", "{0}为{1}。", "测得{0}为{1}。"),
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """A question with its answer.

    Args:
        kind: One of `KINDS`.
        language: "en" or "zh".
        question: Words of the user.
        answer: What the record supports.
        refused: A wrong answer to the same question, for pairs; None else.
        system: What stands before the question; empty without.
    """

    kind: str
    language: str
    question: str
    answer: str
    refused: str | None = None
    system: str = ""


def facts_of_record(record: StudyRecord) -> Facts:
    """Return what the labels and cells of a record say; no probability, nothing that was not annotated.

    Example:
        >>> record = StudyRecord(study_id="a", images={"cfp": ("/a.png",)}, labels={"dr_grade": "2", "disease": {"G": 0.0, "C": 1.0}})
        >>> facts = facts_of_record(record)
        >>> facts.grade.label, [(f.code, f.status) for f in facts.findings]
        ('2', [('diabetic_retinopathy', 'present'), ('referable_diabetic_retinopathy', 'present'), ('glaucoma', 'absent'), ('cataract', 'present')])
    """
    found: dict[str, str] = {}
    label = str(record.labels.get("dr_grade", "")).strip()
    grade = label.removesuffix(".0") if label.removesuffix(".0") in ("0", "1", "2", "3", "4") else None
    if grade is not None:
        found[DIABETIC] = "present" if grade != "0" else "absent"
        found[REFERABLE] = "present" if int(grade) >= REFERABLE_ICDR_GRADE else "absent"
    for name, status in (*_letters(record.labels.get("disease")), *_words(record.labels.get("findings"))):
        # The grade knows better than a letter whether there is retinopathy.
        found.setdefault(code_of(name), status)
    found.pop(_NORMAL, None)
    measured = []
    for cell, (name, unit) in _CELLS.items():
        value = record.metadata.get(cell)
        if isinstance(value, int | float) and not is_missing(value):
            measured.append(Measurement(name=name, value=float(value), unit=unit))
    return Facts(
        laterality=record.laterality,
        findings=tuple(
            Fact(code=c, status=s, probability=None, evidence=(f"label/{c}",))
            for c, s in found.items()
            if not c.startswith("label:") and c != "other_abnormality"
        ),
        grade=None
        if grade is None
        else GradeFact(label=grade, status="present", probability=None, evidence=("label/dr_grade",)),
        measurements=tuple(measured),
        used=tuple(record.images),
    )


def _letters(value: Any) -> Iterator[tuple[str, str]]:
    """Yield the diseases of ODIR: what is not named is absent, as all eight were asked for; an unknown one is neither."""
    if isinstance(value, Mapping):
        for letter, known in value.items():
            if letter in ODIR_LABELS and known in (0, 1):
                yield ODIR_LABELS[letter], "present" if known else "absent"
        return
    if is_missing(value):
        return
    named = (
        {p.strip() for p in str(value).split("|")} if not isinstance(value, tuple | list) else {str(v) for v in value}
    )
    if named <= {*ODIR_LABELS, "none"}:
        for letter, title in ODIR_LABELS.items():
            if letter != "N":
                yield title, "present" if letter in named else "absent"


def _words(value: Any) -> Iterator[tuple[str, str]]:
    """Yield findings by name; a list of what is there says nothing of the others."""
    if isinstance(value, str):
        value = value.split("|")
    for word in value if isinstance(value, tuple | list) else ():
        yield str(word).strip(), "present"


def instructions_of(
    record: StudyRecord, *, languages: Sequence[str] = LANGUAGES, count: int = 6, seed: int = 0, pairs: bool = False
) -> list[Instruction]:
    """Return questions with answers on one record, of as many kinds as it supports.

    Args:
        record: With labels; what it does not say is not asked.
        languages: Of the items; each language is drawn from in turn.
        count: Most items.
        seed: Of the draws; the same record and seed give the same items.
        pairs: Descriptions only, each with a wrong one beside it: another eye, or a finding turned round.

    Raises:
        InvalidInput: Unknown language.
    """
    for language in languages:
        check_language(language)
    if not languages:
        raise InvalidInput("no language was given.", code="config.language", hint="Use en, zh or both.")
    facts = facts_of_record(record)
    generator = np.random.default_rng([seed, *record.study_id.encode()])
    made: list[Instruction] = []
    pools = {language: _pool(facts, record, language, generator) for language in languages}
    for number in range(count):
        language = languages[number % len(languages)]
        if pairs:
            made += _pair(facts, language, generator)
        elif pools[language]:
            made.append(pools[language].pop(0))
    return list(dict.fromkeys(made))


def _pool(facts: Facts, record: StudyRecord, language: str, generator: np.random.Generator) -> list[Instruction]:
    """Return everything that can be asked, a description and a wording first, the rest in a drawn order, of findings as many that are there
    as are not."""
    said = [i for kind in KINDS[2:] for i in _items(kind, facts, record, language, generator)]
    order = generator.permutation(len(said))
    found = [i for kind in KINDS[:2] for i in _items(kind, facts, record, language, generator)]
    rest = [said[i] for i in order]
    findings = [i for i in rest if i.kind == "finding"]
    there = [i for i in findings if _is_positive(i)]
    absent = [i for i in findings if not _is_positive(i)]
    # As many absent ones as present ones (one at least), or a model learns to deny.
    kept = {id(i) for i in (*there, *absent[: max(1, len(there))])}
    return [*found, *(i for i in rest if i.kind != "finding" or id(i) in kept)]


def _is_positive(item: Instruction) -> bool:
    return not item.answer.startswith(("No ", "There is no", "未", "无"))


def _items(
    kind: str, facts: Facts, record: StudyRecord, language: str, generator: np.random.Generator
) -> Iterator[Instruction]:
    def item(answer: str, *names: str) -> Instruction:
        asked = _one(_QUESTIONS[language][kind], generator).format(*names)
        return Instruction(kind=kind, language=language, question=asked, answer=answer)

    if kind == "description" and (facts.findings or facts.grade):
        yield item(description(facts, language))
    elif kind == "wording" and (facts.findings or facts.grade):
        # What `describe` asks a generator: the findings in lines, to be worded.
        length = ("full", "short")[int(generator.integers(2))]
        *before, last = description_turns(facts, language=language, words=_WORDS, length=length)
        system = before[0].text if before else ""
        yield Instruction(
            kind=kind, language=language, question=last.text, answer=description(facts, language), system=system
        )
    elif kind == "modality" and len(facts.used) == 1:
        yield item(_said("modality", language, generator, modality_name(facts.used[0], language)))
    elif kind == "laterality" and facts.laterality is not None:
        yield item(_said("laterality", language, generator, EYE_NAMES[language][facts.laterality]))
    elif kind == "grade" and facts.grade is not None:
        words = GRADE_NAMES[language][int(facts.grade.label)]
        yield item(_said("grade", language, generator, facts.grade.label, words))
    elif kind == "finding":
        # To be referred is no finding that a picture shows.
        for fact in (f for f in facts.findings if f.code != REFERABLE):
            title = title_of(fact.code, language)
            yield item(_said(fact.status, language, generator, title), title)
    elif kind == "measurement":
        for measurement in facts.measurements:
            name = measurement_name(measurement.name, language)
            said = _said("measurement", language, generator, name, quantity(measurement, language))
            yield item(said[:1].upper() + said[1:], name)
    elif kind == "recommendation" and facts.grade is not None:
        told = recommend(facts, diabetes=_diabetes(record), language=language)
        known = [i.text for i in told if i.status == "determined"]
        if known:
            yield item((" " if language == "en" else "").join(known))
    elif kind == "definition":
        yield from _definitions(facts, language, generator, item)


def _definitions(facts: Facts, language: str, generator: np.random.Generator, item: Any) -> Iterator[Instruction]:
    known = Knowledge.read()
    for fact in facts.findings:
        texts = known.find(fact.code).definitions.get(language, ()) if fact.code in known else ()
        if texts:
            yield item(_sentence(_one(texts, generator), language), title_of(fact.code, language))


def _sentence(text: str, language: str) -> str:
    end = "。" if language == "zh" else "."
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "。")) else end)


def description(facts: Facts, language: str) -> str:
    """Return the findings as sentences, without the words on scope, quality and use that belong to a page."""
    kept = [
        s.text
        for s in write_narrative(facts, language=language).sentences
        if s.kind in ("finding", "grade", "measurement")
    ]
    return (" " if language == "en" else "").join(kept)


def _pair(facts: Facts, language: str, generator: np.random.Generator) -> list[Instruction]:
    """Return a description with a wrong one beside it; nothing where nothing can be turned round."""
    if not facts.findings:
        return []
    wrong = corrupted(facts, generator)
    right, false = description(facts, language), description(wrong, language)
    if right == false:
        return []
    asked = _one(_QUESTIONS[language]["description"], generator)
    return [Instruction(kind="description", language=language, question=asked, answer=right, refused=false)]


def corrupted(facts: Facts, generator: np.random.Generator) -> Facts:
    """Return facts with the other eye, or with one finding turned round."""
    if facts.laterality is not None and generator.random() < 0.5:
        other = Laterality.LEFT if facts.laterality is Laterality.RIGHT else Laterality.RIGHT
        return replace(facts, laterality=other)
    turned = int(generator.integers(len(facts.findings)))
    flipped = {"present": "absent", "absent": "present"}
    found = [
        replace(f, status=flipped.get(f.status, "present")) if i == turned else f for i, f in enumerate(facts.findings)
    ]
    return replace(facts, findings=tuple(found))


def _diabetes(record: StudyRecord) -> bool | None:
    value = str(record.metadata.get("diabetes", "")).strip().casefold()
    return {"yes": True, "1": True, "1.0": True, "true": True, "no": False, "0": False, "0.0": False}.get(value)


def _said(kind: str, language: str, generator: np.random.Generator, *names: str) -> str:
    said = _one(_ANSWERS[language][kind], generator).format(*names)
    return said.replace("A optical", "An optical").replace("a optical", "an optical").replace("a ultra", "an ultra")


def _one(choices: Sequence[str], generator: np.random.Generator) -> str:
    return choices[int(generator.integers(len(choices)))]
