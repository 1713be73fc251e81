"""Statements without a finding of their own: "left eye normal", and "none OS" or "左眼同" that repeat what was said before."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .context import EYE
from .laterality import EyeMention, Eyes

_NORMAL = re.compile(
    rf"(?P<eye>[{EYE}]+)\s*(?:fundus|fundi|retina)?\s*(?:[:,\-]\s*)?(?:(?:is|are|appears?|was|looks?|remains?)\s+)?(?:entirely |completely |grossly )?"
    r"(?P<word>normal|unremarkable|wnl|nad|within normal limits)(?=\s*(?:[,;.)]|$|\band\b|\bbut\b))"
    rf"|(?P<before>normal|unremarkable)\s+(?P<eye2>[{EYE}]+)(?=\s*(?:[,;.]|$))"
)
#: "Both discs normal" is no normal fundus.
_PART = re.compile(r"disc|disk|macul|lens|nerve|pole", re.IGNORECASE)
_CHINESE_NORMAL = re.compile(
    rf"(?P<eye>[{EYE}]+)\s*(?:眼?底)?(?:彩照|检查|照相|所见)?\s*:?\s*(?P<word>(?:均)?(?:未见(?:明显)?异常|大致正常|正常|无(?:明显)?异常))(?=\s*(?:[,;]|$))"
    r"|(?P<parts>视(?:盘|乳头)[^;]*?黄斑[^;]*?(?:均)?(?:未见(?:明显)?异常|无(?:明显)?异常|大致正常))(?=\s*(?:[,;]|$))"
)
_SAME = re.compile(
    r"(?:[,;]|\band\b)?\s*(?:\bbut\s+)?(?P<word>(?<=but )not|(?<=[,;] )(?:none|nil|absent|not seen|present|persistent|persists|same)"
    r"|(?<=and )(?:none|nil|absent|not seen|present|persistent|persists)|(?<=but )(?:none|absent|present))"
    rf"\s+(?:in\s+)?(?:the\s+)?(?P<eye>[{EYE}]+)(?=\s*(?:[,;.]|$))"
)
_CHINESE_SAME = re.compile(
    rf"(?:[,;])\s*(?P<eye>[{EYE}]+)\s*(?P<word>均?未见|无|没有|同上?|同前|仍存在|亦见|也见|亦有|存在|也?有|亦然|阴性|阳性)(?=\s*(?:[,;]|$))"
)
_ABSENT = frozenset({"none", "nil", "absent", "not seen", "not", "未见", "均未见", "无", "没有", "阴性"})


def normal_eyes(
    text: str, masked: str, mentions: Sequence[EyeMention], *, chinese: bool
) -> Iterator[tuple[tuple[int, int], Eyes]]:
    """Yield the places where a sentence calls a whole eye normal, with the eye.

    Example:
        >>> from .laterality import RIGHT
        >>> list(normal_eyes("OD normal", "\\x02\\x02 normal", [EyeMention(start=0, end=2, eyes=RIGHT)], chinese=False))
        [((3, 9), (<Laterality.RIGHT: 'OD'>,))]
    """
    for match in (_CHINESE_NORMAL if chinese else _NORMAL).finditer(masked):
        groups = match.groupdict()
        if chinese and re.search(r"外\s*$", masked[: match.start("word" if groups["word"] else "parts")]):
            continue
        if groups.get("parts"):
            yield match.span("parts"), ()
            continue
        if re.match(r"\s*(?:except|apart|other than|aside)", masked[match.end() :]):
            continue
        where = match.span("word") if groups.get("word") else match.span("before")
        place = match.start("eye") if groups.get("eye") else match.start("eye2")
        mention = next((m for m in mentions if m.start <= place < m.end), None)
        part = text[max(0, mention.start - 12) : mention.end] if mention else ""
        if not _PART.search(part):
            yield where, mention.eyes if mention else ()


def repeated_findings(
    text: str, masked: str, mentions: Sequence[EyeMention], *, chinese: bool
) -> Iterator[tuple[tuple[int, int], EyeMention, str]]:
    """Yield the places where what was said is repeated for another eye, with that mention and the status.

    Example:
        >>> from .laterality import LEFT
        >>> masked = "\\x01\\x01 \\x02\\x02, none \\x02\\x02"
        >>> [s for _, _, s in repeated_findings("MA OD, none OS", masked, [EyeMention(start=12, end=14, eyes=LEFT)], chinese=False)]
        ['absent']
    """
    for match in (_CHINESE_SAME if chinese else _SAME).finditer(masked):
        mention = next((m for m in mentions if m.start <= match.start("eye") < m.end), None)
        if mention is not None:
            yield match.span("word"), mention, "absent" if match["word"] in _ABSENT else "present"
