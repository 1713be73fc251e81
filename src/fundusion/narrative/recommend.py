"""Facts -> what guidelines say of the next examination and of referral. A rule table decides, never a model.

What is not known is "not determined", with the reason; no rule names a drug, a dose or an operation.

Source: the guidelines named in `recommendations.toml`, with each rule's own.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..core.errors import InvalidInput
from .facts import Facts
from .names import DIABETIC, OTHER, REFERABLE, check_language, title_of

URGENCIES = ("none", "routine", "soon", "urgent")
SETTINGS = ("high", "low")
_MACULAR = ("diabetic_macular_oedema", "macular_oedema")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What follows from one finding.

    Args:
        topic: Code of what it is about.
        status: "determined" or "not determined".
        text: Sentence in the language asked for; with "not determined" the reason.
        urgency: One of `URGENCIES`; None when not determined.
        referral: Whether the guideline asks for a referral; None when not determined.
        months: Least and most months to the next examination; None when the guideline leaves it to the examiner.
        evidence: Identifiers of the findings.
        sources: Keys of the guidelines.
    """

    topic: str
    status: str
    text: str
    urgency: str | None = None
    referral: bool | None = None
    months: tuple[int, int] | None = None
    evidence: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "topic": self.topic, "status": self.status, "text": self.text, "urgency": self.urgency, "referral": self.referral,
            "months": list(self.months) if self.months else None, "evidence": list(self.evidence), "sources": list(self.sources),
        }  # fmt: skip


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads((Path(__file__).parent / "recommendations.toml").read_text("utf-8"))


def sources() -> Mapping[str, Mapping[str, str]]:
    """Return the guidelines by key: title, link, and how far the rules were compared with them.

    Example:
        >>> sources()["ico_2017"]["link"]
        'doi:10.1016/j.ophtha.2018.04.007'
    """
    return dict(_table()["sources"])


def recommend(
    facts: Facts, *, diabetes: bool | None = None, setting: str = "high", language: str = "en"
) -> tuple[Recommendation, ...]:
    """Return what guidelines say, the most urgent first, then what is not determined.

    Args:
        facts: Of one study.
        diabetes: Whether the person has diabetes; None when the record does not say.
        setting: "high" or "low" resources, as the ICO guideline distinguishes them.
        language: "en" or "zh".

    Raises:
        InvalidInput: Unknown setting or language.

    Example:
        >>> from .facts import GradeFact
        >>> (first, *_) = recommend(Facts(grade=GradeFact(label="3", status="present", probability=0.8)))
        >>> first.urgency, first.months, first.sources
        ('urgent', (0, 3), ('ico_2017', 'ada_2017'))
    """
    check_language(language)
    if setting not in SETTINGS:
        raise InvalidInput(f"setting {setting[:40]!r} is not known.", code="config.setting", hint="Use high or low.")
    if facts.refusal is not None:
        reason = {
            "en": "Not determined: the picture was not accepted or not gradable. Take it again; a person whose eye cannot be photographed needs an examination.",
            "zh": "未确定：图像未被接受或不可判读。请重新拍摄；无法拍摄者须由医生检查。",
        }[language]
        return (Recommendation(topic="picture", status="not determined", text=reason, evidence=(facts.refusal,)),)
    items = [_retinopathy(facts, diabetes, setting, language), _macula(facts, setting, language)]
    for fact in facts.findings:
        if fact.code in (DIABETIC, REFERABLE, *_MACULAR) or fact.status == "absent":
            continue
        items.append(_other(fact.code, fact.status, fact.evidence, language))
    known = [i for i in items if i.status == "determined"]
    return (*sorted(known, key=lambda i: -URGENCIES.index(i.urgency or "none")), *(i for i in items if i not in known))


def urgency_of(items: tuple[Recommendation, ...]) -> str | None:
    """Return the most urgent of what was determined; None when nothing was.

    Example:
        >>> urgency_of(())
    """
    known = [i.urgency for i in items if i.urgency is not None]
    return max(known, key=URGENCIES.index) if known else None


def _undetermined(topic: str, language: str, *, en: str, zh: str, evidence: tuple[str, ...] = ()) -> Recommendation:
    text = f"Not determined: {en}" if language == "en" else f"未确定：{zh}"
    return Recommendation(topic=topic, status="not determined", text=text, evidence=evidence)


