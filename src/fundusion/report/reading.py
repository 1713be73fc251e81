"""What a written report says of the labelled findings, set beside what the network says. Text is data, never an instruction.

The reading itself is `readers.report`; here its statements get the names of the findings and are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.results import Finding
from ..core.vocabulary import ODIR_LABELS, Laterality
from ..readers import report as reader


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportStatement:
    """One thing a report says.

    Args:
        name: Title of the finding, as in `Finding.name`.
        status: "present", "absent" or "uncertain".
        phrase: The sentence it was read from.
        span: Start and end of the term in the text.
        laterality: Eye it speaks of; None when the text names none or both.
    """

    name: str
    status: str
    phrase: str
    span: tuple[int, int]
    laterality: Laterality | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How the report and the findings relate on one point: "agrees", "contradicts", "open", "only in report", "other eye"."""

    name: str
    verdict: str
    statement: ReportStatement
    finding: Finding | None = None


#: Code of a statement -> label it is compared with.
_COMPARED = {
    "diabetic_retinopathy": "D",
    "nonproliferative_diabetic_retinopathy": "D",
    "proliferative_diabetic_retinopathy": "D",
    "microaneurysm": "D",
    "glaucoma": "G",
    "neovascular_glaucoma": "G",
    "cataract": "C",
    "age_related_macular_degeneration": "A",
    "drusen": "A",
    "hypertensive_retinopathy": "H",
    "pathological_myopia": "M",
}
#: "No PDR" does not say that there is no retinopathy: of these only "present" and "uncertain" are compared.
_PART_OF_MORE = frozenset(
    {"nonproliferative_diabetic_retinopathy", "proliferative_diabetic_retinopathy", "neovascular_glaucoma"}
)
#: Note of a report that names another patient; such a report is compared with nothing.
OTHER_PATIENT = "report.identity.other_patient"
_COMPARED_STATUS = frozenset({"present", "absent", "uncertain"})


def read_report(text: str | None) -> tuple[ReportStatement, ...]:
    """Return what a report says of the labelled findings today; history, plans and relatives are left out.

    Example:
        >>> [(s.name, s.status) for s in read_report("No cataract. Possible glaucoma in the left eye.")]
        [('cataract', 'absent'), ('glaucoma', 'uncertain')]
        >>> [(s.name, s.status) for s in read_report("右眼未见白内障，可疑青光眼。")]
        [('cataract', 'absent'), ('glaucoma', 'uncertain')]
    """
    statements: list[ReportStatement] = []
    for finding in reader.read_report(text).findings:
        letter = _COMPARED.get(finding.code)
        if letter is None or finding.status not in _COMPARED_STATUS:
            continue
        if finding.status == "absent" and (finding.code in _PART_OF_MORE or (finding.grade or ("", "0"))[1] != "0"):
            continue
        statements.append(
            ReportStatement(
                name=ODIR_LABELS[letter],
                status=finding.status,
                phrase=(text or "")[slice(*finding.sentence)].strip(),
                span=finding.span,
                laterality=finding.eyes[0] if len(finding.eyes) == 1 else None,
            )
        )
    return tuple(statements)


def report_notes(
    text: str | None, *, laterality: Laterality | None = None, patient_id: str | None = None
) -> tuple[str, ...]:
    """Return the codes of what a person should know about a report, for the notes of a result.

    Example:
        >>> report_notes("MRN 00124. Cataract OS.", laterality=Laterality.RIGHT, patient_id="00123")
        ('report.identity.other_patient', 'report.laterality.only_other_eye')
    """
    if not text:
        return ()
    flags = reader.read_report(text, laterality=laterality, patient_id=patient_id).flags
    return tuple(dict.fromkeys(f"report.{f.code}" for f in flags))


def compare_with_report(
    findings: Sequence[Finding], statements: Sequence[ReportStatement], laterality: Laterality | None
) -> tuple[Agreement, ...]:
    """Return how each statement relates to the findings.

    Statements about the other eye are marked so and compared with nothing. When the eye of the study is not known, a
    statement that names an eye is marked "other eye" too, because it cannot be placed.
    """
    known = {f.name: f for f in findings}
    referable = known.get("referable diabetic retinopathy")
    result: list[Agreement] = []
    for statement in statements:
        if statement.laterality is not None and statement.laterality != laterality:
            result.append(Agreement(name=statement.name, verdict="other eye", statement=statement))
            continue
        finding = known.get(statement.name) or (referable if statement.name == "diabetic retinopathy" else None)
        if finding is None:
            verdict = "only in report"
        elif "uncertain" in (finding.status, statement.status):
            verdict = "open"
        else:
            verdict = "agrees" if finding.status == statement.status else "contradicts"
        result.append(Agreement(name=statement.name, verdict=verdict, statement=statement, finding=finding))
    return tuple(result)
