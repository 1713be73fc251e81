"""A question in words -> an answer from the facts, with its evidence; what the facts cannot answer is refused, not guessed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import InvalidInput
from ..readers.report.cleaning import clean_text
from ..readers.report.laterality import find_mentions
from ..readers.report.terms import find_terms
from ..readers.report.untrusted import instruction_start
from ..report.findings import percent
from .facts import Facts
from .names import (
    DIABETIC,
    EYE_NAMES,
    GRADE_NAMES,
    check_language,
    measured,
    measurement_name,
    measurement_pattern,
    modality_name,
    own_words,
    title_of,
)
from .writer import quantity

#: Longest question, characters; a sentence of a person is far shorter.
MAX_QUESTION = 2000
KINDS = ("modality", "laterality", "quality", "grade", "finding", "measurement", "summary")

_TREATMENT = re.compile(
    r"\b(?:treat\w*|therap\w*|drugs?|dos(?:e|age|ing)|medicin\w*|medicat\w*|inject\w*|surger\w*|operat\w*|laser|prescri\w*|prognos\w*|cure|"
    r"refer(?:ral|red|s)?|follow[- ]?up|when should)\b|治疗|用药|剂量|药|手术|注射|激光|预后|转诊|随访|复查|怎么办",
    re.IGNORECASE,
)
_MODALITY = re.compile(
    r"\b(?:modality|what (?:kind|type|sort) of (?:image|picture|scan|photo\w*|examination)|which (?:image|imaging|examination)"
    r"|is (?:this|it) an? (?:[\w-]+ ){0,3}(?:photo\w*|oct|scan|angiogra\w+|ultrasound|tomogra\w*))\b"
    r"|模态|(?:什么|哪种|何种)(?:类型的?)?(?:图像|图片|检查|照片|影像)|是(?:不是)?(?:OCT|眼底(?:彩色?)?照)",
    re.IGNORECASE,
)
_LATERALITY = re.compile(r"\b(?:which eye|laterality|(?:is (?:this|it)|left or) (?:the |a )?(?:left|right)(?: eye)?)\b|哪只眼|哪一?眼|眼别|(?:左眼?还是右眼?|右眼?还是左眼?)|是(?:左|右)眼吗", re.IGNORECASE)  # fmt: skip
_QUALITY = re.compile(r"\b(?:quality|gradable|sharp|blurr\w*|in focus|usable)\b|质量|清晰|可判读|模糊", re.IGNORECASE)
_GRADE = re.compile(
    r"\b(?:grade|stage|severity|how severe|icdr|[np]?pdr)\b|几级|分级|分期|严重程度|多严重|几期", re.IGNORECASE
)
_SUMMARY = re.compile(
    r"\b(?:which (?:diseases?|findings?)|what (?:is wrong|do you see|are the findings|does it show)|summar\w*|describe|findings\?|any (?:disease|abnormalit\w+|findings?)|normal|healthy)\b"
    r"|有什么(?:问题|异常|病)|描述|总结|正常吗|有无异常|有没有异常|所见",
    re.IGNORECASE,
)
#: Findings that only a grade answers.
_STAGES = frozenset({"nonproliferative_diabetic_retinopathy", "proliferative_diabetic_retinopathy"})
_NEGATED = re.compile(r"\b(?:not|no|never)\b|n't\b|不是|非", re.IGNORECASE)
_NUMBERED = re.compile(r"\b(?:grade|stage|level|icdr)\s*(?:is|of)?\s*(\d)\b|(\d)\s*[级期]", re.IGNORECASE)
_REFUSED = {
    "en": "This cannot be answered from the findings. Ask for the modality, the eye, the quality, the grade of retinopathy, "
    "a finding, a measurement, or all findings.",
    "zh": "现有结果无法回答该问题。可询问：图像类型、眼别、图像质量、视网膜病变分级、某项病变、测量值或全部所见。",
}
_ADVICE = {
    "en": "Questions on treatment, referral or the future are not answered here; `fundusion recommend` gives what guidelines say of "
    "referral and the next examination.",
    "zh": "此处不回答治疗、转诊或预后问题；`fundusion recommend` 给出指南中的转诊与复查建议。",
}
_INJECTED = {
    "en": "The question holds words that speak to a machine; they were set aside and nothing was done with them.",
    "zh": "问题中含有指向机器的指令；已搁置，未予执行。",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a question.

    Args:
        kind: One of `KINDS`, or "refused".
        text: Sentence.
        value: The answer in a word: "present", "absent", "uncertain", "not assessed" for a finding, so that it means the same after "is
            there no ..."; "OD", "cfp", a grade, a number; "yes" or "no" to a grade or an eye that the question names; None when refused.
        evidence: Identifiers of what it rests on.
        code: Why it was refused, "ask.injection", "ask.advice" or "ask.unsupported"; "ok" otherwise.
    """

    kind: str
    text: str
    value: str | None
    evidence: tuple[str, ...] = ()
    code: str = "ok"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "kind": self.kind,
            "text": self.text,
            "value": self.value,
            "evidence": list(self.evidence),
            "code": self.code,
        }


