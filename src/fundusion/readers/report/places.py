"""Words of place beside a finding: quadrant, macula, disc, clock hour."""

from __future__ import annotations

import re

_PLACES = re.compile(
    r"\b(?:(?:supero|infero)[- ]?(?:temporal|nasal)(?:ly)?|superior(?:ly)?|inferior(?:ly)?|nasal(?:ly)?|temporal(?:ly)?|macula[r]?|fovea[l]?|parafoveal|"
    r"posterior pole|(?:mid[- ]?)?peripher(?:y|al)|arcades?|(?:optic )?dis[ck]|peripapillary|central|\d{1,2} o'?clock|(?:all )?four quadrants|one quadrant|two quadrants)\b"
    r"|颞上方?|颞下方?|鼻上方?|鼻下方?|颞侧|鼻侧|上方|下方|黄斑中心凹|黄斑区?|中心凹|后极部|中周部|周边部?|视盘旁?|视乳头|血管弓|[一二三四]象限|\d{1,2}点(?:钟|位)?",
    re.IGNORECASE | re.ASCII,
)


def places_of(text: str, start: int, end: int) -> tuple[str, ...]:
    """Return the words of place in the clause of a finding.

    Example:
        >>> places_of("haemorrhage superotemporal to the disc, drusen at the macula", 0, 11)
        ('superotemporal', 'disc')
    """
    left = max((text.rfind(c, 0, start) for c in ",;:、"), default=-1) + 1
    stops = [p for c in ",;:、" if (p := text.find(c, end)) >= 0]
    right = min(stops, default=len(text))
    found = [m.group().lower() for m in _PLACES.finditer(text, left, right) if not start <= m.start() < end]
    return tuple(dict.fromkeys(found))
