"""Cues of English dictation and how far each reaches."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from .context import EYE, NUMBER, TERM, Cue, Reach, compile_cues, find_cues

_MARKS = TERM + EYE + NUMBER
_CANNOT = r"(?:can ?not|can't|could not|couldn't|cant)"
_BE = r"(?:is|are|was|were|has been|have been)"
_SEEN = r"(?:seen|noted|present|visible|evident|found|detected|identified|observed|appreciated|demonstrated|visuali[sz]ed|apparent)"
#: What stands between "no" and the finding it denies: "grade 0: no apparent retinopathy" does not deny what is before the colon.
_QUALIFIED = (
    "(?:new|definite|obvious|evident|clear|apparent|visible|frank|significant|active|sign of|signs of|evidence of|evidence for|"
    "evidence suggestive of|evidence suggesting|suggestion of|suspicion of|indication of|further|more|other|clinically)"
)
_TABLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("absent", "forward"): (
        rf"\bno(?: {_QUALIFIED})*\b(?! (?:longer|change|increase))",
        r"\bnot? (?:\w+ )?suspicious (?:for|of)\b",
        r"\bno (?:evidence|findings?|features?) (?:suspicious|suggestive|concerning) (?:for|of)\b",
        r"\bno history of\b", r"\bno h/o\b", r"\bno (?:previous|prior|past)(?: history of)?\b",
        r"\bwithout(?: any)?(?: (?:evidence|signs?) of)?\b", r"\bw/o\b", r"\bden(?:ies|ied|ying)\b", r"\babsence of\b",
        r"\bfree (?:of|from)\b", r"\bneg(?:ative|\.)? for\b", r"\bnot (?:typical|consistent|compatible|in keeping) (?:for|of|with)\b", r"\bneither\b", r"\bnor\b", r"\bnil\b", r"\bnever (?:had|any)?\b",
        r"\b(?:do|does|did|has|have|had|could|can|is|are|was|were|would) ?n[o']t (?:see|show|have|had|reveal|demonstrate|detect|find|identify|appreciate|associated with|any)\b(?: any)?",
        r"\bnot (?:had )?any\b", r"\black of\b", r"\bfailed to (?:show|reveal|demonstrate)\b", r"\b(?:ruled|rules) out(?= [\x01])", r"\bexcludes\b",
        r"\bnot\b(?= [\x01])",
    ),
    ("absent", "backward"): (
        rf"\b(?:{_BE} )?not (?:{_SEEN}|there)\b", r"\babsent\b", rf"\b(?:{_BE} |be(?:en)? )?(?:ruled out|excluded)\b",
        rf"\bcould not be {_SEEN}\b",
        rf"(?<=[:=\-])\s*(?:none|nil|no|negative|neg|absent|not seen|0)\b(?!(?: {_QUALIFIED})* [\x01])", r"\bnone\b(?! (?:in )?\x02)(?: (?:seen|noted|present|detected))?",
        r"\bin none\b", r"(?: |^)-ve\b", r"\(-\)", r"(?<= )-(?=\s*(?:[,;]|$))", r"\bnegative\b(?! for)", r"\bnil\b(?=\s*(?:$|[,;]))",
    ),
    ("uncertain", "forward"): (
        r"(?<![\x01] )\b(?:possible|possibly|probable|probably|questionable|equivocal|presumed|likely|unlikely|suspected|suspect|query|queried|queries|potential)\b",
        r"\bsuspicious (?:for|of)\b", r"\bsuspicion (?:for|of)\b", r"\bsuggest(?:ive of|ing|s|ed)?\b", r"\br/o\b", r"\br\.o\.",
        r"(?<!cannot )(?<!not )\brule out\b", r"\bto (?:exclude|rule out)\b", rf"\b{_CANNOT} (?:\w+ )?(?:exclude|rule out|be sure of)\b",
        r"\b(?:may|might|could)(?: also)?(?: well)? (?:be|represent|have|indicate|reflect|suggest)\b",
        r"\bthere (?:may|might|could) be\b", r"\bconcern(?:ing)? (?:for|of)\b", r"\bpossibility of\b", r"\bversus\b|\bvs\.?\b",
        r"\bdifferential(?: diagnosis)?(?: includes?| of)?:?", r"\bd/?dx\b", r"\?(?= ?[\x01])", r"\bnot (?:been )?(?:excluded|ruled out)(?= [\x01])",
        r"\bconsider(?= [\x01])", r"\bimpression of possible\b", r"\bnot certain\b", r"\bborderline\b", r"\bunsure (?:of|about|if)\b",
        r"\bunlikely (?:that|to)\b", r"\bunclear (?:if|whether)\b",
    ),
    ("uncertain", "backward"): (
        rf"\b{_CANNOT} be (?:\w+ )?(?:excluded|ruled out|assessed|determined)\b", r"\b(?:is |are |was |were )?not (?:\w+ )?(?:excluded|ruled out)\b",
        rf"\b(?:{_BE} )?(?:suspected|questionable|possible|equivocal|unlikely|unclear|uncertain|doubtful|queried)\b(?! (?:that|to)\b)",
        # Doubt about absence is doubt: neither "may be" nor "absent" alone is the status.
        rf"\b(?:(?:may|might) not be (?:{_SEEN}|there)|(?:may|might|could)(?: well| also)? be (?:absent|present))\b",
        rf"\b(?:{_BE} )?(?:possibly|probably|likely|perhaps|maybe) (?:absent|not {_SEEN}|not there)\b",
        r"\bsuspects?\b", r"\bis likely\b", r"(?<=[\x01])\s?\?", r"(?<=[\x01])[- ]like\b", r"\bto be (?:excluded|ruled out)\b",
        r"\bnot (?:certain|clear|definite)\b", r"\bshould be considered\b", r"\bwas considered but is unlikely\b",
        r"\bbut (?:this )?is unlikely\b", r"\bdifficult to (?:exclude|rule out|assess)\b",
    ),
    ("history", "forward"): (
        r"\bhistory of\b", r"\bh/o\b", r"\bhx(?: of)?\b", r"\bprevious(?:ly)?(?: (?:noted|seen|described|documented|reported|diagnosed|treated|known))?\b",
        r"\bprior\b", r"\bformer(?:ly)?\b", r"\bs/p\b", r"\bstatus[- ]post\b", r"\bpost(?=[- ][\x01])", r"\bno longer(?: any| has)?\b",
        r"\b(?:after|following)(?= [\x01])", r"\b(?:resolved|regressed|involuted|cleared)(?= [\x01])", r"\bpast (?:history of)?\b", r"\bunderwent\b", r"\bpreviously\b",
    ),
    ("history", "backward"): (
        r"\b(?:has |have |had |is |are )?(?:now |completely |fully |since )*(?:resolved|cleared|disappeared|regressed|vanished|reabsorbed)\b",
        r"\bno longer (?:seen|present|visible|evident)\b", r"\bpeel(?:ing|ed)?\b", r"\b(?:years?|months?|weeks?) ago\b", r"(?<=[\x01]) (?:surgery|repair|operation)\b", r"\bin the past\b", r"\b(?:is|are|has|have) gone\b",
    ),
    ("conditional", "forward"): (
        r"\bif\b", r"\bin case of\b", r"\bat risk (?:for|of)\b", r"\brisk (?:for|of)\b", r"\b(?:watch(?: out)?|monitor|monitoring|look(?: out)?|beware|screen(?:ed|ing)?|check|evaluat(?:e|ion)|assess(?:ed|ment)?|examin(?:e|ed|ation)|referred) for\b",
        r"\bsymptoms of\b", r"\bprecautions? (?:for|of)\b", r"\b(?:may|might|could|can) (?:lead to|cause|progress to|result in|develop)\b",
        r"\bprevent(?:ion of)?\b", r"\bwarned (?:about|of)\b", r"\badvi[cs]e (?:about|regarding|on)\b", r"\bshould (?:there be|any)\b", r"\bunless\b",
        r"\beducat(?:ed|ion) (?:about|on|regarding)\b", r"\bscreening\b(?= [\x01])", r"\bto look for\b", r"\breturn (?:precautions|immediately)\b.*?\b(?:for|of)\b",
    ),
    ("conditional", "backward"): (
        r"\bscreening\b(?! for)", r"\b(?:precautions?|warning|symptoms|risk)\b", r"\bshould (?:occur|develop|appear)\b",
    ),
    ("family", "forward"): (
        r"\bfamily (?:history|hx) of\b", r"\b(?:mother|father|brothers?|sisters?|parents?|grand(?:mother|father|parents)|aunt|uncle|son|daughter|siblings?|cousin|relatives?)\b",
        r"\bfamilial\b", r"\bfhx?\b",
    ),
    ("family", "backward"): (
        r"\bin (?:the |her |his |a )?(?:mother|father|brothers?|sisters?|parents?|family|grandmother|grandfather|aunt|uncle|relatives?)\b",
    ),
    ("affirmed", "forward"): (
        r"\bno (?:significant |appreciable |obvious |real |further )?(?:change|changes|increase|progression|worsening|improvement|decrease|reduction|growth) (?:in|of|to|from)\b(?: the)?",
        r"\bnot without\b", r"\bnot (?:only|just|free of)\b", r"\bno (?:doubt|question)(?: about)?\b", r"\bno absence of\b", r"\bnot absent\b",
    ),
    ("affirmed", "backward"): (
        r"\b(?:has |have |is |are |still )*not (?:yet )?(?:completely |fully )?(?:resolved|cleared|regressed|absent)\b", r"\bunresolved\b",
        r"\bunchanged\b", r"\bno (?:change|progression|worsening)\b(?! (?:in|of))",
    ),
}  # fmt: skip
#: Words of doubt that stand before or after what they speak of.
_EITHER_SIDE = re.compile(
    r"(?:(?:is|are|was|were|has been|have been) )?(?:possible|probable|suspected|suspect|questionable|equivocal|unlikely|unclear|queried)"
)
#: What a planned treatment looks like.
_PLANNED = r"\b(?:will|plan(?:s|ned|ning)?(?: for)?|schedul\w+|recommend\w*|advis\w+|refer(?:red)? for|consider\w*|candidate for|needs?|due for|to (?:have|undergo)|book\w*|list(?:ed)? for|arrange\w*|start)\b"
_DONE = r"\b(?:19|20)\d\d\b|\bago\b|\blast (?:year|month|week)\b|\breceived\b|\bunderwent\b|\bdone\b|\bperformed\b|\btreated with\b|\bgiven\b|\bhad\b|\bcompleted\b|\bprevious(?:ly)?\b"
_STOP = re.compile(
    r";|\b(?:but|however|although|though|yet|except(?: for)?|apart from|other than|aside from|whereas|while|which|because of|because|due to|secondary to|"
    r"reveals?|shows?|demonstrates?|then|therefore)\b|:(?!\s*$)"
)
_AFTER_TERM_STOP = re.compile(rf"[{TERM}][^{TERM}]*\b(?:with|there (?:is|are|was|were)|has|have)\b")
#: A piece of a list after "no" that begins like this is a statement of its own.
_OWN_STATEMENT = re.compile(
    r"^\s*(?:and |or )?\s*(?:there (?:is|are|was|were)|shows?|reveals?|has|have|with|seen|scattered|few|several|multiple|many|some|occasional|"
    r"mild|moderate|severe|early|dense|large|small|extensive|old|tiny|trace|subtle|diffuse|marked|numerous|advanced|stable|persistent|an?|one|two|three|known|"
    r"the (?:macula|disc|vessels|lens|retina|fundus|periphery|vitreous)|maculas?|discs?|optic (?:disc|nerve)|vessels?|lens|retina|fundus|periphery|"
    rf"vitreous|view|cups?|healthy|normal|otherwise|only|positive|possible|suspected|presence of|however|likely|[{EYE}]+\s*[:\-]?\s*(?:has|shows|with)|\d)\b"
)
#: "No oedema, haemorrhages in two quadrants": the last piece has a place of its own and no "or" before it.
_PLACED = re.compile(
    r"\s*(?:in|at|along|around|near|within|over|temporal|nasal|inferior|superior|inferiorly|superiorly)\b(?! either)"
)
_LIST_WORDS = re.compile(
    rf"(?:[\s,/&+()\-{_MARKS}]|\b(?:and|or|nor|any|the|of|in|at|on|retinal|optic|macular|active|new|visible|obvious|definite|frank|hard|soft|"
    r"posterior|peripheral|central|other|either|both|\d+(?:st|nd|rd|th)?|od|os|ou|eyes?|inferior(?:ly)?|superior(?:ly)?|nasal(?:ly)?|temporal(?:ly)?|"
    r"pole|macula|fovea|arcade|image|photograph|today|quadrants?|all|four)\b)*"
)


@cache
def _pattern() -> re.Pattern[str]:
    return compile_cues(_TABLE)


def cues_of(masked: str) -> list[Cue]:
    """Return the cues of a masked sentence.

    Example:
        >>> [(c.kind, c.text) for c in cues_of("cannot exclude \\x01\\x01 but no \\x01\\x01")]
        [('uncertain', 'cannot exclude'), ('absent', 'no')]
    """
    return [_turned(cue, masked) if _EITHER_SIDE.fullmatch(cue.text) else cue for cue in find_cues(_pattern(), masked)]


def _turned(cue: Cue, masked: str) -> Cue:
    """Return a word of doubt with the side it stands on: after "glaucoma (is)", else before what follows."""
    left = max(masked.rfind(",", 0, cue.start), masked.rfind(";", 0, cue.start)) + 1
    ends = [p for p in (masked.find(",", cue.end), masked.find(";", cue.end)) if p >= 0]
    before, after = masked[left : cue.start], masked[cue.end : min(ends, default=len(masked))]
    joined = re.search(rf"{TERM}\s*(?:is|are|was|were|remains?)?\s*$", before) is not None
    return replace(cue, forward=not joined and (TERM in after or TERM not in before))


def reach_of(masked: str, kind_of_item: str) -> Reach:
    """Return the function that says whether a cue of this sentence reaches a finding."""

    def reaches(cue: Cue, item: tuple[int, int], cues: Sequence[Cue]) -> bool | None:
        if cue.text.startswith(("versus", "vs")):
            return len(masked[min(cue.end, item[1]) : max(cue.start, item[0])].split()) <= 2
        if cue.forward:
            reached = cue.end <= item[0] and _reaches_forward(masked, cue, item, cues)
            if reached and cue.kind == "absent" and kind_of_item != "lesion" and _may_end_at_comma(masked, cue, item):
                return None
            return reached
        return cue.start >= item[1] and _reaches_backward(masked, cue, item, cues)

    return reaches


def treatment_status(masked: str, item: tuple[int, int]) -> str | None:
    """Return "conditional" for a treatment that is planned, "history" for one that was given, else None.

    Example:
        >>> treatment_status("will schedule \\x01\\x01", (14, 16)), treatment_status("\\x01\\x01 in 2018", (0, 2))
        ('conditional', 'history')
    """
    if re.search(_PLANNED, masked[: item[0]]) or re.search(
        r"\bwill be considered|\bplanned|\brecommended|\badvised", masked[item[1] :]
    ):
        return "conditional"
    segment = masked[masked.rfind(";", 0, item[0]) + 1 :]
    return "history" if re.search(_DONE, segment) else None


def _reaches_forward(masked: str, cue: Cue, item: tuple[int, int], cues: Sequence[Cue]) -> bool:
    gap = masked[cue.end : item[0]]
    if _STOP.search(gap) or _AFTER_TERM_STOP.search(gap):
        return False
    if cue.kind == "conditional":
        return "," not in gap or cue.text != "if" or _LIST_WORDS.fullmatch(gap[gap.index(",") :]) is not None
    if cue.kind == "family":
        return len(gap.split()) <= 12
    if any(
        c.forward and c.kind in ("absent", "uncertain", "affirmed") and cue.end <= c.start < item[0] for c in cues
    ) and (cue.kind in ("absent", "affirmed", "uncertain")):
        return False
    if any(not c.forward and cue.end <= c.start and c.end <= item[0] for c in cues):
        return False
    if cue.kind == "affirmed":
        return "," not in gap
    if cue.kind == "uncertain":
        gap = re.sub(r"\bor an?\b", "or ", gap)
    if "," in gap and not re.search(r"\b(?:or|nor|and)\b", gap) and _PLACED.match(masked, item[1]):
        return False
    if "," in gap and EYE in gap[: gap.index(",")] and EYE in re.split("[,;]", masked[item[1] :])[0]:
        # "No drusen OD, drusen OS": each piece has its own eye.
        return False
    if not re.search(r"\b(?:or|nor)\b", gap) and re.search(rf",[^,]*{TERM}+{_PLACED.pattern}", gap):
        return False
    pieces = re.split(r",|\band\b|\bor\b(?! \w+ly)", gap)
    if any(_OWN_STATEMENT.match(piece) for piece in pieces[1:]):
        return False
    if cue.kind in ("uncertain", "history") and "," in gap:
        return _LIST_WORDS.fullmatch(gap[gap.index(",") :]) is not None and TERM in gap[: gap.index(",")]
    if cue.kind == "history" and re.search(r"\band\b", gap) and TERM in gap:
        return True
    return len(gap.replace(TERM, "").split()) <= 24


def _may_end_at_comma(masked: str, cue: Cue, item: tuple[int, int]) -> bool:
    """Return whether "no A, B" may mean that B is there: two diseases, one comma, and no "or" that makes a list of them."""
    gap = masked[cue.end : item[0]]
    rest = re.split(r"[;.]|\bbut\b", masked[item[1] :])[0]
    listed = re.search(r"\b(?:or|nor|and)\b", gap) or re.match(
        rf"[^{TERM}]{{0,20}}(?:,|\bor\b|\bnor\b|\band\b)[^{TERM}]{{0,20}}{TERM}", rest
    )
    return gap.count(",") == 1 and TERM in gap and not listed


def _reaches_backward(masked: str, cue: Cue, item: tuple[int, int], cues: Sequence[Cue]) -> bool:
    gap = masked[item[1] : cue.start]
    bare = re.sub(r"[:=\-]\s*$", "", gap)
    if _STOP.search(bare) and not (cue.text.startswith("but") and not _STOP.search(bare)):
        return False
    if any(not c.forward and item[1] <= c.start < cue.start for c in cues):
        return False
    if cue.text.strip() in ("?", "-like", "like", "screening"):
        return not bare.strip() or (
            _LIST_WORDS.fullmatch(bare) is not None and cue.text.strip() == "?" and "," not in bare
        )
    if cue.text in ("(-)", "-ve", " -ve", "-"):
        return not bare.strip()
    if any(c.forward and item[1] <= c.start < cue.start for c in cues):
        return False
    if "," in bare:
        return _LIST_WORDS.fullmatch(bare) is not None
    return re.search(r"\b(?:with|and there|there (?:is|are))\b", bare) is None and len(bare.split()) <= 14