def _rule(name: str, topic: str, evidence: tuple[str, ...], *, setting: str, language: str) -> Recommendation:
    rule = _table()["rules"][name]
    months = rule.get("months_low" if setting == "low" else "months")
    text = str(rule[language])
    gap = " " if language == "en" else ""
    return Recommendation(
        topic=topic,
        status="determined",
        text=text + gap + _interval(months, language),
        urgency=rule["urgency"],
        referral=rule["referral"],
        months=(months[0], months[1]) if months else None,
        evidence=evidence,
        sources=tuple(rule["sources"]),
    )


def _interval(months: list[int] | None, language: str) -> str:
    if months is None:
        return {"en": "The examiner sets the next date.", "zh": "复查时间由检查医生决定。"}[language]
    low, high = months
    if language == "zh":
        return f"{high}个月内再次检查。" if low == 0 else f"{low}至{high}个月后再次检查。"
    if low == 0:
        return f"Next examination within {high} month{'s' if high > 1 else ''}."
    return f"Next examination in {low} to {high} months."


def _retinopathy(facts: Facts, diabetes: bool | None, setting: str, language: str) -> Recommendation:
    grade, there, referable = facts.grade, facts.of(DIABETIC), facts.of(REFERABLE)
    if referable is not None and referable.status == "present" and (grade is None or grade.status != "present"):
        # An uncertain grade is no reason to wait when all likely ones are referred.
        return _rule("referable", DIABETIC, referable.evidence, setting=setting, language=language)
    if grade is None:
        return _undetermined(
            DIABETIC,
            language,
            en="no ICDR grade is known.",
            zh="没有ICDR分级。",
            evidence=there.evidence if there else (),
        )
    if grade.status != "present":
        return _undetermined(
            DIABETIC,
            language,
            en=f"the grade is uncertain (most probable: {grade.label}); have the picture graded by a person.",
            zh=f"分级不确定（最可能为{grade.label}级）；请由医生分级。",
            evidence=grade.evidence,
        )
    if grade.label in ("0", "1") and diabetes is not True:
        if diabetes is False:
            en, zh = "the intervals are for people with diabetes.", "随访间隔只适用于糖尿病患者。"
        else:
            en = "the record does not say whether the person has diabetes; the intervals are for people with diabetes."
            zh = "记录未说明是否患糖尿病；随访间隔只适用于糖尿病患者。"
        return _undetermined(DIABETIC, language, en=en, zh=zh, evidence=grade.evidence)
    return _rule(f"icdr_{grade.label}", DIABETIC, grade.evidence, setting=setting, language=language)


def _macula(facts: Facts, setting: str, language: str) -> Recommendation:
    for code in _MACULAR:
        fact = facts.of(code)
        if fact is not None and fact.status == "present":
            return _rule("dme", code, fact.evidence, setting=setting, language=language)
        if fact is not None and fact.status == "uncertain":
            return _undetermined(
                code, language, en="macular oedema is uncertain.", zh="黄斑水肿不确定。", evidence=fact.evidence
            )
        if fact is not None:
            return _undetermined(
                code,
                language,
                en="no sign of macular oedema; no rule speaks of it alone.",
                zh="未见黄斑水肿；单就此无适用规则。",
                evidence=fact.evidence,
            )
    return _undetermined(
        _MACULAR[0],
        language,
        en="macular oedema was not assessed. An interval for retinopathy holds only without it.",
        zh="未评估黄斑水肿。视网膜病变的随访间隔仅适用于无黄斑水肿者。",
    )


def _other(code: str, status: str, evidence: tuple[str, ...], language: str) -> Recommendation:
    title = title_of(code, language)
    if status == "uncertain":
        return _undetermined(
            code,
            language,
            en=f"{title} is uncertain; have the picture read by a person.",
            zh=f"{title}不确定；请由医生阅片。",
            evidence=evidence,
        )
    if code == OTHER or code not in _table()["rules"]:
        return _undetermined(
            code, language, en=f"there is no rule for {title}.", zh=f"没有关于{title}的规则。", evidence=evidence
        )
    return _rule(code, code, evidence, setting="high", language=language)
