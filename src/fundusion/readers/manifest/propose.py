"""A schema proposed from the data: what the cells decide is written, what they leave open is asked, nothing is guessed."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import FundusionError
from ...core.table import LEVEL_WORDS
from ...core.tasks import STANDARD_TASKS
from ...core.vocabulary import ODIR_LABELS, Laterality, Modality, parse_laterality
from .cells import EYE_COLUMNS
from .evidence import ColumnEvidence, gather
from .questions import Draft, date_lines, number_lines, serial_lines, toml
from .rows import Table, TableOptions, open_table
from .tally import _spellings

_MODALITIES = tuple(m.value for m in Modality)
_PATIENT = {"patientid", "pid", "mrn", "patientno", "subjectid", "患者编号", "病历号", "住院号", "门诊号", "患者id"}
_STUDY = {"studyid", "examid", "visitid", "检查号", "检查编号"}
_EITHER = {"id", "patient", "subject", "case", "no", "编号", "序号", "患者", "number"}
_SEX = {"sex", "gender", "patientsex", "patientgender", "性别"}
_VISIT = {"visit", "visitno", "visitname", "就诊次数", "随访"}
_BIRTH = re.compile(r"birth|dob|出生")
_EXAM = re.compile(r"(exam|visit|检查|就诊).*(date|日期|时间)|dateof(exam|visit)")
_DAY = re.compile(r"date|日期|时间|birth|dob|出生|day$")
_REPORT = {"report", "reporttext", "findings", "description", "impression", "报告", "检查所见", "诊断描述", "描述"}
_TWO_EYES = re.compile(r"(?:^|[\W_])(left|right|od|os)(?:$|[\W_])|左眼|右眼", re.IGNORECASE)
_ANSWER = re.compile(r"diagnos|grade|level|label|class|target|disease|risk|诊断|分级|标签")
_MOST_LEVELS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedColumn:
    """One column of a proposal.

    Args:
        source: Name in the file.
        open_keys: Keys that a person must decide; empty when the cells decide all.
        reasons: Why each is open.
    """

    source: str
    open_keys: tuple[str, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A proposed schema.

    Args:
        text: TOML with comments.
        columns: What is decided and what is open, by column.
        rows: Usable rows that were looked at.
        damaged: Rows that could not be read, with the first reasons.
        facts: Encoding, delimiter, sheet.
    """

    text: str
    columns: tuple[ProposedColumn, ...]
    rows: int
    damaged: tuple[str, ...] = ()
    facts: dict[str, str]

    @property
    def refused(self) -> tuple[tuple[str, str], ...]:
        """Columns that the data leave open, with the reason."""
        return tuple((c.source, r) for c in self.columns for r in c.reasons)


def propose_schema(
    path: str | Path, *, options: TableOptions | None = None, progress: Callable[[int], Any] | None = None
) -> Proposal:
    """Return the schema that the cells of a table support.

    Args:
        path: Any table `read_manifest` takes, with any column names.
        options: Encoding, delimiter, sheet where they are not certain.
        progress: Called with the number of rows done, now and then.

    Raises:
        ReadError: The file cannot be read.
        InvalidInput: Delimiter, sheet or header are not certain.
    """
    table = open_table(path, options)
    columns = {n: ColumnEvidence(n) for n in table.columns or ()}
    rows, damaged = 0, []
    for line, row in table.rows:
        if isinstance(row, FundusionError):
            damaged.append(f"line {line}: {row.message}" if len(damaged) < 5 else "")
            continue
        for name in row:
            if name not in columns:
                columns[name] = ColumnEvidence(name, cells=rows, empty=rows)
        gather(columns, row)
        rows += 1
        if progress is not None and rows % 2000 == 0:
            progress(rows)
    flags = _disease_flags(columns)
    drafts = [_draft(e, flags, table) for e in columns.values()]
    _one_of_each(drafts)
    return Proposal(
        text=_head(table, rows, damaged, options) + _eye_warning(drafts) + "\n".join(d.text for d in drafts),
        columns=tuple(
            ProposedColumn(source=d.source, open_keys=tuple(d.open_keys), reasons=tuple(d.reasons)) for d in drafts
        ),
        rows=rows,
        damaged=tuple(damaged),
        facts=dict(table.facts),
    )


def _head(table: Table, rows: int, damaged: list[str], options: TableOptions | None) -> str:
    lines = [f"# Proposed from {table.name}: {rows} rows. Read it before you use it."]
    lines.append("# A key in `undecided` is open: take the comment sign off one of its choices.")
    if damaged:
        lines.append(f"# {len(damaged)} rows are damaged and will be rejected:")
        lines += [f"#   {d}" for d in damaged if d]
    lines += ["", "[table]"]
    names = {"utf-8-sig": "utf-8"}
    for key in ("encoding", "delimiter", "sheet"):
        if key in table.facts:
            lines.append(f"{key} = {toml(names.get(table.facts[key], table.facts[key]))}")
    if options is not None and options.merged == "fill":
        lines.append('merged = "fill"')
    lines += [f"# {note}" for note in table.notes]
    return "\n".join(lines) + "\n\n"


