"""`read_report`: the text of a report -> findings, measurements, flags, each with its place in the original text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...core.errors import InvalidInput
from ...core.vocabulary import Laterality
from . import chinese, english
from .cleaning import CleanText, clean_text
from .context import Cue, add_up, mask, reaching
from .grading import GradeMention, find_grades, grade_of, severity_of
from .laterality import LEFT, RIGHT, EyeMention, Eyes, eyes_of, find_mentions, names_disc_by_od, place_mentions
from .measurements import Number, ReportMeasurement, find_numbers
from .normality import normal_eyes, repeated_findings
from .places import places_of
from .sections import Passage, split_passages
from .statements import ReportFinding, ReportFlag, ReportReading
from .terms import TermMatch, find_terms, known_terms, narrower
from .untrusted import BLANK_AFTER, EMPTY_BOX, find_identities, find_template, instruction_start

#: Longer texts are read up to here and flagged `text.too_long`.
MAX_CHARACTERS = 100_000
#: A sentence longer than this is read in pieces; no dictation has one.
_MAX_SENTENCE = 800
LANGUAGES = ("en", "zh")


@dataclass(slots=True)
class _State:
    """Eye carried from sentence to sentence, and what was found so far."""

    carried: Eyes = ()
    from_heading: bool = False
    line: int = 0
    findings: list[ReportFinding] = field(default_factory=list)
    measurements: list[ReportMeasurement] = field(default_factory=list)
    flags: list[ReportFlag] = field(default_factory=list)


def read_report(
    text: str | None,
    *,
    language: str | None = None,
    laterality: Laterality | None = None,
    patient_id: str | None = None,
) -> ReportReading:
    """Return what a report says. The text is data: nothing in it is followed as an instruction.

    Args:
        text: The report; None and blank are read as empty and flagged.
        language: "en" or "zh"; None decides sentence by sentence.
        laterality: Eye of the study; a report that speaks of the other eye is flagged.
        patient_id: Patient of the study; a report that names another number is flagged.

    Raises:
        InvalidInput: Unknown language, or the text is no string.

    Example:
        >>> reading = read_report("OD: mild NPDR, no macular oedema. C/D 0.6.")
        >>> [(f.code, f.status, f.eye, f.grade) for f in reading.findings]
        [('nonproliferative_diabetic_retinopathy', 'present', 'OD', ('icdr', '1')), ('macular_oedema', 'absent', 'OD', None)]
        >>> [(m.name, m.value, m.eye) for m in reading.measurements]
        [('cup_to_disc_ratio', 0.6, 'OD')]
        >>> [(f.text, f.status, f.eye) for f in read_report("左眼未见出血、渗出，青光眼待排。").findings]
        [('出血', 'absent', 'OS'), ('渗出', 'absent', 'OS'), ('青光眼', 'uncertain', 'OS')]
    """
    if language is not None and language not in LANGUAGES:
        raise InvalidInput(f"language {language!r} is not known.", hint="Use 'en', 'zh' or None.")
    if text is not None and not isinstance(text, str):
        raise InvalidInput(f"a report is text, got {type(text).__name__}.")
    if text is None or not text.strip():
        return ReportReading(flags=(ReportFlag(code="text.empty", message="the report is empty.", span=(0, 0)),))
    state = _State()
    if len(text) > MAX_CHARACTERS:
        message = f"the report has {len(text)} characters; the first {MAX_CHARACTERS} were read."
        state.flags.append(ReportFlag(code="text.too_long", message=message, span=(MAX_CHARACTERS, len(text))))
        text = text[:MAX_CHARACTERS]
    clean = clean_text(text)
    _flag_characters(clean, state)
    _flag_identity(clean, patient_id, state)
    for passage in split_passages(clean.plain):
        for piece in _pieces(passage):
            _read_passage(piece, clean, text, language, state)
    for start, end in find_template(clean.plain):
        state.flags.append(
            ReportFlag(
                code="text.template", message="text of a template that nobody filled in.", span=clean.span(start, end)
            )
        )
    _flag_eye(state, laterality)
    return ReportReading(
        findings=tuple(sorted(state.findings, key=lambda f: (f.span, f.code))),
        measurements=tuple(sorted(state.measurements, key=lambda m: m.span)),
        flags=tuple(sorted(state.flags, key=lambda f: (f.span, f.code))),
        characters=len(text),
    )


def _pieces(passage: Passage) -> list[Passage]:
    if len(passage.text) <= _MAX_SENTENCE:
        return [passage]
    pieces, position = [], 0
    while position < len(passage.text):
        end = min(position + _MAX_SENTENCE, len(passage.text))
        if end < len(passage.text):
            cut = max(passage.text.rfind(c, position + _MAX_SENTENCE // 2, end) for c in ",;、 ")
            end = cut + 1 if cut > 0 else end
        pieces.append(
            Passage(
                start=passage.start + position,
                text=passage.text[position:end],
                section=passage.section,
                line=passage.line,
            )
        )
        position = end
    return pieces


def _read_passage(passage: Passage, clean: CleanText, text: str, language: str | None, state: _State) -> None:
    sentence = passage.text
    cut = instruction_start(sentence)
    if cut is not None:
        span = clean.span(passage.start + cut, passage.start + len(sentence))
        message = "this speaks to a machine; it was set aside and changed nothing."
        state.flags.append(ReportFlag(code="text.injection", message=message, span=span))
        sentence = sentence[:cut].rstrip()
        if not sentence:
            return
        passage = replace(passage, text=sentence)
    is_chinese = passage.is_chinese if language is None else language == "zh"
    if passage.opens or (passage.line != state.line and not state.from_heading):
        state.carried, state.from_heading = (), False
    state.line = passage.line
    terms = find_terms(sentence)
    mentions = find_mentions(sentence, chinese=is_chinese, before=state.carried)
    if not terms and not mentions and not any(c.isdigit() for c in sentence) and "光感" not in sentence:
        return
    numbers = [n for n in find_numbers(sentence, chinese=is_chinese) if not _inside(n.start, terms)]
    grades = [g for g in find_grades(sentence) if not any(n.start <= g.start < n.end for n in numbers)]
    terms = _without_graded(terms, grades)
    spans = (
        [(t.start, t.end) for t in terms],
        [(m.start, m.end) for m in mentions],
        [(n.start, n.end) for n in numbers],
    )
    items = sorted([*spans[0], *spans[2], *((g.start, g.end) for g in grades)])
    hidden = mask(sentence, *spans)
    analysed = _Sentence(
        passage=passage,
        clean=clean,
        original=text,
        chinese=is_chinese,
        mentions=place_mentions(sentence, mentions, items, chinese=is_chinese),
        carried=state.carried,
        masked=hidden,
        cues=(chinese if is_chinese else english).cues_of(hidden),
    )
    found = [f for t in terms if (f := _finding(analysed, t)) is not None]
    found += [_graded(analysed, g) for g in grades]
    found += _normal(analysed, found)
    found += _repeated(analysed, found)
    state.findings += found
    for number in numbers:
        _add_number(analysed, number, state)
    _flag_ambiguous(analysed, found, state)
    _carry(analysed, state)


def _without_graded(terms: list[TermMatch], grades: Sequence[GradeMention]) -> list[TermMatch]:
    """Return the terms that no grade speaks of: "DR grade 0" is one statement, made by the grade and not by the name."""
    kept = [t for t in terms if not any(g.start <= t.start < g.end for g in grades)]
    if any(g.code == "diabetic_retinopathy" for g in grades):
        kept = [t for t in kept if not (t.code == "diabetic_retinopathy" and t.end - t.start == 2)]
    return kept


def _flag_ambiguous(sentence: _Sentence, found: Sequence[ReportFinding], state: _State) -> None:
    if names_disc_by_od(sentence.passage.text):
        message = '"OD" was read as optic disc, not as right eye.'
        where = sentence.span(0, len(sentence.passage.text))
        state.flags.append(ReportFlag(code="laterality.ambiguous", message=message, span=where))
    for item in found:
        if "term.ambiguous" in item.flags:
            message = f"{item.text!r} may mean several things."
            state.flags.append(ReportFlag(code="term.ambiguous", message=message, span=item.span))


def _inside(position: int, terms: Sequence[TermMatch]) -> bool:
    return any(t.start <= position < t.end for t in terms)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sentence:
    """One sentence with all that is known of it before its findings are read."""

    passage: Passage
    clean: CleanText
    original: str
    chinese: bool
    mentions: list[EyeMention]
    carried: Eyes
    masked: str
    cues: list[Cue]

    @property
    def rules(self) -> Any:
        """The module of the language."""
        return chinese if self.chinese else english

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Return the original span of a place in the sentence."""
        return self.clean.span(self.passage.start + start, self.passage.start + end)

    def eyes(self, start: int, end: int) -> Eyes:
        """Return the eyes an item belongs to."""
        return eyes_of(self.passage.text, (start, end), self.mentions, carried=self.carried)


