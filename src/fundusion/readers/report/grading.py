"""Graded words -> value on a named scale.

Scales: "icdr" 0-4 (Wilkinson et al. 2003, doi:10.1016/S0161-6420(03)00475-5), "dme" 0-2, "areds" 1-4 (AREDS report 6, 2001),
"beckman" early, intermediate, late (Ferris et al. 2013, doi:10.1016/j.ophtha.2012.10.036), "glaucoma" early, mild, moderate,
severe, advanced, "meta_pm" 0-4 (Ohno-Matsui et al. 2015, doi:10.1016/j.ajo.2015.01.022), "hypertensive" 1-4
(Keith-Wagener-Barker), "scheie" 0-4, "nhs" R0-R3 and M0-M1. Stages I-VI of Chinese reports map to ICDR I=1, II=2, III=3,
IV to VI=4 (staging of the Chinese guideline of 2014). A word that could be two grades ("mild to moderate") gives none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

Grade = tuple[str, str]

_SEVERITY = re.compile(
    r"\b(?P<mild>mild|minimal|slight)\b|\b(?P<moderate>moderate(?:ly)?)\b|\b(?:very )?(?P<severe>severe(?:ly)?)\b|\b(?P<early>early)\b"
    r"|\b(?P<intermediate>intermediate)\b|\b(?P<late>late(?![ -]phase))\b|\b(?P<advanced>advanced|end[- ]stage)\b|\b(?P<trace>trace)\b"
    r"|(?P<zh_mild>轻度)|(?P<zh_moderate>中度)|(?P<zh_severe>重度)|(?P<zh_early>早期)|(?P<zh_intermediate>中期)|(?P<zh_late>晚期)",
    re.IGNORECASE | re.ASCII,
)
_ICDR = {"mild": "1", "moderate": "2", "severe": "3"}
_ROMAN = {"i": 1, "ii": 2, "iii": 3, "iv": 4, "v": 5, "vi": 6}
_AFTER = re.compile(
    r"\s*[(,]?\s*(?:(?:双眼|右眼|左眼|o[dsu]\b)\s*,?)?(?:is|was|of|at|:|=|分级|分期|为|\s)*\s*(?:(?:icdr|etdrs|meta-?pm|kwb|keith[- ]wagener(?:[- ]barker)?|scheie|areds)\s*)?"
    r"(?:(?:grade|category|cat\.?|stage|class|level|c)\s*(?P<word>[0-6]|[iv]{1,3})\b|(?P<zh>[0-6]|[iv]{1,3}|[一二三四五六])\s*(?P<unit>级|期|型)|(?P<bare>[0-4])(?=\s*(?:[,;)]|$)))",
    re.IGNORECASE | re.ASCII,
)
_BEFORE = re.compile(r"\b(?:grade|stage)\s*(?P<word>[0-4]|[iv]{1,3})\s*$", re.IGNORECASE | re.ASCII)
_CHINESE_DIGITS = {"一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6}
_STANDALONE = re.compile(
    r"(?P<nhs>\b(?-i:R)(?P<r>[0-3])[AS]?\b(?=[\s,/]*M[01]\b|\s*$|\s*[;,.])|(?<![A-Za-z0-9])(?-i:R)(?P<r2>[0-3])[AS]?(?=M[01]\b))|(?P<nhs_m>(?:\b|(?<=R[0-3])|(?<=R[0-3][AS]))M(?P<m>[01])\b)"
    r"|(?P<icdr>\b(?:icdr|dr)\s*(?:分级|分期|grade|scale|level|severity)\s*(?:grade|level|score)?[:\s]*)"
    r"|(?P<icdr_zh>\bicdr\b[^,;]{0,6}?(?=\d))"
    r"|(?P<areds>\bareds\s*(?:分级|分类|category|cat\.?|grade|level)?[:\s]*)"
    r"|(?P<meta_pm>\bmeta-?pm\s*(?:分级|分类|category|cat\.?|grade|level)?[:\s]*)",
    re.IGNORECASE | re.ASCII,
)
_CODES = {
    "icdr": "diabetic_retinopathy",
    "icdr_zh": "diabetic_retinopathy",
    "areds": "age_related_macular_degeneration",
    "meta_pm": "pathological_myopia",
}
_DIABETIC = ("diabetic_retinopathy", "nonproliferative_diabetic_retinopathy", "proliferative_diabetic_retinopathy")


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeMention:
    """A grade that stands without the name of its disease ("R2 M1", "AREDS category 3")."""

    start: int
    end: int
    code: str
    grade: Grade
    absent: bool = False


def severity_of(text: str, start: int, end: int) -> str | None:
    """Return the severity word beside a finding, or None; two different words give none.

    Example:
        >>> severity_of("mild NPDR", 5, 9), severity_of("mild to moderate NPDR", 17, 21), severity_of("轻度白内障", 2, 5)
        ('mild', None, 'mild')
    """
    left = re.split(r"[,;。:、]|\b(?:and|with|in|of|no)\b|和|及|伴", text[max(0, start - 40) : start])[-1]
    right = re.split(r"[,;。:、]|\b(?:and|with|but|in|of|mild(?=\w))\b|和|及|伴", text[end : end + 20])[0]
    before = {_severity(m) for m in _SEVERITY.finditer(left)}
    inside = {_severity(m) for m in _SEVERITY.finditer(text[start:end])}
    if not before | inside:
        first = re.match(r"\s*(?:is|was)?\s*(?=\S)", right)
        tail = _SEVERITY.match(right, first.end()) if first else None
        if tail is None:
            apart = re.match(
                r"\s*[,(]?\s*(早期|中期|晚期|轻度|中度|重度|(?:mild|moderate|severe)(?=\s*(?:[,;.)]|$)))",
                text[end : end + 14],
                re.IGNORECASE,
            )
            tail = _SEVERITY.match(apart.group(1)) if apart else None
        before = {_severity(tail)} if tail else set()
    words = before | inside
    return words.pop() if len(words) == 1 else None


def _severity(match: re.Match[str]) -> str:
    return str(match.lastgroup).removeprefix("zh_")


def grade_of(code: str, text: str, start: int, end: int) -> Grade | None:
    """Return the grade a report gives a finding at a place of a sentence.

    Example:
        >>> grade_of("glaucoma", "advanced glaucoma", 9, 17), grade_of("hypertensive_retinopathy", "高血压性视网膜病变II级", 0, 9)
        (('glaucoma', 'advanced'), ('hypertensive', '2'))
    """
    word = severity_of(text, start, end)
    number, stage = _number_beside(text, start, end)
    if code in _DIABETIC:
        return _diabetic(code, word, number, stage)
    if code == "age_related_macular_degeneration":
        if number is not None and re.search(
            r"areds", text[end : end + 12] + text[max(0, start - 12) : start], re.IGNORECASE | re.ASCII
        ):
            return ("areds", str(number)) if 1 <= number <= 4 else None
        late = {"early": "early", "intermediate": "intermediate", "late": "late", "advanced": "late"}.get(word or "")
        return ("beckman", late) if late else None
    if code == "glaucoma" and word in ("early", "mild", "moderate", "severe", "advanced", "late", "intermediate"):
        return "glaucoma", {"late": "advanced", "intermediate": "moderate"}.get(word, word)
    if code == "hypertensive_retinopathy" and number is not None and number <= 4:
        scheie = re.search(r"scheie", text, re.IGNORECASE | re.ASCII) is not None
        return ("scheie" if scheie else "hypertensive", str(number)) if number or scheie else None
    if code == "pathological_myopia" and number is not None and number <= 4:
        return "meta_pm", str(number)
    if code == "diabetic_macular_oedema" and number is not None and number <= 2:
        return "dme", str(number)
    return None


def _diabetic(code: str, word: str | None, number: int | None, stage: bool) -> Grade | None:
    if code.startswith("proliferative"):
        return "icdr", "4"
    if number is not None:
        value = min(number, 4) if stage else number
        return ("icdr", str(value)) if value <= 4 else None
    grade = _ICDR.get(word or "")
    return ("icdr", grade) if grade else None


def _number_beside(text: str, start: int, end: int) -> tuple[int | None, bool]:
    """Return the number of a grade beside a finding and whether it is a stage (期)."""
    match = _AFTER.match(text, end) or _BEFORE.search(text[max(0, start - 20) : start])
    if match is None:
        return None, False
    groups = match.groupdict()
    digits = (groups.get("word") or groups.get("zh") or groups.get("bare") or "").lower()
    value = int(digits) if digits.isdigit() else _ROMAN.get(digits) or _CHINESE_DIGITS.get(digits)
    return value, groups.get("unit") == "期"


def find_grades(text: str) -> Iterator[GradeMention]:
    """Yield the grades of a sentence that stand without the name of the disease.

    Example:
        >>> [(g.code, g.grade, g.absent) for g in find_grades("R0 M1")]
        [('diabetic_retinopathy', ('icdr', '0'), True), ('diabetic_macular_oedema', ('nhs', 'M1'), False)]
    """
    for match in _STANDALONE.finditer(text):
        kind = str(match.lastgroup)
        if match["nhs"]:
            value = match["r"] or match["r2"]
            grade = {"0": ("icdr", "0"), "3": ("icdr", "4")}.get(value, ("nhs", f"R{value}"))
            yield GradeMention(
                start=match.start(), end=match.end(), code="diabetic_retinopathy", grade=grade, absent=value == "0"
            )
        elif match["nhs_m"]:
            value = match["m"]
            yield GradeMention(
                start=match.start(),
                end=match.end(),
                code="diabetic_macular_oedema",
                grade=("nhs", f"M{value}"),
                absent=value == "0",
            )
        else:
            yield from _listed(text, match.end(), kind)


def _listed(text: str, position: int, kind: str) -> Iterator[GradeMention]:
    """Yield the values after the name of a scale, one or one per eye."""
    scale = kind.removesuffix("_zh")
    value = re.compile(
        r"(?:[\s:=,(]|\b(?:grade|category|and|is|in|the|od|os|ou|right|left|eyes?)\b|[右左双眼为])*?(?P<v>c?[0-4]|[iv]{1,3}(?![a-z]))\s*(?:级|期)?(?![\d.])",
        re.IGNORECASE,
    )
    while (match := value.match(text, position)) is not None:
        digits = match["v"].lower().removeprefix("c")
        number = int(digits) if digits.isdigit() else _ROMAN.get(digits, 9)
        if number <= 4:
            yield GradeMention(
                start=match.start("v"),
                end=match.end(),
                code=_CODES[kind],
                grade=(scale, str(number)),
                absent=number == (1 if scale == "areds" else 0),
            )
        position = match.end()
