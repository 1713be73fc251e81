"""What the small captioner can say and be asked, in English and Chinese: phrases of one token each, and the questions they answer.

Every name of a finding is one that the report reader knows, so that what was said can be read back and checked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LANGUAGES = ("en", "zh")
#: Key -> English, Chinese. Findings of colour photographs, the rarest late; grades of retinopathy are findings of their own.
FINDINGS: Mapping[str, tuple[str, str]] = {
    "normal": ("normal fundus", "正常眼底"),
    "dr1": ("mild non-proliferative diabetic retinopathy", "轻度非增殖期糖尿病视网膜病变"),
    "dr2": ("moderate non-proliferative diabetic retinopathy", "中度非增殖期糖尿病视网膜病变"),
    "dr3": ("severe non-proliferative diabetic retinopathy", "重度非增殖期糖尿病视网膜病变"),
    "dr4": ("proliferative diabetic retinopathy", "增殖期糖尿病视网膜病变"),
    "dr": ("diabetic retinopathy", "糖尿病视网膜病变"),
    "cataract": ("cataract", "白内障"),
    "myopia": ("pathological myopia", "病理性近视"),
    "glaucoma": ("glaucoma", "青光眼"),
    "amd": ("age-related macular degeneration", "年龄相关性黄斑变性"),
    "membrane": ("epiretinal membrane", "黄斑前膜"),
    "hypertensive": ("hypertensive retinopathy", "高血压视网膜病变"),
    "drusen": ("drusen", "玻璃膜疣"),
    "myelinated": ("myelinated nerve fibres", "有髓神经纤维"),
    "vitreous": ("vitreous opacity", "玻璃体混浊"),
    "haze": ("media opacity", "屈光间质混浊"),
    "laser": ("laser scars", "激光斑"),
    "brvo": ("branch retinal vein occlusion", "视网膜分支静脉阻塞"),
    "maculopathy": ("maculopathy", "黄斑病变"),
    "fluid": ("subretinal fluid", "视网膜下液"),
    "oedema": ("macular oedema", "黄斑水肿"),
    "leakage": ("leakage", "荧光素渗漏"),
    # Last, as a reader takes what follows a doubt for doubtful too.
    "glaucoma_suspect": ("suspected glaucoma", "可疑青光眼"),
}
MODALITIES: Mapping[str, tuple[str, str]] = {
    "cfp": ("colour fundus photograph", "彩色眼底照片"),
    "oct": ("optical coherence tomography", "光学相干断层扫描"),
    "ffa": ("fluorescein angiogram", "荧光素眼底血管造影"),
}
EYES: Mapping[str, tuple[str, str]] = {"OD": ("right eye", "右眼"), "OS": ("left eye", "左眼")}
#: What may be asked. "findings" names no eye; "caption" says all.
QUESTIONS: Mapping[str, tuple[str, str]] = {
    "caption": ("describe the picture", "描述图像"),
    "findings": ("name the findings", "列出所见"),
    "modality": ("which modality", "何种图像"),
    "laterality": ("which eye", "哪只眼"),
    "retinopathy": ("is there diabetic retinopathy", "有无糖尿病视网膜病变"),
}
_YES = {True: ("yes", "有"), False: ("no", "无")}
#: What is said where no finding is.
NOTHING = ("no finding", "未见异常")
#: Colon, between findings, full stop.
SIGNS: Mapping[str, tuple[str, str, str]] = {"en": (":", ",", "."), "zh": ("：", "、", "。")}
WORDS = tuple(
    dict.fromkeys(
        [pair[i] for i in range(2) for table in (QUESTIONS, MODALITIES, EYES, FINDINGS) for pair in table.values()]
        + [w for pair in (*_YES.values(), NOTHING) for w in pair]
        + ["of the", *SIGNS["en"], "?", *SIGNS["zh"], "？"]
    )
)


def question(kind: str, language: str = "en") -> str:
    """Return a question as the captioner learned it.

    Example:
        >>> question("laterality"), question("laterality", "zh")
        ('which eye?', '哪只眼？')
    """
    index = LANGUAGES.index(language)
    return QUESTIONS[kind][index] + "?？"[index]


def told_findings(keys: Sequence[str], language: str = "en") -> str:
    """Return findings as a sentence, in the order of `FINDINGS`; without any, that there is none.

    Example:
        >>> told_findings(["drusen", "dr2"]), told_findings([], "zh")
        ('moderate non-proliferative diabetic retinopathy, drusen.', '未见异常。')
    """
    index = LANGUAGES.index(language)
    names = [FINDINGS[k][index] for k in FINDINGS if k in keys]
    if not names:
        names = [NOTHING[index]]
    return f"{', '.join(names)}." if language == "en" else f"{'、'.join(names)}。"


def told_picture(modality: str, eye: str | None, keys: Sequence[str], language: str = "en") -> str:
    """Return the caption of a picture; an eye that is not known is not named.

    Example:
        >>> told_picture("cfp", "OD", ["normal"]), told_picture("cfp", "OD", ["normal"], "zh")
        ('colour fundus photograph of the right eye: normal fundus.', '右眼彩色眼底照片：正常眼底。')
    """
    index = LANGUAGES.index(language)
    kind = MODALITIES[modality][index]
    side = EYES[eye][index] if eye else ""
    if language == "en":
        return f"{kind}{f' of the {side}' if side else ''}: {told_findings(keys)}"
    return f"{side}{kind}：{told_findings(keys, 'zh')}"


def told_yes(answer: bool, language: str = "en") -> str:
    """Return "yes." or "no.".

    Example:
        >>> told_yes(True), told_yes(False, "zh")
        ('yes.', '无。')
    """
    index = LANGUAGES.index(language)
    return _YES[answer][index] + ".。"[index]
