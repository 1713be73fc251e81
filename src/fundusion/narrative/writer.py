"""Facts -> a narrative in English or Chinese by templates: no model, no download, every sentence with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.results import Measurement, StudyResult
from ..report.compose import Row
from ..report.findings import percent
from .facts import Fact, Facts, facts_of
from .names import (
    DIABETIC,
    EYE_NAMES,
    GRADE_NAMES,
    LANGUAGES,
    REFERABLE,
    check_language,
    measurement_name,
    modality_name,
    title_of,
)

DISCLAIMER = {
    "en": "Not a medical device: for research and education only; every finding needs a clinician's eye.",
    "zh": "本结果不是医疗器械输出，仅供研究和教学；每一项均须由医生核实。",
}
#: In words: the report reader takes the m of "µm." for an abbreviation, and two sentences for one.
UNITS = {
    "um": {"en": "micrometres", "zh": "微米"},
    "mm": {"en": "mm", "zh": "毫米"},
    **{key: {"en": "", "zh": ""} for key in ("ratio", "1")},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One sentence.

    Args:
        text: Its words.
        evidence: Identifiers of what it rests on; never empty.
        kind: "scope", "quality", "finding", "grade", "contested", "measurement", "missing", "refusal" or "disclaimer";
            "generated" for one of a generator.
    """

    text: str
    evidence: tuple[str, ...]
    kind: str

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {"text": self.text, "evidence": list(self.evidence), "kind": self.kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrative:
    """Sentences in order, in one language; `origin` is "template" or the name of a generator."""

    language: str
    sentences: tuple[Sentence, ...]
    origin: str = "template"
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The sentences as one text."""
        return (" " if self.language == "en" else "").join(s.text for s in self.sentences)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "language": self.language,
            "origin": self.origin,
            "text": self.text,
            "sentences": [s.to_dict() for s in self.sentences],
            "removed": dict(self.counts),
        }


def write_narrative(facts: Facts, *, language: str = "en") -> Narrative:
    """Return the narrative of a study.

    Args:
        facts: What may be said.
        language: "en" or "zh".

    Raises:
        InvalidInput: Unknown language.

    Example:
        >>> fact = Fact(code="glaucoma", status="uncertain", probability=0.31, evidence=("disease/glaucoma",))
        >>> write_narrative(Facts(findings=(fact,))).sentences[0].text
        'Glaucoma cannot be excluded (probability 31 %).'
        >>> write_narrative(Facts(findings=(fact,)), language="zh").sentences[0].text
        '不能排除青光眼（概率31%）。'
    """
    check_language(language)
    sentences = [*_scope(facts, language), *_quality(facts, language)]
    order = {"present": 0, "uncertain": 1}
    told = sorted((f for f in facts.findings if f.status in order), key=lambda f: order[f.status])
    # What is said of diabetic retinopathy stands together with its grade, and first when there is something to say.
    diabetic = [finding_sentence(f, facts, language=language) for f in told if f.code in (DIABETIC, REFERABLE)]
    others = [finding_sentence(f, facts, language=language) for f in told if f.code not in (DIABETIC, REFERABLE)]
    graded = [*diabetic, *_grade(facts, language), *_contested(facts, language)]
    sentences += [*graded, *others] if diabetic else [*others, *graded]
    sentences += _absent([f for f in facts.findings if f.status == "absent"], facts, language)
    sentences += [_measurement(m, facts, language) for m in facts.measurements]
    sentences += _missing(facts, language)
    sentences.append(Sentence(text=DISCLAIMER[language], evidence=("policy/intended-use",), kind="disclaimer"))
    return Narrative(language=language, sentences=tuple(sentences))


def narrative_rows(result: StudyResult) -> tuple[tuple[str, tuple[Row, ...]], ...]:
    """Return the narrative of a result in every language, as a report page shows it: sentence, and its evidence.

    Example:
        >>> result = StudyResult(study_id="a", patient_id=None, laterality=None, status="rejected", code="quality.dark")
        >>> narrative_rows(result)[0][1][0].text
        'quality.dark'
    """
    facts = facts_of(result)
    return tuple(
        (
            language,
            tuple(
                Row(name=s.text, text=", ".join(s.evidence))
                for s in write_narrative(facts, language=language).sentences
                # The page ends with the same words.
                if s.kind != "disclaimer"
            ),
        )
        for language in LANGUAGES
    )


def finding_sentence(fact: Fact, facts: Facts, *, language: str) -> Sentence:
    """Return the sentence of one finding that is there or uncertain.

    Example:
        >>> fact = Fact(code="cataract", status="present", probability=0.93, evidence=("disease/cataract",))
        >>> finding_sentence(fact, Facts(), language="en").text
        'Signs of cataract (probability 93 %).'
    """
    title = title_of(fact.code, language)
    # A probability beside "cannot be excluded" would take the side of one of two answers that disagree.
    chance = _chance(None if fact.contested else fact.probability, language)
    if language == "en":
        where = _where(facts)
        if fact.status == "present":
            text = f"Signs of {title}{where}{chance}."
        else:
            text = f"{title[:1].upper()}{title[1:]} cannot be excluded{where}{chance}."
    else:
        text = f"{_eye(facts, 'zh')}{'可见' if fact.status == 'present' else '不能排除'}{title}{'征象' if fact.status == 'present' else ''}{chance}。"
    return Sentence(text=text, evidence=fact.evidence, kind="finding")


def _contested(facts: Facts, language: str) -> Iterator[Sentence]:
    doubted = [f for f in facts.findings if f.contested]
    if not doubted:
        return
    names = _listed([title_of(f.code, language) for f in doubted], language)
    text = {
        "en": f"On {names} the answers of the model disagree, so it is given as uncertain.",
        "zh": f"模型对{names}的各项输出不一致，故按不确定处理。",
    }[language]
    yield Sentence(text=text, evidence=tuple(e for f in doubted for e in f.evidence), kind="contested")


def _where(facts: Facts) -> str:
    return f" in the {EYE_NAMES['en'][facts.laterality]}" if facts.laterality else ""


def _eye(facts: Facts, language: str) -> str:
    return EYE_NAMES[language][facts.laterality] if facts.laterality else ""


def _chance(probability: float | None, language: str) -> str:
    if probability is None:
        return ""
    return (
        f" (probability {percent(probability)})"
        if language == "en"
        else f"（概率{percent(probability).replace(' ', '')}）"
    )


def _scope(facts: Facts, language: str) -> Iterator[Sentence]:
    if not facts.used:
        return
    names = [modality_name(m, language) for m in facts.used]
    if language == "en":
        eye = (
            f"{_eye(facts, 'en')} ({facts.laterality.value})" if facts.laterality else "an eye whose side is not stated"
        )
        text = f"Read from: {_listed(names, language)} of {'the ' if facts.laterality else ''}{eye}."
    else:
        text = f"依据：{_eye(facts, 'zh') or '眼别未注明的'}{_listed(names, language)}。"
    eye_id = (f"laterality/{facts.laterality.value}",) if facts.laterality else ("laterality/not stated",)
    yield Sentence(text=text, evidence=(*(f"modality/{m}" for m in facts.used), *eye_id), kind="scope")


def _quality(facts: Facts, language: str) -> Iterator[Sentence]:
    if facts.refusal is not None:
        text = {
            "en": "Nothing is said of this eye: the input was not accepted or not gradable.",
            "zh": "对该眼不作任何判断：输入未被接受或图像质量不可判读。",
        }[language]
        yield Sentence(text=text, evidence=(facts.refusal,), kind="refusal")
    elif facts.quality is not None:
        text = {"en": "The image is gradable.", "zh": "图像质量可判读。"}[language]
        yield Sentence(text=text, evidence=("quality/gradable",), kind="quality")


def _grade(facts: Facts, language: str) -> Iterator[Sentence]:
    grade, there = facts.grade, facts.of(DIABETIC)
    if grade is None:
        return
    evidence = grade.evidence
    words = GRADE_NAMES[language][int(grade.label)]
    stated = grade.status == "present"
    if grade.label == "0":
        # Its words deny retinopathy as a whole: they stand only where nothing else leaves it open.
        if not stated or (there is not None and there.status != "absent"):
            words = ""
        elif there is not None:
            evidence = (*evidence, *there.evidence)
    chance = _chance(grade.probability, language)
    if language == "en":
        shown = f" ({words})" if words else ""
        text = f"{'' if stated else 'Possible '}ICDR grade {grade.label}{shown}{_where(facts)}{chance}."
    else:
        shown = f"（{words}）" if words else ""
        text = f"{_eye(facts, 'zh')}{'' if stated else '可能为'}ICDR分级{grade.label}级{shown}{chance}。"
    yield Sentence(text=text, evidence=evidence, kind="grade")


def _absent(absent: Sequence[Fact], facts: Facts, language: str) -> Iterator[Sentence]:
    if not absent:
        return
    # Without retinopathy there is none to refer for; saying both would only be longer.
    none = any(f.code == DIABETIC for f in absent)
    names = [title_of(f.code, language) for f in absent if not (none and f.code == REFERABLE)]
    if language == "en":
        text = f"No sign of {_listed(names, language, last='or')}{_where(facts)}."
    else:
        text = f"{_eye(facts, 'zh')}未见{_listed(names, language, last='或')}征象。"
    yield Sentence(text=text, evidence=tuple(e for f in absent for e in f.evidence), kind="finding")


def _measurement(measurement: Measurement, facts: Facts, language: str) -> Sentence:
    name = measurement_name(measurement.name, language)
    evidence = (f"measurement/{measurement.name}",)
    if measurement.value is None:
        text = (
            f"{name[:1].upper()}{name[1:]}{_where(facts)} was not measured."
            if language == "en"
            else f"{_eye(facts, 'zh')}{name}未能测量。"
        )
    else:
        number = quantity(measurement, language)
        text = (
            f"{name[:1].upper()}{name[1:]}{_where(facts)}: {number}."
            if language == "en"
            else f"{_eye(facts, 'zh')}{name}：{number}。"
        )
    return Sentence(text=text, evidence=evidence, kind="measurement")


def quantity(measurement: Measurement, language: str) -> str:
    """Return a value with its unit, in three significant digits.

    Example:
        >>> quantity(Measurement(name="central_thickness", value=281.4, unit="um"), "zh")
        '281微米'
    """
    unit = UNITS.get(measurement.unit, {}).get(language, measurement.unit)
    gap = " " if language == "en" and unit else ""
    value = measurement.value or 0.0
    # Plain notation: 1500 micrometres must not become 1.5e+03.
    digits = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{digits}{gap}{unit}"


def _missing(facts: Facts, language: str) -> Iterator[Sentence]:
    if not facts.missing:
        return
    names = [modality_name(m, language) for m in facts.missing]
    text = f"Not provided: {_listed(names, language)}." if language == "en" else f"未提供：{_listed(names, language)}。"
    yield Sentence(text=text, evidence=tuple(f"modality/{m}" for m in facts.missing), kind="missing")


def _listed(names: Sequence[str], language: str, *, last: str = "and") -> str:
    if language == "zh":
        return "、".join(names)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {last} {names[-1]}"
