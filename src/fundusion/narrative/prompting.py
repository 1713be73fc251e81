"""What a generator is told: structured findings and a wish, in two lengths and none; never the report or a name of a file."""

from __future__ import annotations

from collections.abc import Sequence

from ..core.interfaces import Turn
from ..report.findings import percent
from .facts import Fact, Facts
from .names import EYE_NAMES, GRADE_NAMES, check_language, measurement_name, modality_name, title_of
from .recommend import Recommendation
from .writer import quantity

#: From the most that is told to the least; the longest one that a model has room for is used.
LENGTHS = ("full", "short", "none")

_SYSTEM = {
    "en": "You word the findings of an eye examination. The findings are given; they are right. Add nothing: no other finding, number, "
    "eye, cause or treatment. Word what is uncertain as uncertain.",
    "zh": "你负责把眼科检查的结构化结果写成文字。所给结果即为事实，不得添加：不写其他病变、数字、眼别、病因或治疗；不确定的按不确定表述。",
}
_WISH = {
    "en": "Describe the findings in short sentences, at most {words} words.",
    "zh": "请用简短的句子描述以上结果，不超过{words}字。",
}
_ANSWER = {
    "en": "Answer in one or two short sentences, from the findings alone.",
    "zh": "请仅依据以上结果，用一两句话回答。",
}
_REWORD = {
    "en": "Say the following in your own words, in one or two sentences; change no number and leave nothing out: {text}",
    "zh": "请用自己的话复述以下内容，一到两句；不得改动数字，不得遗漏：{text}",
}
_STATUS = {
    "en": {"present": "present", "absent": "absent", "uncertain": "uncertain"},
    "zh": {"present": "有", "absent": "无", "uncertain": "不确定"},
}


def findings_lines(facts: Facts, *, language: str = "en", short: bool = False) -> list[str]:
    """Return the structured findings, one line each; `short` leaves out probabilities, quality and what is absent.

    Example:
        >>> fact = Fact(code="glaucoma", status="uncertain", probability=0.31, evidence=("disease/glaucoma",))
        >>> findings_lines(Facts(findings=(fact,), missing=("oct",)))
        ['eye: not stated', 'glaucoma: uncertain (probability 31 %)', 'missing: optical coherence tomography']
    """
    check_language(language)
    chinese = language == "zh"
    eye = EYE_NAMES[language][facts.laterality] if facts.laterality else ("未注明" if chinese else "not stated")
    lines = [f"{'眼别' if chinese else 'eye'}: {eye}"]
    if facts.used and not short:
        lines.append(f"{'依据' if chinese else 'read from'}: {_names(facts.used, language)}")
    if facts.quality is not None and not short:
        lines.append("图像质量: 可判读" if chinese else "image quality: gradable")
    if facts.grade is not None:
        grade = facts.grade
        words = f"{grade.label} ({GRADE_NAMES[language][int(grade.label)]}), {_STATUS[language][grade.status]}"
        lines.append(f"{'ICDR分级' if chinese else 'ICDR grade'}: {words}{_chance(grade.probability, language, short)}")
    lines += [_line(f, language, short) for f in facts.findings if not (short and f.status == "absent")]
    for measurement in facts.measurements:
        value = "未能测量" if chinese else "not measured"
        if measurement.value is not None:
            value = quantity(measurement, language)
        lines.append(f"{measurement_name(measurement.name, language)}: {value}")
    if facts.missing:
        lines.append(f"{'缺少' if chinese else 'missing'}: {_names(facts.missing, language)}")
    return lines


def _line(fact: Fact, language: str, short: bool) -> str:
    chance = "" if fact.contested else _chance(fact.probability, language, short)
    return f"{title_of(fact.code, language)}: {_STATUS[language][fact.status]}{chance}"


def _chance(probability: float | None, language: str, short: bool) -> str:
    if probability is None or short:
        return ""
    return f" (probability {percent(probability)})" if language == "en" else f"（概率{percent(probability)}）"


def _names(modalities: Sequence[str], language: str) -> str:
    return ("、" if language == "zh" else ", ").join(modality_name(m, language) for m in modalities)


def description_turns(facts: Facts, *, language: str, words: int, length: str = "full") -> list[Turn]:
    """Return the conversation that asks for a description.

    Args:
        facts: What may be said.
        language: "en" or "zh".
        words: Most words.
        length: Of `LENGTHS`; "none" is for models that go on writing from a picture.
    """
    if length == "none":
        return [Turn(role="user", text="")]
    return _asked(facts, _WISH[language].format(words=words), language, length)


def question_turns(question: str, facts: Facts, *, language: str, length: str = "full") -> list[Turn]:
    """Return the conversation that asks a question about a study; "none" asks it alone."""
    if length == "none":
        return [Turn(role="user", text=f"Question: {question} Answer:")]
    return _asked(facts, f"{_ANSWER[language]}\n{question}", language, length)


def rewording_turns(item: Recommendation, *, language: str, length: str = "full") -> list[Turn]:
    """Return the conversation that asks to word what a rule says."""
    wish = Turn(role="user", text=_REWORD[language].format(text=item.text))
    return [Turn(role="system", text=_SYSTEM[language]), wish] if length == "full" else [wish]


def _asked(facts: Facts, wish: str, language: str, length: str) -> list[Turn]:
    lines = "\n".join(findings_lines(facts, language=language, short=length == "short"))
    user = Turn(role="user", text=f"{lines}\n{wish}")
    return [Turn(role="system", text=_SYSTEM[language]), user] if length == "full" else [user]
