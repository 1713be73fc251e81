"""What findings, grades, eyes, modalities and measurements are called in English and Chinese, and how they are recognised."""

from __future__ import annotations

import re
from functools import cache

from ..core.errors import InvalidInput
from ..core.vocabulary import Laterality
from ..knowledge import Knowledge
from ..readers.report.terms import find_terms

LANGUAGES = ("en", "zh")

#: The two findings of a network that are no names of the report reader.
REFERABLE = "referable_diabetic_retinopathy"
OTHER = "other_abnormality"
DIABETIC = "diabetic_retinopathy"
_OWN = {
    REFERABLE: ("referable diabetic retinopathy", "需转诊的糖尿病视网膜病变"),
    OTHER: ("other abnormality", "其他异常"),
}
#: ICDR grade -> words. Source: Wilkinson et al. 2003, doi:10.1016/S0161-6420(03)00475-5.
GRADE_NAMES = {
    "en": ("no apparent diabetic retinopathy", "mild NPDR", "moderate NPDR", "severe NPDR", "PDR"),
    "zh": (
        "未见糖尿病视网膜病变",
        "轻度非增殖期糖尿病视网膜病变",
        "中度非增殖期糖尿病视网膜病变",
        "重度非增殖期糖尿病视网膜病变",
        "增殖期糖尿病视网膜病变",
    ),
}
EYE_NAMES = {
    "en": {Laterality.RIGHT: "right eye", Laterality.LEFT: "left eye"},
    "zh": {Laterality.RIGHT: "右眼", Laterality.LEFT: "左眼"},
}
MODALITY_NAMES = {
    "cfp": ("colour fundus photograph", "彩色眼底照片"),
    "uwf": ("ultra-wide-field photograph", "超广角眼底照片"),
    "oct": ("optical coherence tomography", "光学相干断层扫描"),
    "octa": ("OCT angiography", "光学相干断层扫描血管成像"),
    "ffa": ("fluorescein angiogram", "荧光素眼底血管造影"),
    "icga": ("indocyanine green angiogram", "吲哚菁绿血管造影"),
    "faf": ("fundus autofluorescence", "眼底自发荧光"),
    "slo": ("scanning laser ophthalmoscopy", "扫描激光检眼镜图像"),
    "ultrasound": ("ultrasound", "眼部超声"),
    "external": ("external photograph", "外眼照片"),
    "text": ("written report", "书面报告"),
    "table": ("patient table", "患者信息表"),
}
#: Measurement -> English name, Chinese name, pattern that recognises either; the narrower one first.
_MEASURED = {
    "vertical_cup_to_disc_ratio": ("vertical cup-to-disc ratio", "垂直杯盘比", r"\bvertical c\s*/\s*d\b|\bvcdr\b"),
    "cup_to_disc_ratio": ("cup-to-disc ratio", "杯盘比", r"\bc\s*/\s*d(?: ratio)?\b|\bcdr\b|\bcup[ -]disc ratio\b"),
    "intraocular_pressure": ("intraocular pressure", "眼压", r"\biop\b|眼内压"),
    "central_thickness": ("central retinal thickness", "中心视网膜厚度", r"\bc[sr]t\b|黄斑(?:中心)?厚度|macular thickness"),
    "axial_length": ("axial length", "眼轴长度", r"眼轴"),
    "visual_acuity": ("visual acuity", "视力", r"\bbcva\b|\bvision\b"),
    "fractal_dimension": ("fractal dimension", "血管分形维数", r"分形维数"),
    "vessel_density": ("vessel density", "血管密度", r"血管面积比"),
    "arteriovenous_ratio": ("arteriovenous ratio", "动静脉比", r"\bavr\b|动静脉管径比"),
}  # fmt: skip


def check_language(language: str) -> str:
    """Return the language, or say which there are.

    Raises:
        InvalidInput: Any other.

    Example:
        >>> check_language("zh")
        'zh'
    """
    if language not in LANGUAGES:
        raise InvalidInput(
            f"language {language[:40]!r} is not known.",
            code="config.language",
            hint="Use en (English) or zh (Chinese).",
        )
    return language


@cache
def code_of(name: str) -> str:
    """Return the stable code of a finding: that of the report reader, or "label:" and its name.

    Example:
        >>> code_of("age-related macular degeneration"), code_of("other abnormality"), code_of("stage: early")
        ('age_related_macular_degeneration', 'other_abnormality', 'label:stage: early')
    """
    for code, (english, _) in _OWN.items():
        if name == english:
            return code
    found = find_terms(name)
    whole = len(found) == 1 and found[0].start == 0 and found[0].end == len(name)
    return found[0].code if whole and not found[0].denies else f"label:{name}"


@cache
def _knowledge() -> Knowledge:
    return Knowledge.read()


@cache
def title_of(code: str, language: str) -> str:
    """Return the words for a finding; a name without a translation stays as it is.

    Example:
        >>> title_of("glaucoma", "zh"), title_of("referable_diabetic_retinopathy", "en")
        ('青光眼', 'referable diabetic retinopathy')
    """
    if code in _OWN:
        return _OWN[code][LANGUAGES.index(language)]
    if code.startswith("label:"):
        return code.removeprefix("label:")
    known = _knowledge()
    if code not in known:
        return code.replace("_", " ")
    names = known.find(code).name
    return names.get(language, names["en"])


def own_words(codes: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return words and codes of findings that the report reader does not name, the longest first.

    Example:
        >>> own_words(("glaucoma", "other_abnormality"))
        [('other abnormality', 'other_abnormality'), ('其他异常', 'other_abnormality')]
    """
    pairs = []
    for code in codes:
        if code in _OWN:
            pairs += [(words, code) for words in _OWN[code]]
        elif code.startswith("label:"):
            pairs.append((code.removeprefix("label:"), code))
    return sorted(pairs, key=lambda pair: -len(pair[0]))


def modality_name(modality: str, language: str) -> str:
    """Return the words for a modality.

    Example:
        >>> modality_name("oct", "en"), modality_name("oct", "zh")
        ('optical coherence tomography', '光学相干断层扫描')
    """
    names = MODALITY_NAMES.get(modality)
    return names[LANGUAGES.index(language)] if names else modality


def measurement_name(name: str, language: str) -> str:
    """Return the words for a measurement.

    Example:
        >>> measurement_name("cup_to_disc_ratio", "zh"), measurement_name("rim_area", "en")
        ('杯盘比', 'rim area')
    """
    known = _MEASURED.get(name)
    return known[LANGUAGES.index(language)] if known else name.replace("_", " ")


@cache
def measurement_pattern(extra: tuple[str, ...] = ()) -> re.Pattern[str]:
    """Return a pattern that finds the name of a measurement; the group says which, "m0" is the first of `measured(extra)`.

    Example:
        >>> measurement_pattern().search("VCDR 0.6").lastgroup
        'm0'
    """
    parts = []
    for i, name in enumerate(measured(extra)):
        english, chinese, other = _MEASURED.get(name, (name.replace("_", " "), name, None))
        words = [re.escape(english).replace(r"\-", "[- ]"), re.escape(chinese), *([other] if other else [])]
        parts.append(f"(?P<m{i}>{'|'.join(words)})")
    return re.compile("|".join(parts), re.IGNORECASE | re.ASCII)


def measured(extra: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the measurements that are recognised, in the order of the pattern.

    Example:
        >>> measured(("rim_area",))[-1]
        'rim_area'
    """
    return (*_MEASURED, *(n for n in extra if n not in _MEASURED))
