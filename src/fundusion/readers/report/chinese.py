"""Cues of Chinese reports and how far each reaches. Full-width punctuation has become plain before this."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from .context import EYE, NUMBER, TERM, Cue, Reach, compile_cues, find_cues

_NOT_OUT = r"(?:不|未|不能|无法|未能|尚不能|不可|尚未|不完全|难以)(?:完全)?(?:排除|除外)"
_CHANGE = r"(?:增多|加重|增加|变化|改变|进展|增大|扩大|好转|吸收|消退|减轻|减少)"
_TABLE: dict[tuple[str, str], tuple[str, ...]] = {
    ("absent", "forward"): (
        rf"未(?:见|发现|查见|探及|检出|及|观察到|查及|提示|显示|出现|发生|伴有?|并发|合并)(?:明显|明确|确切|异常|活动性|典型|任何|新鲜|显著|到|有)*(?!{_CHANGE})",
        rf"(?<!有)无(?!法|光感|症状|赤)(?:明显|明确|确切|活动性|典型|任何|新鲜|显著|新发)*(?!{_CHANGE})", r"没有(?:发现|见到|看到|明显)*",
        r"否认(?:有)?", r"不(?:伴有?|存在|合并|考虑|支持|符合|像)", r"已排除", r"已除外", r"未(?:曾)?(?:行|做|接受|予)(?:过)?", r"不见", r"非(?=\x01)",
        r"(?<!未)(?<!不)暂无(?:明显)?", r"阴性:", r"缺乏",
    ),
    ("absent", "backward"): (
        r"(?:均|亦|也)?未(?:见|发现|查见|出现|检出)(?:明显|明确)?(?=\s*(?:[,;]|$))", r":?\s*(?:无|未见|没有)(?=\s*(?:[,;]|$))", r"\(-\)|\(—\)|\(一\)", r"(?<=\x01)\s*-(?=\s*(?:[,;、]|$))",
        r"阴性", r"(?:现)?(?:已|予|予以|可)(?:排除|除外)", r"不存在", r"缺如", r"均无(?=\s*(?:[,;]|$))",
    ),
    ("uncertain", "forward"): (
        _NOT_OUT, r"可疑", r"疑似", r"疑为", r"(?:高度|临床)?怀疑", r"疑(?!似|为)", r"(?<!不)(?<!应)考虑(?:为|是)?", r"可能(?:为|是|有|存在|系|没有|无(?!关)|未见(?:明显)?)?", r"倾向(?:于)?",
        r"(?:请|建议|以|需|进一步|待|结合临床)(?:除外|排除|鉴别)", r"(?<!已)(?<!予)(?<!不)(?<!未)(?<!待)(?:排除|除外)(?=[^,;]*\x01)", r"\?(?=\s*\x01)", r"似(?:有|为|见)", r"是否(?:为|是|系|合并)?(?!有|存在)", r"注意鉴别",
        r"不像", r"鉴别", r"待(?:排除|排|除外)(?=\s*\x01)",
    ),
    ("uncertain", "backward"): (
        r"(?:待|有待)(?:排除|排|除外|确诊|(?<!原因待)(?<!性质待)查(?=\s*(?:[,;]|$)))(?!\s*\x01)", rf"{_NOT_OUT}(?!\s*\x01)", r"(?:的)?可能(?:性)?(?:大|较大|高)?(?=\s*(?:[,;()]|$))", r"可疑", r"(?<=\x01)\s*\?", r"待定", r"疑诊",
        r"(?:可能|疑似)(?=\s*[,;]|$)", r"(?:可能|或许|也许)(?:已?不存在|没有|存在|消失)(?=\s*(?:[,;]|$))",
    ),
    ("history", "forward"): (
        r"既往(?:有|曾有?|行|史)?", r"曾(?:经|有|行|患|因|诊断(?:为)?)*", r"以前(?:有)?", r"原有", r"(?:患有|有)(?=\x01(?:病)?史)", r"(?:\d+|数|半|一|两|三)(?:年|月|个月|周|天)(?:余)?前(?:行|因|曾)?",
    ),
    ("history", "backward"): (
        r"(?:手术|治疗|外伤)?病?史(?!前)", r"(?:已|完全|基本|已完全|已基本|大部分)(?:吸收|消退|消失|愈合|复位|缓解)+", r"消(?:退|失)", r"(?<=\x01)(?:完全)?吸收(?!中)", r"(?:已)?闭合", r"(?<=\x01)(?:复位|剥除|切除|修复)术后", r"已愈", r"治愈",
    ),
    ("conditional", "forward"): (
        r"(?:^|(?<=[,;]))\s*(?:如果|若|如|一旦|倘若)(?!下|前|上|图)(?:出现|发生|有|发现|再次|合并)*", r"警惕", r"预防", r"防止", r"以防", r"谨防", r"(?:注意|观察)(?:有无|是否)?", r"有无", r"是否(?:有|存在)", r"筛查", r"排查",
        r"风险", r"避免", r"(?:可|会|易)(?:导致|引起|发生|继发)",
    ),
    ("conditional", "backward"): (r"(?<=\x01)(?:的)?筛查", r"(?:的)?(?:发生)?风险", r"(?<=\x01)(?:的)?排查", r"可能发生"),
    ("family", "forward"): (
        r"家族(?:史|中|有|内)?", r"(?:其|患者)?(?:父亲?|母亲?|兄长?|哥哥?|弟弟?|姐姐?|妹妹?|祖父|祖母|外公|外婆|爷爷|奶奶|姑姑?|舅舅?|父母|子女|儿子|女儿)(?=[^,;]{0,4}(?:患|有|为|\x01))",
    ),
    ("family", "backward"): (r"(?<=\x01)(?:的|患者)?(?:阳性)?家族史",),
    ("affirmed", "forward"): (r"(?:并非|不是|并不是)(?:没有|无)", r"不无", r"不能否认", r"无疑(?:为|是)?", r"未除"),
    ("affirmed", "backward"): (
        rf"(?:较前)?(?:未见|未|无|没有|尚未|并未|仍未)(?:明显|完全|显著)?{_CHANGE}", r"(?:较前)?无(?:明显)?(?:变化|改变)", r"较前(?:部分)?(?:吸收|减轻|减少|好转|消退)", r"同前", r"存在", r"阳性", r"\(\++\)", r"部分(?:吸收|消退)",
    ),
}  # fmt: skip
_STOP = re.compile(
    r";|但|然而|不过|可见|(?<!未)(?<!不)见有|仅见|(?<![未不无])伴|存在|(?<!没)(?<!具)(?<!患)(?<!含)有(?!无|关)|示|提示|合并|继发|并(?!发)|呈"
)
#: Cues that stand before a finding, or after it at the end of its clause.
_EITHER_SIDE = re.compile(rf"{_NOT_OUT}|待(?:排除|排|除外)|可疑|(?:现)?(?:已|予|予以|可)(?:排除|除外)|可能")
#: Lesions in a bare list after a comma still belong to "未见".
_BARE_LIST = re.compile(rf"[\s,、和及与或/以{TERM}等]*")
_PLANNED = re.compile(r"建议|拟|必要时|需|准备|预约|可行|待行|择期|计划|推荐")
_DONE = re.compile(
    r"术后|治疗后|(?<=\x01)后|后(?=\d|\s*[,;]|$)|曾|年前|月前|周前|天前|既往|史|已行|行[^,;]*(?:次|针)|(?:19|20)\d\d年"
)


@cache
def _pattern() -> re.Pattern[str]:
    return compile_cues(_TABLE)


def cues_of(masked: str) -> list[Cue]:
    """Return the cues of a masked sentence.

    Example:
        >>> [(c.kind, c.text) for c in cues_of("未见明显\\x01\\x01,\\x01\\x01待排")]
        [('absent', '未见明显'), ('uncertain', '待排')]
    """
    cues = []
    for cue in find_cues(_pattern(), masked):
        if _EITHER_SIDE.fullmatch(cue.text):
            last = re.match(r"\s*\??\s*(?:[,;()]|$)", masked[cue.end :]) is not None
            cue = replace(cue, forward=not last)
        cues.append(cue)
    return cues


def reach_of(masked: str, kind_of_item: str) -> Reach:
    """Return the function that says whether a cue of this sentence reaches a finding."""

    def reaches(cue: Cue, item: tuple[int, int], cues: Sequence[Cue]) -> bool:
        if cue.forward:
            return cue.end <= item[0] and _reaches_forward(masked, cue, item, cues, kind_of_item)
        return cue.start >= item[1] and _reaches_backward(masked, cue, item, cues)

    return reaches


def treatment_status(masked: str, item: tuple[int, int]) -> str | None:
    """Return "conditional" for a treatment that is planned, "history" for one that was given, else None.

    Example:
        >>> treatment_status("建议行\\x01\\x01", (3, 5)), treatment_status("\\x01\\x01术后", (0, 2))
        ('conditional', 'history')
    """
    left = max(masked.rfind(c, 0, item[0]) for c in ",;") + 1
    ends = [p for p in (masked.find(c, item[1]) for c in ",;") if p >= 0]
    clause = masked[left : min(ends, default=len(masked))]
    if _PLANNED.search(clause[: item[0] - left]):
        return "conditional"
    return "history" if _DONE.search(clause) else None


def _reaches_forward(masked: str, cue: Cue, item: tuple[int, int], cues: Sequence[Cue], kind: str) -> bool:
    gap = masked[cue.end : item[0]]
    if cue.kind == "family":
        return ";" not in gap and gap.count(",") <= 1 and not (TERM in gap and "," in gap) and "但" not in gap
    if _STOP.search(gap):
        return False
    nearer = [c for c in cues if c.forward and cue.end <= c.start and c.end <= item[0]]
    if cue.kind in ("absent", "uncertain", "affirmed") and any(
        c.kind in ("absent", "uncertain", "affirmed") for c in nearer
    ):
        return False
    if any(not c.forward and cue.end <= c.start and c.end <= item[0] for c in cues):
        return False
    if "," not in gap:
        return True
    if cue.kind != "absent" or kind != "lesion":
        return False
    ends = [p for p in (masked.find(c, item[1]) for c in ",;") if p >= 0]
    rest = gap[gap.index(",") :] + masked[item[0] : min(ends, default=len(masked))]
    return TERM in gap[: gap.index(",")] and _BARE_LIST.fullmatch(rest) is not None


def _reaches_backward(masked: str, cue: Cue, item: tuple[int, int], cues: Sequence[Cue]) -> bool:
    gap = masked[item[1] : cue.start]
    if ";" in gap or any(item[1] <= c.start < cue.start and c.kind != "conditional" for c in cues):
        return False
    bare = re.sub(r"[:\s]+$", "", gap)
    if ":" in bare:
        return False
    tight = cue.text.strip() in ("?", "-", "(-)", "(—)", "(一)") or cue.text.strip().startswith("(+")
    if tight:
        return not bare.strip(" 、及和")
    if "," in bare:
        last = bare[bare.rindex(",") + 1 :]
        # Over a comma only when the last clause names nothing of its own and the cue says what it speaks of.
        return (
            TERM not in last and NUMBER not in last and EYE not in last and not last.strip() and cue.kind != "history"
        )
    return not re.search(r"但|可见|伴", bare)
