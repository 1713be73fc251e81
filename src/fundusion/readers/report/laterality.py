"""Which eye a statement speaks of. An eye that is not named stays unknown.

A mention before the words it belongs to ("OD: ...", "the right eye shows ...") reaches over what follows; a mention after
them ("haemorrhage in the left eye", "C/D 0.6 OD") reaches back. Only a mention of the first kind is carried to later sentences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...core.vocabulary import Laterality

RIGHT, LEFT = (Laterality.RIGHT,), (Laterality.LEFT,)
BOTH = (Laterality.RIGHT, Laterality.LEFT)
Eyes = tuple[Laterality, ...]

_ANATOMY = r"(?:eyes?|fundi|fundus|(?:optic )?dis[ck]s?|macula[es]?|lens(?:es)?|retina[es]?|sides?|optic nerves?|posterior poles?)"
_ONE = r"(?:right(?: eyes?)?|left(?: eyes?)?|od|os|(?-i:RE)|(?-i:LE))"
_ENGLISH = re.compile(
    rf"""
    (?P<compare>\b(?:worse|more(?:\s\w+)?|greater|denser|larger|less|better|especially|particularly|mainly)\s+
        (?:in\s+|on\s+)?(?:the\s+)?{_ONE}\b(?:\s+(?:more\s+)?than\s+(?:in\s+|on\s+)?(?:the\s+)?(?:{_ONE}|other\s+eye|fellow\s+eye)\b)?)
    |(?P<both>\b(?:both|each|either|neither)\s+(?:\w+\s+)?{_ANATOMY}\b|\bbilateral(?:ly)?\b|\bbinocular\b|\bo\.u\.|\bou\b
        |\b(?:od|right(?:\ eye)?|(?-i:RE)|(?-i:R))\s*(?:>+|<+|&|\band\b|/|\+|=)\s*(?:os|left(?:\ eyes?)?|(?-i:LE)|(?-i:L))\b(?!\s*:)
        |\b(?:os|(?-i:LE)|(?-i:L)|left(?:\ eye)?)\s*(?:>+|<+|&|\band\b|=)\s*(?:od|(?-i:RE)|(?-i:R)|right(?:\ eyes?)?)\b(?!\s*:))
    |(?P<other>\b(?:fellow|other|contralateral)\s+eye\b)
    |(?P<disc>\b(?-i:OD)\s+(?:pallor|margins?|borders?|cupping|swelling|o?edema)\b)
    |(?P<right>\bright\s+eye\b|\bo\.d\.|\bod\b|\b(?-i:RE)\b|\brt\.?\s+eye\b|(?:^|(?<=[\s,;.(]))(?-i:R)(?=\s*[:\-]))
    |(?P<left>\bleft\s+eye\b|\bo\.s\.|\bos\b|\b(?-i:LE)\b|\blt\.?\s+eye\b|(?:^|(?<=[\s,;.(]))(?-i:L)(?=\s*[:\-]))
    |(?P<bare_right>(?<!\ball\s)\bright\b(?!\s+(?:away|now|after|before|side\s+of)\b))
    |(?P<bare_left>(?<!\bi\s)(?<!\bwas\s)(?<!\bhas\s)\bleft\b(?!\s+(?:untreated|the|with|alone|over|behind|a|him|her|in\s+place|unchanged)\b))
    """,
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
_CHINESE = re.compile(
    r"""
    (?P<compare>(?:[左右]眼?|o[ds])\s*(?:为?(?:较?重|著|甚|较?明显|较多|更多|更重|更明显|为多)(?!于)(?=[,;。]|$)|(?:较?重|大|多|甚|明显|严重)于\s*(?:[左右对]侧?眼?|o[ds])))
    |(?P<both>双侧?眼?|两眼|两侧|\bou\b|左右眼|o\.u\.)
    |(?P<other>对侧眼|另一?眼|健眼)
    |(?P<right>右侧?眼|右侧|右(?!旋|上|下|向)|\bod\b|\bo\.d\.|\b(?-i:RE)\b|(?:^|(?<=[\s,;(]))r(?=\s*:))
    |(?P<left>左侧?眼|左侧|左(?!右|旋|上|下|向)|\bos\b|\bo\.s\.|\b(?-i:LE)\b|(?:^|(?<=[\s,;(]))l(?=\s*:))
    """,
    re.IGNORECASE | re.VERBOSE | re.ASCII,
)
_HARD = re.compile(r";|\b(?:but|however|whereas|while|although)\b|而|但")
_SUBJECT_VERB = re.compile(
    r"\s*(?:shows?|showed|reveals?|revealed|has|had|demonstrates?|is|was|are|with|:|-\s)", re.IGNORECASE | re.ASCII
)
_OPENING = re.compile(
    r"[\s\-(]*(?:and|but|the|in|on|of|for|in the|on the|whereas|while|at)?(?: the)?\s*", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EyeMention:
    """A place where a sentence names an eye.

    Args:
        start: Position in the sentence.
        end: One past its last character.
        eyes: Named eyes; empty for "the other eye" when no eye was named before.
        leading: Whether it stands before what it belongs to.
        heading: Whether it is a heading ("OD:").
        alone: Whether nothing else stands between its commas.
    """

    start: int
    end: int
    eyes: Eyes
    leading: bool = True
    heading: bool = False
    alone: bool = False


def find_mentions(text: str, *, chinese: bool, before: Eyes = ()) -> list[EyeMention]:
    """Return the mentions of an eye in a sentence; `before` is the eye spoken of so far.

    Example:
        >>> [m.eyes for m in find_mentions("OD clear, drusen in the left eye, ERM OU", chinese=False)]
        [(<Laterality.RIGHT: 'OD'>,), (<Laterality.LEFT: 'OS'>,), (<Laterality.RIGHT: 'OD'>, <Laterality.LEFT: 'OS'>)]
    """
    found: list[EyeMention] = []
    known = before
    for match in (_CHINESE if chinese else _ENGLISH).finditer(text):
        kind = str(match.lastgroup)
        if kind == "disc":
            continue
        if kind == "other":
            eyes: Eyes = {RIGHT: LEFT, LEFT: RIGHT}.get(known, ())
        else:
            eyes = RIGHT if kind.endswith("right") else LEFT if kind.endswith("left") else BOTH
        known = eyes
        found.append(EyeMention(start=match.start(), end=match.end(), eyes=eyes))
    return found


def names_disc_by_od(text: str) -> bool:
    """Return whether "OD" stands for the optic disc here ("OD margins"), so that it names no eye.

    Example:
        >>> names_disc_by_od("OD margins sharp"), names_disc_by_od("OD clear")
        (True, False)
    """
    return any(m.lastgroup == "disc" for m in _ENGLISH.finditer(text))


def place_mentions(
    text: str, mentions: Sequence[EyeMention], items: Sequence[tuple[int, int]], *, chinese: bool
) -> list[EyeMention]:
    """Return the mentions with what they reach over decided.

    Args:
        text: The sentence.
        mentions: Mentions of eyes in it.
        items: Spans of findings and numbers in it.
        chinese: Whether the rules of Chinese apply.
    """
    placed: list[EyeMention] = []
    previous = 0
    for mention in mentions:
        before = [i for i in items if previous <= i[0] < mention.start]
        left = max(text.rfind(",", 0, mention.start), text.rfind(";", 0, mention.start), previous - 1) + 1
        ends = [p for p in (text.find(",", mention.end), text.find(";", mention.end)) if p >= 0]
        right = min(ends, default=len(text))
        lead_in, rest = text[left : mention.start], text[mention.end : right]
        opens = _OPENING.fullmatch(lead_in) is not None
        alone = opens and not rest.strip(" ().?")
        heading = re.match(r"\s*(?::|-\s)", text[mention.end :]) is not None and opens
        in_brackets = lead_in.rstrip().endswith("(") and rest.lstrip().startswith(")")
        leading = _is_leading(text, mention, items, before=before, opens=opens, alone=alone, rest_end=right)
        if in_brackets and before:
            leading = False
        elif chinese:
            leading = not (before and alone and not heading)
        placed.append(replace(mention, leading=leading or heading, heading=heading, alone=alone))
        previous = mention.end
    return placed


def _is_leading(
    text: str,
    mention: EyeMention,
    items: Sequence[tuple[int, int]],
    *,
    before: Sequence[tuple[int, int]],
    opens: bool,
    alone: bool,
    rest_end: int,
) -> bool:
    if not before:
        return True
    after = text[mention.end :]
    if _SUBJECT_VERB.match(after) and not alone and opens:
        return True
    if opens and not alone:
        return any(mention.end <= i[0] < rest_end for i in items) or _SUBJECT_VERB.match(after) is not None
    word = text[mention.start : mention.end].lower()
    if word in ("right", "left") or word.startswith("bilateral"):
        near = next((i for i in items if i[0] >= mention.end), None)
        gap = text[mention.end : near[0]] if near else None
        joined = re.search(
            r"\b(?:in|of|to|near|at|around|the|on|from)\s+(?:the\s+)?$", text[: mention.start], re.IGNORECASE | re.ASCII
        )
        if gap is not None and len(gap.split()) <= 2 and not re.search(r"[,;:()]", gap) and not joined:
            return True
    return False


def eyes_of(text: str, item: tuple[int, int], mentions: Sequence[EyeMention], *, carried: Eyes) -> Eyes:
    """Return the eyes a finding or number of a sentence belongs to; empty when the text does not say.

    Args:
        text: The sentence.
        item: Span of the finding or number.
        mentions: Placed mentions of eyes.
        carried: Eye set by a heading or an earlier sentence.
    """
    last = next((m for m in reversed(mentions) if m.start < item[0]), None)
    following = next((m for m in mentions if m.start >= item[1]), None)
    if following is not None and not following.leading:
        gap = text[item[1] : following.start]
        reachable = not _HARD.search(gap)
        same_segment = "," not in gap
        if reachable and (last is None or not last.leading or (same_segment and "," in text[last.end : item[0]])):
            return following.eyes
        if reachable and last is not None and last.heading is False and same_segment and last.leading:
            return following.eyes if last.eyes == BOTH else last.eyes
    if last is not None:
        return last.eyes
    return carried