def _finding(sentence: _Sentence, term: TermMatch) -> ReportFinding | None:
    text = sentence.passage.text
    code = narrower(term.code, _clause(text.lower(), term.start))
    known = known_terms()[code]
    if _NO_STATEMENT.match(text, term.end):
        return None
    if EMPTY_BOX.search(text[: term.start]) or BLANK_AFTER.match(text, term.end):
        return None
    if known.kind == "normal" and re.match(
        r"\s*(?:[,(]?\s*)?(?:except|apart|other than|aside|but)|以?外", text[term.end :]
    ):
        return None
    reached = reaching(sentence.cues, (term.start, term.end), sentence.rules.reach_of(sentence.masked, known.kind))
    status = add_up(reached, section=sentence.passage.section, kind=known.kind)
    if status is None:
        return None
    if term.denies:
        status = {"present": "absent", "absent": "present"}.get(status, status)
    if known.kind == "treatment" and status == "present" and re.search(r"术后|手术", text[term.start : term.end]):
        status = "history"
    if known.kind == "treatment" and status in ("present", "uncertain"):
        status = sentence.rules.treatment_status(sentence.masked, (term.start, term.end)) or status
    grade = grade_of(code, text, term.start, term.end) or (known.grade if status != "absent" else None)
    flags = ("term.misspelt",) if term.misspelt else ()
    if code == "ambiguous_mh":
        flags = (*flags, "term.ambiguous")
        status = "uncertain" if status == "present" else status
    if grade is not None and grade[1] == "0" and status == "present":
        status = "absent"
    if status == "absent" and grade is None and code == "diabetic_retinopathy":
        grade = ("icdr", "0")
    return _make(sentence, (term.start, term.end), code, status, grade=grade, cues=reached, flags=flags)


