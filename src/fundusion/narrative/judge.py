"""One sentence against the facts: what it says, what supports it, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..readers.report import ReportFinding, read_report
from ..readers.report.laterality import find_mentions
from ..readers.report.terms import find_terms
from ..readers.report.untrusted import instruction_start
from ..report.findings import percent
from .facts import Fact, Facts, GradeFact
from .names import DIABETIC, MODALITY_NAMES, measured, measurement_pattern, own_words
from .vocabulary import number_words, unknown_words

#: Findings that stand in a sentence for one that the report reader does not name, so that it reads what is said of it.
_CARRIERS = (
    ("asteroid_hyalosis", "asteroid hyalosis", "星状玻璃体变性"),
    ("choroidal_melanoma", "choroidal melanoma", "脉络膜黑色素瘤"),
    ("angioid_streaks", "angioid streaks", "血管样条纹"),
    ("stargardt_disease", "stargardt disease", "Stargardt病"),
)
_GRADED = frozenset({DIABETIC, "nonproliferative_diabetic_retinopathy", "proliferative_diabetic_retinopathy"})
_NUMBER = re.compile(
    r"(?P<sign>[<>])?\s*(?P<value>\d+(?:\.\d+)?)(?P<percent>\s*%)?"
    r"(?:\s*(?P<unit>mmhg|µm|μm|um|micromet(?:re|er)s?|microns?|mm|kpa|logmar|letters|pixels|px|微米|毫米汞柱|毫米)(?![a-z]))?",
    re.IGNORECASE,
)
_UNITS = {"µm": "um", "μm": "um", "micron": "um", "microns": "um", "micrometre": "um", "micrometres": "um", "micrometer": "um", "micrometers": "um", "微米": "um",
          "毫米": "mm", "毫米汞柱": "mmhg", "pixels": "px"}  # fmt: skip
_PROBABILITY = re.compile(r"(?:probability|chance|概率)[^\d]{0,12}$", re.IGNORECASE)
_GRADE_BEFORE = re.compile(r"(?:\bgrade|\blevel|分级|icdr)\s*(?:is|of|为|:)?\s*$", re.IGNORECASE)
#: A second, coarse reading: words of absence and doubt in the clause of a finding. What the report reader makes of the sentence has to
#: agree with it; where the two differ, nobody vouches for the sentence.
_CLAUSE_END = re.compile(r"[,;:，；]|\band\b|\bbut\b|\bor\b|但|并|且|[和及与或、]", re.IGNORECASE)
_EXCLUSION = re.compile(r"can ?not be (?:excluded|ruled out)|is not excluded|(?:不能|不)?(?:完全)?排除", re.IGNORECASE)
_ABSENCE = re.compile(r"\b(?:no|not|absent|without|none|free|negative)\b|无|未|不|阴性", re.IGNORECASE)
_DOUBT = re.compile(
    r"\b(?:may|might|possibl[ey]|probabl[ey]|likely|suspected|suspicion|uncertain|questionable)\b|可能|可疑|疑似|考虑|待排",
    re.IGNORECASE,
)
_UNMEASURED = re.compile(r"not (?:be )?measured|未能?测量", re.IGNORECASE)
_LACKING = re.compile(
    r"\b(?:without|no|lacking|not provided:?)\s[^.;]*$|(?:未提供|缺少|没有|无)[^。；;]*$", re.IGNORECASE
)
_LACKS = re.compile(r"[^.;,]{0,20}\bnot (?:available|provided)|[^。；;,]{0,6}(?:未提供|缺失)", re.IGNORECASE)
_MODALITY = re.compile(
    "|".join(
        f"(?P<{m}>{re.escape(en)}s?|{zh})"
        for m, (en, zh) in sorted(MODALITY_NAMES.items(), key=lambda item: -len(item[1][0]))
        if m not in ("text", "table")
    )
    + r"|(?P<oct_>\boct\b)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a sentence says of one finding, with the grade in it and the eye as "OD", "OS", "OU" or ""."""

    code: str
    status: str
    eye: str
    span: tuple[int, int]
    grade: str | None = None
    severity: str | None = None
    explicit_grade: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What is wrong with a sentence (nothing: it may stay), and the identifiers of the facts that support it."""

    kinds: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    detail: str = ""
    statements: tuple[Statement, ...] = ()


class _Case:
    """A sentence while it is judged."""

    def __init__(self, sentence: str, facts: Facts) -> None:
        self.facts = facts
        self.kinds: list[str] = []
        self.details: list[str] = []
        self.evidence: list[str] = []
        self.blanks: list[tuple[int, int]] = []
        self.graded = False
        self.text, self.carried = _with_carriers(sentence, facts)

    def wrong(self, kind: str, detail: str) -> None:
        """Note that something is wrong."""
        self.kinds.append(kind)
        self.details.append(detail)

    def supported(self, evidence: Sequence[str]) -> None:
        """Note what supports the sentence."""
        self.evidence += evidence


def judge(sentence: str, facts: Facts) -> Judgement:
    """Return what is wrong with a sentence; with nothing wrong it has evidence.

    Args:
        sentence: One sentence with uniform characters (`readers.report.cleaning`).
        facts: What may be said.

    Example:
        >>> fact = Fact(code="cataract", status="absent", probability=0.02, evidence=("disease/cataract",))
        >>> judge("No sign of cataract", Facts(findings=(fact,))).evidence
        ('disease/cataract',)
        >>> judge("Dense cataract", Facts(findings=(fact,))).kinds
        ('contradiction', 'unknown_words')
    """
    if instruction_start(sentence) is not None:
        return Judgement(kinds=("injection",), detail="it speaks to a machine")
    case = _Case(sentence, facts)
    statements = statements_of(case.text, case.carried)
    terms = find_terms(case.text)
    case.blanks += [(t.start, t.end) for t in terms]
    for term in terms:
        if not any(s.span[0] <= term.start < s.span[1] for s in statements):
            case.wrong("unsupported", case.text[term.start : term.end])
    for statement in statements:
        case.blanks.append(statement.span)
        _compare(statement, case)
    _eyes(case, statements)
    _modalities(case)
    _numbers(case, statements)
    rest = list(case.text)
    for start, end in case.blanks:
        rest[start:end] = " " * (end - start)
    unknown = unknown_words("".join(rest), graded=case.graded)
    if unknown:
        case.wrong("number" if number_words(unknown) else "unknown_words", " ".join(unknown)[:80])
    if not case.kinds and not case.evidence:
        case.wrong("ungrounded", "it rests on no finding")
    return Judgement(
        kinds=tuple(dict.fromkeys(case.kinds)),
        evidence=tuple(dict.fromkeys(case.evidence)) if not case.kinds else (),
        detail="; ".join(dict.fromkeys(case.details)),
        statements=tuple(statements),
    )


def _with_carriers(sentence: str, facts: Facts) -> tuple[str, dict[str, str]]:
    """Return the sentence with a known finding for each name the reader does not know, and which stands for which."""
    carried: dict[str, str] = {}
    present = {t.code for t in find_terms(sentence)}
    free = [c for c in _CARRIERS if c[0] not in present]
    for words, code in own_words(facts.codes):
        position = sentence.lower().find(words.lower())
        known = next((c for c in _CARRIERS if carried.get(c[0]) == code), None)
        while position >= 0 and (known or free):
            known = known or free.pop(0)
            carried[known[0]] = code
            stand_in = known[1] if words.isascii() else known[2]
            sentence = sentence[:position] + stand_in + sentence[position + len(words) :]
            position = sentence.lower().find(words.lower(), position + len(stand_in))
    return sentence, carried


def statements_of(sentence: str, carried: dict[str, str] | None = None) -> list[Statement]:
    """Return what a sentence says of findings.

    Example:
        >>> [(s.code, s.status, s.eye) for s in statements_of("Glaucoma cannot be excluded OS")]
        [('glaucoma', 'uncertain', 'OS')]
    """
    return [_statement(f, carried or {}) for f in read_report(sentence).findings]


def _statement(finding: ReportFinding, carried: dict[str, str]) -> Statement:
    scale, value = finding.grade or ("", "")
    return Statement(
        code=carried.get(finding.code, finding.code),
        status=finding.status,
        eye=finding.eye,
        span=finding.span,
        grade=value if scale == "icdr" else None,
        severity=finding.severity or (f"{scale} {value}" if scale not in ("", "icdr") else None),
        explicit_grade=any(c.isdigit() for c in finding.text),
    )


def _compare(statement: Statement, case: _Case) -> None:
    """Compare one statement with the fact or the grade it is about."""
    facts, code = case.facts, statement.code
    if statement.severity is not None and not (code in _GRADED and statement.grade):
        case.wrong("unsupported", f"severity of {code}: {statement.severity}")
    fact = facts.of(code)
    of_grade = code in _GRADED and (statement.grade is not None or code != DIABETIC)
    if code == DIABETIC and statement.status == "absent" and not statement.explicit_grade and fact is not None:
        of_grade = False
    if of_grade:
        _compare_grade(statement, facts.grade, case)
        return
    if fact is None:
        contrary = code == "normal_fundus" and any(f.status != "absent" for f in facts.findings)
        case.wrong("contradiction" if contrary else "unsupported", code)
        return
    kind = _mismatch(statement.status, fact.status) or _misread(statement, case.text)
    if kind is None:
        case.supported(fact.evidence)
    else:
        case.wrong(kind, f"{code} is {fact.status}, the text says {statement.status}")


def _compare_grade(statement: Statement, grade: GradeFact | None, case: _Case) -> None:
    if grade is None:
        case.wrong("unsupported", f"{statement.code}: no grade is known")
        return
    said = statement.grade
    expected = "uncertain" if grade.status == "uncertain" else "absent" if grade.label == "0" else "present"
    if said is None:
        fits = (statement.code == "proliferative_diabetic_retinopathy") == (grade.label == "4") and grade.label != "0"
    else:
        fits = said == grade.label
    if statement.status == "absent" and said != "0" and not fits:
        case.wrong("unsupported", f"{statement.code} absent")
        return
    kind = "contradiction" if not fits else _mismatch(statement.status, expected) or _misread(statement, case.text)
    if kind is None:
        case.supported(grade.evidence)
        case.graded = case.graded or said is not None
    else:
        case.wrong(kind, f"grade is {grade.label} ({grade.status}), the text says {said or statement.code}")


def _mismatch(said: str, known: str) -> str | None:
    if said == known:
        return None
    if said not in ("present", "absent", "uncertain"):
        return "unsupported"
    return "certainty" if "uncertain" in (said, known) else "contradiction"


def _misread(statement: Statement, text: str) -> str | None:
    """Return what a coarse reading of the clause has against the status, or None."""
    if statement.status not in ("present", "uncertain"):
        return None
    start, end = statement.span
    left = max((m.end() for m in _CLAUSE_END.finditer(text, 0, start)), default=0)
    right = _CLAUSE_END.search(text, end)
    clause = _EXCLUSION.sub(" ", text[left:start] + " " + text[end : right.start() if right else len(text)])
    if _ABSENCE.search(clause):
        return "contradiction" if statement.status == "present" else "certainty"
    return "certainty" if statement.status == "present" and _DOUBT.search(clause) else None


def _eyes(case: _Case, statements: Sequence[Statement]) -> None:
    own = case.facts.laterality.value if case.facts.laterality else None
    for chinese in (False, True):
        for mention in find_mentions(case.text, chinese=chinese):
            case.blanks.append((mention.start, mention.end))
            if [e.value for e in mention.eyes] != [own]:
                case.wrong("wrong_eye", case.text[mention.start : mention.end])
    for statement in statements:
        if statement.eye and statement.eye != own:
            case.wrong("wrong_eye", f"{statement.code} {statement.eye}")


def _modalities(case: _Case) -> None:
    for match in _MODALITY.finditer(case.text):
        name = str(match.lastgroup).rstrip("_")
        case.blanks.append(match.span())
        lacking = _LACKING.search(case.text[: match.start()]) or _LACKS.match(case.text, match.end())
        if name in (case.facts.missing if lacking else case.facts.used):
            case.supported((f"modality/{name}",))
        else:
            case.wrong("modality", f"{name} {'missing' if lacking else 'used'}")


def _numbers(case: _Case, statements: Sequence[Statement]) -> None:
    names = measured(tuple(m.name for m in case.facts.measurements))
    spoken = list(measurement_pattern(tuple(m.name for m in case.facts.measurements)).finditer(case.text))
    case.blanks += [m.span() for m in spoken]
    told: set[str] = set()
    for match in _NUMBER.finditer(case.text):
        case.blanks.append(match.span())
        before = [m for m in spoken if m.end() <= match.start()]
        name = names[int(str(before[-1].lastgroup)[1:])] if before else None
        if not _number_fits(match, name, case, statements):
            case.wrong("number", match.group().strip())
        elif name is not None:
            told.add(name)
    for mention in spoken:
        name = names[int(str(mention.lastgroup)[1:])]
        known = case.facts.measurement(name)
        if known is None:
            case.wrong("unsupported", name)
        elif name in told or (known.value is None and _UNMEASURED.search(case.text)):
            case.supported((f"measurement/{name}",))
        elif "number" not in case.kinds:
            case.wrong("unsupported", f"{name} without its value")


def _number_fits(match: re.Match[str], name: str | None, case: _Case, statements: Sequence[Statement]) -> bool:
    """Return whether a number is that of the grade, the probability or the measurement it stands with."""
    value, unit = float(match["value"]), (match["unit"] or "").lower()
    if match["percent"] or (not unit and _PROBABILITY.search(case.text[: match.start()])):
        probability = _probability_at(match.start(), case.facts, statements)
        if probability is None:
            return False
        if match["percent"]:
            plain = f"{match['sign'] or ''}{match['value']}%"
            return plain in (percent(probability).replace(" ", ""), f"{probability * 100:.1f}%") and not unit
        return match["sign"] is None and abs(round(probability, _decimals(match["value"])) - value) < 1e-9
    grade = case.facts.grade
    of_grade = any(s.explicit_grade and s.span[0] <= match.start("value") < s.span[1] for s in statements)
    nearest = _nearest(match.start(), statements)
    named = nearest is not None and nearest.code in _GRADED and _GRADE_BEFORE.search(case.text[: match.start("value")])
    if of_grade or named:
        return grade is not None and match["value"] == grade.label and not unit and not match["sign"]
    known = case.facts.measurement(name) if name else None
    if known is None or known.value is None or match["sign"]:
        return False
    wanted = "" if known.unit in ("ratio", "1") else known.unit.lower()
    decimals = _decimals(match["value"])
    close = abs(round(known.value, decimals) - value) < 1e-9 or match["value"] == f"{known.value:.3g}"
    return close and _UNITS.get(unit, unit) == wanted


def _decimals(written: str) -> int:
    return len(written.partition(".")[2])


def _nearest(position: int, statements: Sequence[Statement]) -> Statement | None:
    """Return the statement that stands nearest before a place, else the first after it."""
    before = [s for s in statements if s.span[0] < position]
    return before[-1] if before else statements[0] if statements else None


def _probability_at(position: int, facts: Facts, statements: Sequence[Statement]) -> float | None:
    """Return the probability of the finding that stands nearest before a place, else of the first after it."""
    before = [s for s in statements if s.span[0] < position]
    nearest = _nearest(position, statements)
    if nearest is None:
        return None
    if nearest.code in _GRADED and (nearest.grade is not None and (nearest.explicit_grade or nearest.code != DIABETIC)):
        return facts.grade.probability if facts.grade else None
    if before and any(s.explicit_grade for s in before) and nearest.code in _GRADED:
        return facts.grade.probability if facts.grade else None
    fact: Fact | None = facts.of(nearest.code)
    return fact.probability if fact else None