def _eye_warning(drafts: list[Draft]) -> str:
    """Say when rows are patients: an answer for two eyes is not the answer for one."""
    targets = [line for d in drafts for line in d.lines if line.startswith("to = ")]
    if any(t.startswith('to = "laterality"') for t in targets) or not any('"patient_id"' in t for t in targets):
        return ""
    return "# No column names an eye: rows are patients, and a label of a row may hold for one of two eyes only.\n\n"


def _draft(seen: ColumnEvidence, flags: frozenset[str], table: Table) -> Draft:
    draft = Draft(seen.name)
    name = _key(seen.name)
    if not seen.known:
        draft.set("drop", True, f"{seen.cells} cells, none holds a value")
    elif _exact(draft, seen) or _identity(draft, seen, name):
        pass
    elif seen.name in flags:
        draft.set(
            "to",
            f"label.disease.{seen.name}",
            f"{ODIR_LABELS[seen.name]}; all eight letters of the label set are there",
        )
        draft.set("type", "category")
        draft.set("levels", ["0", "1"], _counts(seen))
    elif name in _SEX:
        _sex(draft, seen)
    elif name in EYE_COLUMNS or seen.eyes == seen.known:
        _eye(draft, seen)
    elif seen.files >= 0.8 * seen.known:
        draft.ask(
            "to",
            f"{seen.share(seen.files)} are names of pictures; of which kind?",
            [(f"to = {toml(m)}", "") for m in _MODALITIES[:6]],
        )
        draft.set("type", "file")
    elif _dates(draft, seen, name, table):
        pass
    else:
        _content(draft, seen, name)
    words = ", ".join(f"{w!r} ({n})" for w, n in seen.missing.most_common(5))
    if words:
        draft.say(f"read as missing: {words}")
    return draft


def _exact(draft: Draft, seen: ColumnEvidence) -> bool:
    """Take a header that is the name of a target already."""
    name = seen.name
    if name in ("study_id", "patient_id"):
        return False
    if name in _MODALITIES:
        draft.set("to", name)
        draft.set("type", "file")
    elif name in ("visit", "split", "report"):
        draft.set("to", name)
        draft.set("type", "text")
    elif name.startswith("label."):
        draft.set("to", name)
        _levels(draft, seen, STANDARD_TASKS.get(name[6:]))
    else:
        return False
    return True


def _identity(draft: Draft, seen: ColumnEvidence, name: str) -> bool:
    if name in _PATIENT or name in _STUDY:
        draft.set("to", "patient_id" if name in _PATIENT else "study_id", "kept byte for byte")
    elif name in _EITHER:
        draft.ask(
            "to",
            f"it may name the patient or the study; {seen.repeated} of {seen.known} cells repeat an earlier one.",
            [('to = "patient_id"', ""), ('to = "study_id"', "only when no value repeats")],
        )
    elif name in _VISIT:
        draft.set("to", "visit")
        draft.set("type", "text")
        return True
    else:
        return False
    draft.set("type", "identifier")
    spaced = [w for w in seen.words if w != w.strip()]
    if spaced:
        draft.ask(
            "strip",
            f"cells such as {spaced[0]!r} have spaces at an end.",
            [("strip = true", "they are slips"), ("strip = false", "such rows are rejected")],
        )
    return True


def _sex(draft: Draft, seen: ColumnEvidence) -> None:
    words = LEVEL_WORDS["sex"]
    draft.set("to", "meta.sex")
    draft.set("type", "category")
    draft.set("levels", ["female", "male"])
    found = {w: words[w.strip().casefold()] for w in seen.words if w.strip().casefold() in words}
    strange = [w for w in seen.words if w not in found]
    if not strange:
        changed = {w: to for w, to in found.items() if w != to}
        if changed:
            draft.set("map", changed, _counts(seen))
        return
    codes = strange[:4]
    if len(codes) == 2 and not found:
        a, b = codes
        choices = [(f"map = {toml({a: 'male', b: 'female'})}", ""), (f"map = {toml({a: 'female', b: 'male'})}", "")]
    else:
        choices = [
            (f"map = {toml(found | dict.fromkeys(codes, 'female'))}", "write what each code means"),
            ("map = {}", "the others are rejected"),
        ]
    draft.ask("map", f"the codes {_counts(seen)} do not say which is male.", choices)


