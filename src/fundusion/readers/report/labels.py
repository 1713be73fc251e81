"""Weak labels from reports: what a report says becomes 1 or 0, what it does not say stays empty.

Only "present" makes a 1 and only "absent" makes a 0; doubt, history, plans and relatives make nothing. Two statements of one
eye that contradict each other make nothing either, and are listed. Statements about the other eye are never used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...core.errors import FundusionError
from ...core.study import is_missing
from ...core.vocabulary import ODIR_LABELS, Laterality, parse_laterality
from .reading import read_report
from .statements import ReportFinding, ReportReading
from .terms import known_terms

#: Findings that an explicit "absent" of another one includes.
_INCLUDES: Mapping[str, tuple[str, ...]] = {
    "retinopathy": ("diabetic_retinopathy", "hypertensive_retinopathy"),
    "diabetic_retinopathy": ("nonproliferative_diabetic_retinopathy", "proliferative_diabetic_retinopathy"),
}
#: A whole fundus that is normal says these are absent. The lens is not the fundus, so cataract stays unknown.
_NORMAL_LETTERS = "DGAHMO"
_NOT_A_DISEASE = frozenset({"treatment", "symptom", "normal"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLabels:
    """What one report says as labels.

    Args:
        disease: ODIR letter to 1, 0 or None (not said).
        dr_grade: ICDR grade "0" to "4", or None.
        findings: Code to 1 or 0; what is not said is not in it.
        conflicts: What was left empty because two statements contradict each other.
        notes: Codes of why statements were not used, such as `laterality.unknown`.
    """

    disease: Mapping[str, int | None]
    dr_grade: str | None = None
    findings: Mapping[str, int] = field(default_factory=dict)
    conflicts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelTable:
    """Labels of many reports.

    Args:
        columns: Names of the new columns in order.
        rows: One mapping per row, in the order of the input; None for a row that was rejected.
        readings: Reading of each row; None for a row that was rejected.
        conflicts: Row number (from 0) and what contradicts.
        rejected: Row number, code and message.
        notes: Row number and code of why statements were not used.
    """

    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str] | None, ...]
    readings: tuple[ReportReading | None, ...]
    conflicts: tuple[tuple[int, str], ...] = ()
    rejected: tuple[tuple[int, str, str], ...] = ()
    notes: tuple[tuple[int, str], ...] = ()

    def counts(self) -> list[tuple[str, int, int, int]]:
        """Return column, number of 1 (or graded), number of 0, number empty."""
        answer = []
        for column in self.columns:
            cells = [row[column] for row in self.rows if row is not None]
            if column == "label.dr_grade":
                answer.append((column, sum(c not in ("", "0") for c in cells), cells.count("0"), cells.count("")))
            else:
                answer.append((column, cells.count("1"), cells.count("0"), cells.count("")))
        return answer


def label_report(reading: ReportReading, laterality: Laterality | None = None) -> RowLabels:
    """Return the labels of one eye.

    Args:
        reading: What the report says.
        laterality: Eye of the row. None uses statements that name no eye or both; when the report names one eye, it is
            not known whether the row is that eye, and the statement is not used.

    Example:
        >>> reading = read_report("OD: mild NPDR. OS: no diabetic retinopathy, possible glaucoma.")
        >>> right, left = label_report(reading, Laterality.RIGHT), label_report(reading, Laterality.LEFT)
        >>> right.dr_grade, right.disease["D"], left.dr_grade, left.disease["D"], left.disease["G"]
        ('1', 1, '0', 0, None)
    """
    used, notes = _statements(reading, laterality)
    states: dict[str, set[str]] = {}
    for finding in used:
        if finding.status in ("present", "absent", "uncertain"):
            states.setdefault(finding.code, set()).add(finding.status)
    conflicts = [
        f"{known_terms()[code].title}: said to be present and absent"
        for code, said in states.items()
        if {"present", "absent"} <= said
    ]
    known = {c: s for c, s in states.items() if not {"present", "absent"} <= s and "uncertain" not in s}
    present = {c for c, s in known.items() if s == {"present"}}
    absent = {c for c, s in known.items() if s == {"absent"}}
    for code in list(absent):
        for part in _INCLUDES.get(code, ()):
            absent |= {part, *_INCLUDES.get(part, ())} - set(states)
    doubtful = {c for c in states if c not in known}
    grade, grade_conflict = _grade(used, absent, present, doubtful)
    if grade_conflict:
        conflicts.append(grade_conflict)
    disease, disease_conflicts = _letters(present, absent, doubtful)
    conflicts += disease_conflicts
    findings = {**dict.fromkeys(sorted(present), 1), **dict.fromkeys(sorted(absent), 0)}
    findings.pop("ambiguous_mh", None)
    return RowLabels(disease=disease, dr_grade=grade, findings=findings, conflicts=tuple(conflicts), notes=tuple(notes))


def _statements(reading: ReportReading, laterality: Laterality | None) -> tuple[list[ReportFinding], list[str]]:
    named = reading.named_eyes
    notes: list[str] = []
    used = []
    for finding in reading.findings:
        if laterality is None:
            mine = not finding.eyes or len(finding.eyes) == 2
            if not mine and "laterality.unknown" not in notes:
                notes.append("laterality.unknown")
        elif finding.eyes:
            mine = laterality in finding.eyes
        else:
            # A statement that names no eye belongs to this row unless the report speaks of another eye too.
            mine = not named or named == (laterality,)
            if not mine and "laterality.not_named" not in notes:
                notes.append("laterality.not_named")
        if mine:
            used.append(finding)
    return used, notes


def _grade(
    used: Sequence[ReportFinding], absent: set[str], present: set[str], doubtful: set[str]
) -> tuple[str | None, str | None]:
    """Return the ICDR grade and what contradicts."""
    grades = {
        f.grade[1]
        for f in used
        if f.grade and f.grade[0] == "icdr" and f.status == "present" and f.code not in doubtful
    }
    nothing = "diabetic_retinopathy" in absent or {
        "nonproliferative_diabetic_retinopathy", "proliferative_diabetic_retinopathy"} <= absent  # fmt: skip
    if nothing or (present == {"normal_fundus"} and not doubtful):
        grades.add("0")
    if len(grades) > 1:
        return None, f"retinopathy grades {', '.join(sorted(grades))}"
    if any(code.endswith("diabetic_retinopathy") for code in doubtful):
        return None, None
    return (grades.pop() if grades else None), None


def _letters(present: set[str], absent: set[str], doubtful: set[str]) -> tuple[dict[str, int | None], list[str]]:
    terms = known_terms()
    disease: dict[str, int | None] = dict.fromkeys(ODIR_LABELS)
    doubted = {terms[c].letter for c in doubtful}
    abnormal = {c for c in present if terms[c].kind not in _NOT_A_DISEASE}
    conflicts: list[str] = []
    for code in present - {"normal_fundus"}:
        letter = terms[code].letter
        if letter is not None:
            disease[letter] = 1
    for letter, whole in _WHOLE.items():
        if disease[letter] is None and whole in absent and letter not in doubted:
            disease[letter] = 0
    if "normal_fundus" in present:
        # Cataract or a symptom beside a normal fundus is no contradiction; a lesion of the fundus is.
        of_fundus = {c for c in abnormal if terms[c].letter != "C"}
        if of_fundus:
            conflicts.append(f"fundus said to be normal, with {', '.join(terms[c].title for c in sorted(of_fundus))}")
        else:
            disease["N"] = 0 if disease["C"] == 1 else None if doubtful else 1
            for letter in _NORMAL_LETTERS:
                if disease[letter] is None and letter not in doubted:
                    disease[letter] = 0
    elif abnormal or "normal_fundus" in absent:
        disease["N"] = 0
    return disease, conflicts


#: The finding whose absence says that a letter is 0. One "other" finding that is absent says nothing of the rest.
_WHOLE = {
    "D": "diabetic_retinopathy",
    "G": "glaucoma",
    "C": "cataract",
    "A": "age_related_macular_degeneration",
    "H": "hypertensive_retinopathy",
    "M": "pathological_myopia",
}


def label_rows(
    rows: Iterable[Mapping[str, Any]],
    *,
    text_column: str = "report",
    language: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LabelTable:
    """Return the labels of a table with a report in each row.

    A column `laterality` is used when it is there, `patient_id` is compared with numbers in the text. An empty report is
    a row without labels, not a rejected one.

    Args:
        rows: Cells by column name.
        text_column: Column of the report.
        language: "en", "zh" or None.
        progress: Called with what is done and the total.
    """
    given = list(rows)
    answers: list[RowLabels | None] = []
    readings: list[ReportReading | None] = []
    rejected: list[tuple[int, str, str]] = []
    for i, row in enumerate(given):
        try:
            eye = parse_laterality(None if is_missing(row.get("laterality")) else row["laterality"])
            cell = row.get(text_column)
            patient = row.get("patient_id")
            reading = read_report(
                None if is_missing(cell) else str(cell),
                language=language,
                laterality=eye,
                patient_id=None if is_missing(patient) else str(patient),
            )
            stranger = next((f for f in reading.flags if f.code == "identity.other_patient"), None)
            if stranger is not None:
                raise FundusionError(stranger.message, code=stranger.code, hint="Check the report of this row.")
        except FundusionError as error:
            rejected.append((i, error.code, error.message))
            answers.append(None)
            readings.append(None)
        else:
            answers.append(label_report(reading, eye))
            readings.append(reading)
        if progress is not None:
            progress(i + 1, len(given))
    codes = sorted({c for a in answers if a is not None for c in a.findings})
    columns = (*(f"label.disease.{k}" for k in ODIR_LABELS), "label.dr_grade", *(f"label.findings.{c}" for c in codes))
    return LabelTable(
        columns=columns,
        rows=tuple(None if a is None else _cells(a, codes) for a in answers),
        readings=tuple(readings),
        conflicts=tuple((i, c) for i, a in enumerate(answers) if a is not None for c in a.conflicts),
        rejected=tuple(rejected),
        notes=tuple((i, n) for i, a in enumerate(answers) if a is not None for n in a.notes),
    )


def _cells(labels: RowLabels, codes: Sequence[str]) -> dict[str, str]:
    cells = {f"label.disease.{k}": "" if v is None else str(v) for k, v in labels.disease.items()}
    cells["label.dr_grade"] = labels.dr_grade or ""
    return cells | {f"label.findings.{c}": str(labels.findings[c]) if c in labels.findings else "" for c in codes}