def _graded(sentence: _Sentence, mention: GradeMention) -> ReportFinding:
    where = (mention.start, mention.end)
    reached = reaching(sentence.cues, where, sentence.rules.reach_of(sentence.masked, "disease"))
    status = add_up(reached, section=sentence.passage.section) or "family"
    status = "absent" if mention.absent and status == "present" else status
    return _make(sentence, where, mention.code, status, grade=mention.grade, cues=reached)


def _make(
    sentence: _Sentence,
    where: tuple[int, int],
    code: str,
    status: str,
    *,
    eyes: Eyes | None = None,
    grade: tuple[str, str] | None = None,
    cues: Sequence[Cue] = (),
    flags: tuple[str, ...] = (),
) -> ReportFinding:
    text = sentence.passage.text
    span = sentence.span(*where)
    return ReportFinding(
        code=code,
        name=known_terms()[code].title,
        status=status,
        eyes=sentence.eyes(*where) if eyes is None else eyes,
        span=span,
        text=sentence.original[slice(*span)],
        sentence=sentence.span(0, len(text)),
        cues=tuple(sentence.span(c.start, c.end) for c in cues),
        severity=severity_of(text, *where),
        grade=grade,
        location=places_of(text, *where),
        section=sentence.passage.section,
        flags=flags,
    )


#: "Glaucoma drops" and "cataract clinic" say nothing of the eye.
_NO_STATEMENT = re.compile(
    r"[ -](?:medications?|meds|drops|clinic|service|specialist|referral|leaflet)\b", re.IGNORECASE
)


def _clause(text: str, position: int) -> str:
    left = max(text.rfind(c, 0, position) for c in ",;") + 1
    stops = [p for c in ",;" if (p := text.find(c, position)) >= 0]
    return text[left : min(stops, default=len(text))]