def _eye(draft: Draft, seen: ColumnEvidence) -> None:
    draft.set("to", "laterality")
    draft.set("type", "category")
    not_known = [w for w in seen.words if not _names_eye(w)]
    if seen.missing:
        codes = sorted(seen.missing)
        draft.ask(
            "missing",
            f"{', '.join(map(repr, codes))} in a column of eyes may be a code of its own.",
            [(f"missing = {toml(codes)}", "the eye is not known"), ("missing = []", "such rows are rejected")],
        )
    found = {w: eye.value for w in seen.words if (eye := _names_eye(w)) and w != eye.value}
    if not not_known:
        draft.set("levels", ["OD", "OS"], _counts(seen))
        if found:
            draft.set("map", found)
        return
    codes = not_known[:2]
    choices = [("map = {}", "such rows are rejected")]
    if len(codes) == 2 and len(not_known) == 2:
        a, b = codes
        choices = [
            (f"map = {toml({**found, a: 'OD', b: 'OS'})}", ""),
            (f"map = {toml({**found, a: 'OS', b: 'OD'})}", ""),
            *choices,
        ]
    draft.set("levels", ["OD", "OS"])
    draft.ask("map", f"{', '.join(map(repr, not_known[:6]))} name no eye.", choices)


def _names_eye(word: str) -> Laterality | None:
    try:
        return parse_laterality(word)
    except FundusionError:
        return None


def _dates(draft: Draft, seen: ColumnEvidence, name: str, table: Table) -> bool:
    days = seen.date_cells + seen.typed_dates + seen.short_years
    named = _DAY.search(name) is not None
    serial = (
        named
        and seen.numbers == seen.whole
        and seen.numbers >= 0.8 * seen.known
        and seen.low >= 1000
        and seen.high < 80_000
    )
    if not serial and (days < 0.8 * seen.known or (not named and seen.numbers == seen.date_cells)):
        return False
    own = "birth_date" if _BIRTH.search(name) else "exam_date" if _EXAM.search(name) else _slug(seen.name)
    draft.set("to", f"meta.{own}")
    if serial:
        serial_lines(draft, seen, table.facts.get("dates"))
    else:
        date_lines(draft, seen)
    if seen.odd:
        draft.say(
            f"{sum(seen.odd.values())} cells are no dates and will be rejected: {', '.join(map(repr, list(seen.odd)[:4]))}"
        )
    return True


def _content(draft: Draft, seen: ColumnEvidence, name: str) -> None:
    numbers = seen.numbers + sum(seen.cell_units.values()) + sum(seen.bounds.values())
    two_eyes = _TWO_EYES.search(seen.name) is not None
    if seen.quantity and (numbers + seen.fractions + sum(seen.low_vision.values()) >= 0.8 * seen.known):
        _target(draft, seen, f"meta.{seen.quantity if seen.is_named else _slug(seen.name)}", two_eyes)
        number_lines(draft, seen)
        if seen.low_vision:
            words = ", ".join(f"{w} {n}" for w, n in seen.low_vision.items())
            draft.say(f'{words}: words, unless low_vision = "schulze-bonsel" or "holladay" makes numbers of them')
    elif seen.pressures >= 0.8 * seen.known:
        draft.set("to", ["meta.sbp", "meta.dbp"], f"{seen.share(seen.pressures)} are systolic/diastolic")
        draft.set("type", "blood_pressure")
        draft.ask("unit", "the pressures state no unit.", [('unit = "mmHg"', ""), ('unit = "kPa"', "")])
    elif (
        numbers >= 0.8 * seen.known
        and (seen.has_more_words or len(seen.words) > 12 or seen.whole < seen.numbers)
        and not _ANSWER.search(name)
    ):
        _question_of_use(draft, seen, two_eyes)
        number_lines(draft, seen)
    elif seen.has_more_words or len(seen.words) > _MOST_LEVELS:
        _free_text(draft, seen, name)
    else:
        _question_of_use(draft, seen, two_eyes)
        _levels(draft, seen, None)


def _target(draft: Draft, seen: ColumnEvidence, target: str, two_eyes: bool) -> None:
    if two_eyes:
        draft.ask(
            "to",
            "the header names one eye, and a manifest has a row per eye.",
            [(f"to = {toml(f'meta.{_slug(seen.name)}')}", "both eyes as facts of the patient"), ("drop = true", "")],
        )
    else:
        draft.set(
            "to", target, "the header names it" if seen.is_named else f"the header names a kind of {seen.quantity}"
        )