def check_question(question: str, language: str | None = None) -> tuple[str, str]:
    """Return a question with uniform characters, and its language; done before a picture is read.

    Raises:
        InvalidInput: Empty, longer than `MAX_QUESTION`, or an unknown language.

    Example:
        >>> check_question("有青光眼吗？"), check_question("Is there glaucoma?")[1]
        (('有青光眼吗?', 'zh'), 'en')
    """
    if language is not None:
        check_language(language)
    if not question.strip():
        raise InvalidInput("the question is empty.", code="ask.empty", hint='Ask for instance: "Is there glaucoma?"')
    if len(question) > MAX_QUESTION:
        raise InvalidInput(
            f"the question has {len(question)} characters; at most {MAX_QUESTION} are read.",
            code="ask.too_long",
            hint="Ask one thing in one sentence.",
        )
    plain = clean_text(question).plain
    return plain, language or ("zh" if re.search(r"[\u3400-\u9fff]", plain) else "en")


def answer_question(question: str, facts: Facts, *, language: str | None = None) -> Answer:
    """Return the answer to a question on one study.

    Args:
        question: In English or Chinese.
        facts: What is known.
        language: Of the answer; None takes that of the question.

    Raises:
        InvalidInput: The question is empty or too long, or the language is unknown.

    Example:
        >>> from .facts import Fact
        >>> fact = Fact(code="glaucoma", status="uncertain", probability=0.31, evidence=("disease/glaucoma",))
        >>> answer_question("Is there glaucoma?", Facts(findings=(fact,))).value
        'uncertain'
        >>> answer_question("有黄斑裂孔吗？", Facts(findings=(fact,))).value
        'not assessed'
    """
    plain, language = check_question(question, language)
    if instruction_start(plain) is not None:
        return Answer(kind="refused", text=_INJECTED[language], value=None, code="ask.injection")
    if _QUALITY.search(plain):
        return _quality(facts, language)
    if _MODALITY.search(plain):
        return _modality(facts, language)
    if _LATERALITY.search(plain) and not find_terms(plain):
        return _laterality(plain, facts, language)
    if _TREATMENT.search(plain):
        return Answer(kind="refused", text=_ADVICE[language], value=None, code="ask.advice")
    if facts.refusal is not None:
        text = {
            "en": "Nothing is said of this eye: the picture is not gradable.",
            "zh": "图像不可判读，对该眼不作判断。",
        }
        return Answer(kind="refused", text=text[language], value=None, evidence=(facts.refusal,), code=facts.refusal)
    other = _other_eye(plain, facts, language)
    if other is not None:
        return other
    if measurement_pattern(tuple(m.name for m in facts.measurements)).search(plain):
        return _measurement(plain, facts, language)
    if _GRADE.search(plain) and not _codes(plain, facts, grades=False):
        return _grade(plain, facts, language)
    codes = _codes(plain, facts)
    if codes and set(codes) <= _STAGES:
        return _grade(plain, facts, language)
    if codes:
        return _findings(codes, facts, language)
    if _SUMMARY.search(plain):
        return _summary(facts, language)
    return Answer(kind="refused", text=_REFUSED[language], value=None, code="ask.unsupported")