def _normal(sentence: _Sentence, found: Sequence[ReportFinding]) -> list[ReportFinding]:
    taken = {f.span for f in found}
    result = []
    for (start, end), eyes in normal_eyes(
        sentence.passage.text, sentence.masked, sentence.mentions, chinese=sentence.chinese
    ):
        span = sentence.span(start, end)
        if not any(span[0] < t[1] and t[0] < span[1] for t in taken):
            result.append(
                _make(sentence, (start, end), "normal_fundus", "present", eyes=eyes or sentence.eyes(start, end))
            )
    return result


def _repeated(sentence: _Sentence, found: Sequence[ReportFinding]) -> list[ReportFinding]:
    """Return findings that a later part of the sentence says of another eye without naming them ("none OS")."""
    result = []
    for where, mention, status in repeated_findings(
        sentence.passage.text, sentence.masked, sentence.mentions, chinese=sentence.chinese
    ):
        limit = sentence.span(where[0], where[1])[0]
        before = [f for f in found if f.span[1] <= limit and f.eyes != mention.eyes]
        if before:
            last = [f for f in before if f.eyes == before[-1].eyes and f.status == before[-1].status]
            result += [_make(sentence, where, f.code, status, eyes=mention.eyes) for f in last]
    return result


def _add_number(sentence: _Sentence, number: Number, state: _State) -> None:
    span = sentence.span(number.start, number.end)
    written = sentence.original[slice(*span)]
    if number.doubt is not None:
        words = {
            "measurement.unit_not_stated": f"{number.name.replace('_', ' ')} {written} has no unit; none was made up.",
            "measurement.unit": f"{written} is not a unit of {number.name.replace('_', ' ')}; the number was left out.",
            "measurement.pair": f"{written}: the text does not say which number is of which eye; both were left out.",
            "measurement.implausible": f"{written} is not a plausible {number.name.replace('_', ' ')}; the number was left out.",
        }
        state.flags.append(ReportFlag(code=number.doubt, message=words[number.doubt], span=span))
    if number.value is None and number.word is None:
        return
    past = re.search(
        r"\b(?:previous(?:ly)?|was|last visit|prior|before)\b|既往|上次|原",
        sentence.masked[max(0, number.start - 25) : number.start],
    )
    earlier = past is not None and past.group() != "was"
    state.measurements.append(
        ReportMeasurement(
            name=number.name,
            value=number.value,
            unit=number.unit,
            written=written,
            span=span,
            eyes={"r": RIGHT, "l": LEFT}.get(number.side or "") or sentence.eyes(number.start, number.end),
            status="history" if earlier or sentence.passage.section == "history" else "present",
            word=number.word,
        )
    )


def _carry(sentence: _Sentence, state: _State) -> None:
    leading = [m for m in sentence.mentions if m.leading and m.eyes]
    if not leading:
        return
    last = leading[-1]
    state.carried = last.eyes
    state.from_heading = last.heading or (state.from_heading and last.eyes == state.carried)


def _flag_characters(clean: CleanText, state: _State) -> None:
    for code, places, message in (
        ("text.invisible", clean.invisible, "characters that cannot be seen; they were left out."),
        ("text.bidi", clean.direction, "characters that change the direction of the text; they were left out."),
        ("text.homoglyph", clean.lookalikes, "letters of another script that look Latin; they were read as Latin."),
    ):
        if places:
            message = f"{len(places)} {message}"
            state.flags.append(ReportFlag(code=code, message=message, span=(places[0], places[-1] + 1)))


def _flag_identity(clean: CleanText, patient_id: str | None, state: _State) -> None:
    if patient_id is None:
        return
    for number, span in find_identities(clean.plain):
        if number.casefold() != patient_id.strip().casefold():
            message = "the report names another patient number than the study."
            state.flags.append(ReportFlag(code="identity.other_patient", message=message, span=clean.span(*span)))


def _flag_eye(state: _State, laterality: Laterality | None) -> None:
    if laterality is None:
        return
    named = [i for i in (*state.findings, *state.measurements) if i.eyes]
    other = [i for i in named if laterality not in i.eyes]
    if not other:
        return
    if len(other) == len(named):
        message = f"the report speaks of the other eye only; the study is {laterality.value}."
        state.flags.append(ReportFlag(code="laterality.only_other_eye", message=message, span=other[0].span))
    else:
        message = f"part of the report speaks of the other eye; the study is {laterality.value}."
        state.flags.append(ReportFlag(code="laterality.other_eye", message=message, span=other[0].span))