def _question_of_use(draft: Draft, seen: ColumnEvidence, two_eyes: bool) -> None:
    slug = _slug(seen.name)
    if seen.name.startswith("meta."):
        draft.set("to", seen.name)
        return
    standard = next((t for t in STANDARD_TASKS if slug.startswith(t) or t in slug), None)
    choices = [(f"to = {toml(f'label.{standard or slug}')}", "it is what a network shall answer"),
               (f"to = {toml(f'meta.{slug}')}", "it is known before the answer, an input"), ("drop = true", "")]  # fmt: skip
    why = "a fact of the patient or an answer? An answer that is given as an input is a leak."
    draft.ask(
        "to", why if not two_eyes else f"the header names one eye, and a manifest has a row per eye; {why}", choices
    )


def _free_text(draft: Draft, seen: ColumnEvidence, name: str) -> None:
    if name in _REPORT:
        draft.set("to", "report", f"text of up to {seen.longest} characters")
    else:
        draft.ask(
            "to",
            f"text of up to {seen.longest} characters, with more than {len(seen.words)} different values.",
            [('to = "report"', "what was written at the visit"), (f"to = {toml(f'meta.{_slug(seen.name)}')}", ""),
             ("drop = true", "text that was written from the label gives the answer away")],
        )  # fmt: skip
    draft.set("type", "text")


def _levels(draft: Draft, seen: ColumnEvidence, task: Any) -> None:
    draft.set("type", "category", _counts(seen))
    if task is not None and task.kind == "multilabel":
        return
    plain = {w: _whole(w) for w in seen.words}
    levels = sorted(set(plain.values()), key=lambda w: (len(w), w))
    draft.set("levels", list(task.labels) if task is not None else levels)
    changed = {w: to for w, to in plain.items() if w != to}
    outside = [w for w in levels if task is not None and w not in task.labels]
    if outside:
        draft.say(f"outside the set and rejected: {', '.join(map(repr, outside[:8]))}")
    changed = {w: to for w, to in changed.items() if to not in outside}
    if any(len(g) > 1 for g in _spellings(seen.words)):
        draft.ask(
            "map",
            f"one value is written in several ways: {_counts(seen)}.",
            [(f"map = {toml(changed)}", "they are the same"), ("map = {}", "such rows are rejected")],
        )
    elif changed:
        draft.set("map", changed, "every whole number is written so")
    codes = [w for w in levels if w in ("-1", "-9", "-99", "-100", "9", "99", "999")]
    if codes and len(levels) > len(codes):
        draft.ask(
            "missing",
            f"{', '.join(codes)} may stand for a missing value.",
            [(f"missing = {toml(codes)}", "they are codes"), ("missing = []", "they are values")],
        )


def _whole(word: str) -> str:
    """Return the digits of a whole number that is written as 2.0, or with spaces at an end."""
    match = re.fullmatch(r"\s*([+-]?\d+)(?:\.0+)?\s*", word)
    return match[1] if match else word.strip()


def _disease_flags(columns: dict[str, ColumnEvidence]) -> frozenset[str]:
    letters = [columns[c] for c in ODIR_LABELS if c in columns]
    same = len(letters) == len(ODIR_LABELS) and all(set(e.words) <= {"0", "1"} for e in letters)
    return frozenset(ODIR_LABELS) if same else frozenset()


def _one_of_each(drafts: list[Draft]) -> None:
    """Ask where two columns would become one target."""
    seen: dict[str, list[Draft]] = {}
    for draft in drafts:
        for line in draft.lines:
            if line.startswith("to = "):
                seen.setdefault(line.split("  #")[0], []).append(draft)
    for line, group in seen.items():
        if len(group) < 2:
            continue
        names = ", ".join(d.source for d in group)
        for draft in group:
            index = next(i for i, text in enumerate(draft.lines) if text.startswith("to = "))
            draft.lines.pop(index)
            kept = draft.lines
            draft.lines = []
            draft.ask(
                "to",
                f"{names} would all become one column.",
                [(line, "one of them only"), (f"to = {toml(f'meta.{_slug(draft.source)}')}", ""), ("drop = true", "")],
            )
            draft.lines += kept
            quantity = line.removeprefix('to = "meta.').rstrip('"')
            if not any(t.startswith("quantity") for t in kept) and any(t.startswith(("unit", "# unit")) for t in kept):
                draft.lines.append(f"quantity = {toml(quantity)}")


def _counts(seen: ColumnEvidence) -> str:
    shown = ", ".join(f"{w!r} {n}" for w, n in seen.words.most_common(8))
    return shown + (", ..." if len(seen.words) > 8 or seen.has_more_words else "")


def _key(name: str) -> str:
    bare = name.removeprefix("meta.")
    return "".join(c for c in unicodedata.normalize("NFKC", bare).casefold() if c.isalnum())


def _slug(name: str) -> str:
    """Return a header as the end of a target name.

    Example:
        >>> _slug("Patient Age (years)")
        'patient_age_years'
    """
    folded = unicodedata.normalize("NFKC", name.removeprefix("meta.")).casefold()
    return re.sub(r"\W+", "_", folded).strip("_") or "column"