def _codes(plain: str, facts: Facts, *, grades: bool = True) -> list[str]:
    """Return the findings a question names; those that only a grade answers are left out on request."""
    codes = [code for words, code in own_words(facts.codes) if words.lower() in plain.lower()]
    graded = (DIABETIC, "retinopathy", *_STAGES)
    if "referable_diabetic_retinopathy" in codes:
        return list(dict.fromkeys(codes))
    for term in find_terms(plain):
        if term.code == "retinopathy":
            # Its kind is not said: every kind that was looked for is meant.
            codes += [c for c in (DIABETIC, "hypertensive_retinopathy") if grades and facts.of(c) is not None]
        elif term.code != "normal_fundus" and (grades or term.code not in graded):
            codes.append(term.code)
    return list(dict.fromkeys(codes))


def _quality(facts: Facts, language: str) -> Answer:
    if facts.quality is None:
        text = {"en": "The quality was not judged.", "zh": "未评估图像质量。"}[language]
        return Answer(kind="quality", text=text, value="not assessed")
    good = facts.quality.gradable
    words = {
        "en": ("The image is gradable.", "The image is not gradable"),
        "zh": ("图像质量可判读。", "图像质量不可判读"),
    }
    text = words[language][0 if good else 1]
    if not good:
        reasons = ", ".join(r.rsplit(".", 1)[-1].replace("_", " ") for r in facts.quality.reasons)
        text += (
            (f" ({reasons})." if language == "en" else f"（{reasons}）。")
            if reasons
            else {"en": ".", "zh": "。"}[language]
        )
    return Answer(
        kind="quality", text=text, value="gradable" if good else "not gradable", evidence=("quality/gradable",)
    )


def _modality(facts: Facts, language: str) -> Answer:
    if not facts.used:
        text = {"en": "No modality was read.", "zh": "未读取任何图像。"}[language]
        return Answer(kind="modality", text=text, value="not assessed")
    names = [modality_name(m, language) for m in facts.used]
    joined = ", ".join(names) if language == "en" else "、".join(names)
    text = f"{joined[:1].upper()}{joined[1:]}." if language == "en" else f"{joined}。"
    return Answer(
        kind="modality", text=text, value="|".join(facts.used), evidence=tuple(f"modality/{m}" for m in facts.used)
    )


def _laterality(plain: str, facts: Facts, language: str) -> Answer:
    if facts.laterality is None:
        text = {
            "en": "The eye is not stated with the picture, and it is not guessed.",
            "zh": "图像未注明眼别，不作猜测。",
        }[language]
        return Answer(kind="laterality", text=text, value="not assessed", evidence=("laterality/not stated",))
    name = EYE_NAMES[language][facts.laterality]
    text = f"The record says: {name}." if language == "en" else f"记录注明：{name}。"
    asked = {e for c in (False, True) for m in find_mentions(plain, chinese=c) for e in m.eyes}
    value = facts.laterality.value
    if len(asked) == 1:
        value = "yes" if asked == {facts.laterality} else "no"
    return Answer(kind="laterality", text=text, value=value, evidence=(f"laterality/{facts.laterality.value}",))


def _other_eye(plain: str, facts: Facts, language: str) -> Answer | None:
    asked = {e for c in (False, True) for m in find_mentions(plain, chinese=c) for e in m.eyes}
    if not asked or asked == {facts.laterality}:
        return None
    if facts.laterality is None:
        text = {"en": "The eye of this picture is not stated.", "zh": "该图像未注明眼别。"}[language]
    else:
        name = EYE_NAMES[language][facts.laterality]
        text = (
            f"This picture is of the {name}; of another eye nothing is known."
            if language == "en"
            else f"该图像为{name}；另一眼情况未知。"
        )
    return Answer(kind="laterality", text=text, value="not assessed")


