"""A report -> passages by heading, and sentences. A heading says what a passage is: findings, history, family, plan."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADINGS = {
    "family": r"family (?:ocular |eye |medical )?(?:history|hx)|fhx?|foh|家族史",
    "history": r"(?:past |previous |prior )?(?:ocular |medical |ophthalmic |surgical |eye )?(?:history|hx)|p[om]hx?|poh"
    r"|既往史|眼科既往史|既往病史|过去史",
    "complaint": r"chief complaint|presenting complaint|complaints?|c/o|hpi|cc|主诉|现病史",
    "plan": r"plan|recommendations?|advice|management|follow[- ]?up|建议|处理|处置|诊疗计划|治疗计划|医嘱",
    "findings": r"findings?|fundus(?: examination| exam)?|fundoscopy|examination|o/e|眼底(?:检查|所见|表现|照相)?|检查所见|影像所见|影像表现|所见",
    "conclusion": r"impression|diagnos[ie]s|assessment|conclusion|summary|indication|technique|comparison"
    r"|印象|诊断(?:意见)?|初步诊断|术前诊断|术后诊断|检查结论|结论",
}
_HEADING = re.compile(
    r"(?:^|(?<=[.;。;\n]))[ \t*#]*(?:" + "|".join(f"(?P<{k}>{v})" for k, v in _HEADINGS.items()) + r")[ \t*]*:",
    re.IGNORECASE | re.MULTILINE | re.ASCII,
)
_ABBREVIATIONS = r"(?<!\bdr)(?<!\bpt)(?<!\bvs)(?<!\bhx)(?<!\brt)(?<!\blt)(?<!\bapprox)(?<!\bno)(?<!\be\.g)(?<!\bi\.e)"
_END = re.compile(
    rf"[。!\n]|{_ABBREVIATIONS}(?<!\bo\.[dsu])(?<!\b[a-z])(?<![:;。\n]\d)(?<![:;.。\n] \d)(?:\.(?=\s|$)|(?<!\s\d)\.(?=[\u4e00-\u9fff]))|(?<=[\w)])\?(?=\s|$)",
    re.IGNORECASE | re.ASCII,
)
_CHINESE = re.compile(r"[\u3400-\u9fff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One sentence and where it stands.

    Args:
        start: Position in the cleaned text.
        text: The sentence, with a question mark at its end when it has one.
        section: "findings", "conclusion", "history", "family", "complaint", "plan", or "" before any heading.
        opens: Whether a heading that ends the part on one eye stands directly before it.
        line: Number of its line.
    """

    start: int
    text: str
    section: str = ""
    opens: bool = False
    line: int = 0

    @property
    def is_chinese(self) -> bool:
        """Whether the rules of Chinese apply."""
        return _CHINESE.search(self.text) is not None


def split_passages(plain: str) -> list[Passage]:
    """Return the sentences of a text in order.

    A line that was broken in the middle of a sentence is read on; `History:` and its like end with their line, or with
    the next heading or empty line when the heading stands alone.

    Example:
        >>> [(p.section, p.text) for p in split_passages("History: glaucoma. Fundus: no MA. C/D 0.6.")]
        [('history', 'glaucoma'), ('findings', 'no MA'), ('findings', 'C/D 0.6')]
    """
    joined = _join_broken_lines(plain)
    passages: list[Passage] = []
    for start, end, section, opens in _sections(joined):
        for first, last in _sentences(joined, start, end):
            text = joined[first:last]
            lead = len(text) - len(text.lstrip(" \t,;:-*#•·"))
            if text.strip(" \t,;:-*#•·."):
                line = joined.count("\n", 0, first)
                passages.append(
                    Passage(start=first + lead, text=text[lead:].rstrip(), section=section, opens=opens, line=line)
                )
                opens = False
    return passages


def _join_broken_lines(plain: str) -> str:
    """Replace a line end inside a sentence by a space: a long line without a stop, then a small or Chinese letter."""
    if "\n" not in plain:
        return plain
    characters = list(plain)
    start = 0
    for match in re.finditer("\n", plain):
        end = match.start()
        before, after = plain[start:end].rstrip(), plain[end + 1 : end + 3].lstrip(" ")
        start = end + 1
        if not before or not after:
            continue
        latin = len(before) >= 40 and before[-1] not in ".;:!?。" and after[0].isascii() and after[0].islower()
        chinese = len(before) >= 25 and _CHINESE.match(before[-1]) and _CHINESE.match(after[0])
        if latin or (chinese and not _HEADING.match(plain, end + 1) and after[0] not in "左右双"):
            characters[end] = " "
    return "".join(characters)


def _sections(text: str) -> Iterator[tuple[int, int, str, bool]]:
    """Yield start, end, kind, and whether a heading opens it."""
    marks = [(m.start(), m.end(), str(m.lastgroup)) for m in _HEADING.finditer(text)]
    position, kind, opened = 0, "", False
    for index in range(len(marks) + 1):
        stop = marks[index][0] if index < len(marks) else len(text)
        if kind in ("history", "family", "plan", "complaint"):
            line_end = text.find("\n", position)
            alone = line_end >= 0 and not text[position:line_end].strip()
            close = text.find("\n\n", position + 1) if alone else line_end
            if 0 <= close < stop:
                yield position, close, kind, opened
                position, kind, opened = close, "findings", True
        yield position, stop, kind, opened
        if index < len(marks):
            position, kind = marks[index][1], marks[index][2]
            # "Fundus:" inside the part on one eye goes on with that eye; "Impression:" begins anew.
            opened = kind != "findings"


def _sentences(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    position = start
    for match in _END.finditer(text, start, end):
        stop = match.end() if match.group() == "?" else match.start()
        yield position, stop
        position = match.end()
    yield position, end
