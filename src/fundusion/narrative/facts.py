"""What may be said of one study: its result as facts with a status, a probability and an identifier each.

Two findings that speak of the same thing and disagree are one uncertain fact; a finding over its threshold whose probability
still speaks against it is uncertain too. So no sentence can be surer than the numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..core.results import Finding, Measurement, Prediction, Quality, StudyResult
from ..core.vocabulary import REFERABLE_ICDR_GRADE, Laterality
from .names import DIABETIC, REFERABLE, code_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One finding as it may be worded.

    Args:
        code: Stable code.
        status: "present", "absent" or "uncertain".
        probability: Behind the status; None when there is none.
        evidence: Identifiers of the findings it rests on, "task/name".
        contested: Whether two findings disagree on it.
    """

    code: str
    status: str
    probability: float | None
    evidence: tuple[str, ...]
    contested: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeFact:
    """The ICDR grade: its number as text, whether it is "present" (stated) or "uncertain", and its probability."""

    label: str
    status: str
    probability: float | None
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Everything that may be said of one study.

    Args:
        laterality: Its eye; None when it is not stated, and then no eye may be named.
        findings: One fact per code.
        grade: Of diabetic retinopathy; None when no head gives one.
        measurements: With a value or the reason why there is none.
        used: Modalities the answer rests on.
        missing: Modalities the model could have used and did not have.
        quality: Verdict of the gate.
        refusal: Code of the rejection; None for an accepted study.
    """

    laterality: Laterality | None = None
    findings: tuple[Fact, ...] = ()
    grade: GradeFact | None = None
    measurements: tuple[Measurement, ...] = ()
    used: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    quality: Quality | None = None
    refusal: str | None = None

    def of(self, code: str) -> Fact | None:
        """Return the fact of a code."""
        return next((f for f in self.findings if f.code == code), None)

    def measurement(self, name: str) -> Measurement | None:
        """Return the measurement of a name."""
        return next((m for m in self.measurements if m.name == name), None)

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of all findings that were looked for."""
        return tuple(f.code for f in self.findings)


def facts_of(result: StudyResult) -> Facts:
    """Return what may be said of a result.

    Example:
        >>> p = Prediction(task="disease", kind="multilabel", probabilities={"G": 0.31})
        >>> f = Finding(name="glaucoma", status="present", certainty=0.31, task="disease", text="")
        >>> facts = facts_of(StudyResult(study_id="a", patient_id=None, laterality="OD", status="ok", code="ok",
        ...                              predictions={"disease": p}, findings=(f,)))
        >>> facts.findings[0].status, facts.findings[0].evidence
        ('uncertain', ('disease/glaucoma',))
    """
    eye = Laterality(result.laterality) if result.laterality else None
    if result.status != "ok" or (result.quality is not None and not result.quality.gradable):
        code = result.code if result.status != "ok" else "quality.ungradable"
        return Facts(laterality=eye, quality=result.quality, refusal=code)
    facts = _merged([_fact(f) for f in result.findings if f.status in ("present", "absent", "uncertain")])
    grade = _grade(result.predictions.get("dr_grade"))
    facts, grade = _settled(facts, grade)
    return Facts(
        laterality=eye,
        findings=tuple(facts),
        grade=grade,
        measurements=_told(result.measurements),
        used=tuple(m for m, use in result.modalities.items() if use.used),
        missing=tuple(m for m, use in result.modalities.items() if not use.present),
        quality=result.quality,
    )


#: Measurements of a photograph that have words here, under the names they are told by. The many others stand in tables.
_WORDED = {
    "vcdr": ("vertical_cup_to_disc_ratio", "ratio"),
    "density_vessels": ("vessel_density", "ratio"),
    "fractal_dimension_vessels": ("fractal_dimension", "1"),
    "avr_zone_b": ("arteriovenous_ratio", "ratio"),
}


def _told(measurements: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Return what may be told: of several photographs the first that has a value, else the first."""
    told = [m for m in measurements if m.image is None]
    for name, (code, unit) in _WORDED.items():
        mine = [m for m in measurements if m.image is not None and m.name == name]
        best = next((m for m in mine if m.value is not None), mine[0] if mine else None)
        if best is not None:
            told.append(replace(best, name=code, unit=unit))
    return tuple(told)


def _fact(finding: Finding) -> Fact:
    faint = finding.status == "present" and finding.certainty is not None and finding.certainty < 0.5
    return Fact(
        code=code_of(finding.name),
        status="uncertain" if faint else finding.status,
        probability=finding.certainty,
        evidence=(f"{finding.task}/{finding.name}",),
    )


def _merged(facts: Sequence[Fact]) -> list[Fact]:
    merged: dict[str, Fact] = {}
    for fact in facts:
        known = merged.get(fact.code)
        if known is None:
            merged[fact.code] = fact
            continue
        same = known.status == fact.status
        merged[fact.code] = replace(
            known,
            status=known.status if same else "uncertain",
            probability=known.probability if same else None,
            evidence=(*known.evidence, *fact.evidence),
            contested=known.contested or not same,
        )
    return list(merged.values())


def _grade(prediction: Prediction | None) -> GradeFact | None:
    if prediction is None or prediction.label not in ("0", "1", "2", "3", "4"):
        return None
    p = prediction.probabilities.get(prediction.label)
    sure = prediction.decision != "uncertain" and (p is None or p >= 0.5)
    return GradeFact(
        label=prediction.label,
        status="present" if sure else "uncertain",
        probability=p,
        evidence=(f"dr_grade/{prediction.label}",),
    )


def _settled(facts: list[Fact], grade: GradeFact | None) -> tuple[list[Fact], GradeFact | None]:
    """Return facts on diabetic retinopathy that do not contradict each other: where they did, all are uncertain."""
    known = {f.code: f for f in facts}
    there, referable = known.get(DIABETIC), known.get(REFERABLE)
    answers = set()
    if there is not None and there.status != "uncertain":
        answers.add(there.status == "present")
    if grade is not None and grade.status == "present":
        answers.add(int(grade.label) > 0)
    if referable is not None and referable.status == "present":
        answers.add(True)
    high = grade is not None and grade.status == "present" and int(grade.label) >= REFERABLE_ICDR_GRADE
    clash = (
        referable is not None
        and grade is not None
        and grade.status == "present"
        and ((referable.status == "absent" and high) or (referable.status == "present" and not high))
    )
    if len(answers) < 2 and not clash:
        return facts, grade
    doubted = [
        replace(f, status="uncertain", contested=True)
        if f.code in (DIABETIC, REFERABLE) and (len(answers) > 1 or f.code == REFERABLE)
        else f
        for f in facts
    ]
    return doubted, replace(grade, status="uncertain") if grade is not None else None