def _measurement(plain: str, facts: Facts, language: str) -> Answer:
    extra = tuple(m.name for m in facts.measurements)
    match = measurement_pattern(extra).search(plain)
    name = measured(extra)[int(str(match.lastgroup)[1:])] if match else ""
    known = facts.measurement(name)
    title = measurement_name(name, language)
    title = title[:1].upper() + title[1:]
    if known is None or known.value is None:
        text = f"{title} was not measured." if language == "en" else f"{title}未测量。"
        evidence = (f"measurement/{name}",) if known else ()
        return Answer(kind="measurement", text=text, value="not assessed", evidence=evidence)
    number = quantity(known, language)
    text = f"{title}: {number}." if language == "en" else f"{title}：{number}。"
    return Answer(kind="measurement", text=text, value=number, evidence=(f"measurement/{name}",))


def _grade(plain: str, facts: Facts, language: str) -> Answer:
    grade = facts.grade
    if grade is None:
        text = {"en": "No grade of retinopathy is known.", "zh": "没有视网膜病变分级。"}[language]
        return Answer(kind="grade", text=text, value="not assessed")
    words = GRADE_NAMES[language][int(grade.label)]
    chance = f", probability {percent(grade.probability)}" if grade.probability is not None else ""
    if language == "en":
        text = (
            f"ICDR grade {grade.label} ({words}){chance}{'' if grade.status == 'present' else '; this is uncertain'}."
        )
    else:
        chance = chance.replace(", probability ", "，概率").replace(" ", "")
        text = f"ICDR分级{grade.label}级（{words}）{chance}{'' if grade.status == 'present' else '；不确定'}。"
    asked = _NUMBERED.search(plain)
    value = grade.label if grade.status == "present" else "uncertain"
    if asked and grade.status == "present" and not _NEGATED.search(plain):
        value = "yes" if (asked[1] or asked[2]) == grade.label else "no"
    return Answer(kind="grade", text=text, value=value, evidence=grade.evidence)


_STATUS_WORDS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "en": {"present": ("present", "signs of {0}"), "absent": ("absent", "no sign of {0}"),
           "uncertain": ("uncertain", "{0} cannot be excluded"), "not assessed": ("not assessed", "{0}: not assessed by this model")},
    "zh": {"present": ("present", "可见{0}征象"), "absent": ("absent", "未见{0}征象"),
           "uncertain": ("uncertain", "不能排除{0}"), "not assessed": ("not assessed", "该模型未评估{0}")},
}  # fmt: skip


def _findings(codes: list[str], facts: Facts, language: str) -> Answer:
    parts, values, evidence = [], [], []
    for code in codes:
        fact = facts.of(code)
        status = fact.status if fact else "not assessed"
        value, words = _STATUS_WORDS[language][status]
        part = words.format(title_of(code, language))
        if fact is not None and fact.probability is not None and not fact.contested:
            chance = percent(fact.probability)
            part += f" (probability {chance})" if language == "en" else f"（概率{chance.replace(' ', '')}）"
        parts.append(part)
        values.append(value)
        evidence += fact.evidence if fact else ()
    text = ("; " if language == "en" else "；").join(parts)
    text = text[:1].upper() + text[1:] + ("." if language == "en" else "。")
    return Answer(kind="finding", text=text, value="|".join(values), evidence=tuple(evidence))


def _summary(facts: Facts, language: str) -> Answer:
    told = [f.code for f in facts.findings if f.status != "absent"]
    if told:
        return Answer(**{**_kept(_findings(told, facts, language)), "kind": "summary", "value": "|".join(told)})
    text = {
        "en": "No sign of the diseases this model looks for; that does not make the eye a healthy one.",
        "zh": "未见该模型所查疾病的征象；这并不说明该眼健康。",
    }[language]
    evidence = tuple(e for f in facts.findings for e in f.evidence)
    return Answer(kind="summary", text=text, value="none", evidence=evidence)


def _kept(answer: Answer) -> dict[str, Any]:
    return {"text": answer.text, "evidence": answer.evidence, "code": answer.code}
