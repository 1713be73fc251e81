"""Words that a checked sentence may hold beside findings, eyes, numbers, measurements and modalities.

A short list on purpose: what stands in no list (a drug, a place, a size, a wish) says something that the findings cannot vouch for,
and a sentence that holds it is taken out.
"""

from __future__ import annotations

import re

#: "not" and "不" stand only in phrases whose meaning the report reader knows.
_ENGLISH_PHRASES = (
    "cannot be excluded", "can not be excluded", "cannot be ruled out", "can not be ruled out", "could not be measured",
    "was not measured", "is not excluded", "no sign of", "no signs of", "no evidence of", "not provided", "not available",
    "was not provided", "is not seen", "are not seen", "not detected",
)  # fmt: skip
_ENGLISH = " ".join((
    "a an the this that it its in on of at to for from with and or but as by is are was were be been has have there here",
    "sign signs feature features finding findings evidence change changes appearance suggest suggests suggesting suggestive consistent",
    "show shows showing shown see seen reveals demonstrates present detected identified noted found observed no without absent",
    "probability probabilities chance estimated estimate estimates model according about approximately with",
    "possible possibly probable likely suspected suspicion uncertain may might questionable",
    "picture image images photograph photographs photo fundus retina retinal colour color eye patient examination",
    "icdr grade graded grading level severity value measured measures measurement ratio also additionally further overall",
    "gradable quality good read assessed analysed analyzed automated screening result results",
))  # fmt: skip
_CHINESE = (
    "不能排除", "不排除", "未见", "可见", "未发现", "发现", "检出", "未检出", "征象", "迹象", "表现", "改变", "提示", "显示", "存在", "可疑", "疑似", "可能", "可能为",
    "考虑", "概率", "约为", "约", "为", "是", "有", "无", "的", "和", "及", "与", "或", "并", "且", "亦", "均", "但", "该", "此", "本", "患者", "眼底", "底", "彩色", "照片", "图像",
    "图片", "检查", "结果", "模型", "估计", "判断", "分级", "分期", "级", "测量", "测得", "未能测量", "值", "见", "示", "中", "上", "在", "明显", "明确", "符合", "根据", "依据",
    "待排", "自动", "筛查", "分析", "另", "同时", "此外", "未提供", "可判读", "质量", "等",
)  # fmt: skip
#: Words of the ICDR grades: allowed only where the sentence gives the grade that the findings give.
SEVERITY = ("mild", "moderate", "severe", "apparent", "轻度", "中度", "重度")

_ALLOWED = re.compile(
    r"\b(?:" + "|".join(re.escape(w) for w in sorted((*_ENGLISH_PHRASES, *set(_ENGLISH.split())), key=lambda w: (-len(w), w))) + r")\b"
    "|" + "|".join(sorted(_CHINESE, key=lambda w: (-len(w), w))),
    re.IGNORECASE | re.ASCII,
)  # fmt: skip
_SEVERITY = re.compile("|".join(SEVERITY), re.IGNORECASE)
_NUMBER_WORDS = re.compile(
    r"\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fifteen|twenty|thirty|forty|fifty|sixty|seventy|"
    r"eighty|ninety|hundred|thousand|dozen|half|quarter|third|percent|double|twice|i{1,3}|iv|vi{0,3})\b|[一二三四五六七八九十百千两半倍]",
    re.IGNORECASE | re.ASCII,
)
_WORD = re.compile(r"[^\W\d_]+", re.UNICODE)


def unknown_words(rest: str, *, graded: bool = False) -> tuple[str, ...]:
    """Return the words of what is left of a sentence that stand in no list.

    Args:
        rest: The sentence with all that was recognised blanked out.
        graded: Whether the sentence gives the grade that the findings give, so that its words may stand there.

    Example:
        >>> unknown_words("signs of    in the   , inject    now"), unknown_words("可见   征象，需注射")
        (('inject', 'now'), ('需注射',))
    """
    # Before the others: "中" alone is a word of the list too.
    left = _ALLOWED.sub(" ", _SEVERITY.sub(" ", rest) if graded else rest)
    return tuple(_WORD.findall(left))


def number_words(words: tuple[str, ...]) -> bool:
    """Return whether any of these words is a number.

    Example:
        >>> number_words(("fifteen",)), number_words(("三处",)), number_words(("drops",))
        (True, True, False)
    """
    return any(_NUMBER_WORDS.search(w) for w in words)
