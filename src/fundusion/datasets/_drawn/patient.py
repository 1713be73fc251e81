"""Facts of an imaginary patient and eye, from which pictures, table, report and labels all follow."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core.errors import InvalidInput
from ...core.vocabulary import Laterality

#: Labels of the task "systemic" and what shows them.
SYSTEMIC_LABELS: dict[str, str] = {
    "haemorrhage": "photograph: a retinal haemorrhage is drawn",
    "subretinal_fluid": "B-scan: fluid lifts the retina",
    "vascular_risk": "table: the chance rises with HbA1c and systolic pressure",
    "retinal_tear": "report: flashes or a curtain are complained of",
    "glaucoma": "photograph and table: a large cup and a high intraocular pressure, both",
    "needs_injection": "B-scan and report: fluid, and no injection in the last months",
}

#: Share of labels of "systemic" that are turned round at random, so that no reader can be perfect.
LABEL_NOISE = 0.04

#: Cut points of the severity of a diabetic eye between the ICDR grades.
_GRADE_CUTS = (-0.75, -0.25, 0.55, 1.15)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientFacts:
    """What both eyes share. Ages and durations in years, HbA1c in %, pressure in mmHg; duration 0 without diabetes."""

    age: float
    sex: str
    diabetic: bool
    duration: float
    hba1c: float
    sbp: float
    severity: float
    pigment: float
    tessellation: float
    camera: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EyeFacts:
    """What is true of one eye.

    Args:
        patient: Shared facts.
        laterality: Which eye.
        grade: ICDR grade.
        cup_to_disc: Ratio of radii, 0.2-0.45 or 0.6-0.82.
        iop: Intraocular pressure, mmHg; at least 22 is high.
        myopia: Pathological myopia.
        cataract: Haze in [0, 1]; 0 is a clear lens.
        drusen: Age-related macular degeneration with drusen.
        hypertensive: Hypertensive retinopathy.
        fluid: Subretinal fluid in the B-scan; the photograph does not show it.
        oedema: Cystoid oedema in the B-scan.
        leakage: Late leakage in the angiogram.
        detachment: Retinal detachment in the ultrasound.
        vitreous_haemorrhage: Echoes in the vitreous in the ultrasound.
        flashes: Flashes or a curtain are complained of.
        injected: An anti-VEGF injection in the last three months.
    """

    patient: PatientFacts
    laterality: Laterality
    grade: int
    cup_to_disc: float
    iop: float
    myopia: bool = False
    cataract: float = 0.0
    drusen: bool = False
    hypertensive: bool = False
    fluid: bool = False
    oedema: bool = False
    leakage: bool = False
    detachment: bool = False
    vitreous_haemorrhage: bool = False
    flashes: bool = False
    injected: bool = False

    @property
    def large_cup(self) -> bool:
        """Whether the cup is large enough to be suspect."""
        return self.cup_to_disc >= 0.6

    @property
    def high_pressure(self) -> bool:
        """Whether the intraocular pressure is above 21 mmHg."""
        return self.iop > 21

    @property
    def glaucoma(self) -> bool:
        """Large cup and high pressure; either alone is no disease here."""
        return self.large_cup and self.high_pressure


def draw_patient(generator: np.random.Generator, *, diabetic: bool | None = None) -> PatientFacts:
    """Return a patient: 65 % are diabetic, about as in a clinic that screens."""
    from .photograph import CAMERAS

    age = float(np.clip(generator.normal(60, 13), 22, 92))
    sex = "female" if generator.random() < 0.5 else "male"
    has = bool(generator.random() < 0.65) if diabetic is None else diabetic
    duration = float(np.clip(generator.gamma(2.0, 5.0), 0.5, max(1.0, age - 15)))
    hba1c = float(np.clip(generator.normal(8.1, 1.5), 5.4, 14)), float(np.clip(generator.normal(5.6, 0.35), 4.4, 6.4))
    pressure = float(np.clip(generator.normal(134 + 0.35 * (age - 60), 17), 90, 215))
    severity = float(generator.standard_normal())
    return PatientFacts(
        age=round(age),
        sex=sex,
        diabetic=has,
        duration=round(duration, 1) if has else 0.0,
        hba1c=round(hba1c[0] if has else hba1c[1], 1),
        sbp=round(pressure),
        severity=severity,
        pigment=float(generator.beta(2.2, 2.4)),
        tessellation=float(generator.beta(1.3, 2.5)),
        camera=list(CAMERAS)[int(generator.integers(len(CAMERAS)))],
    )


def draw_facts(
    generator: np.random.Generator, patient: PatientFacts, laterality: Laterality, *, grade: int | None = None
) -> EyeFacts:
    """Return the facts of one eye of a patient.

    Args:
        generator: Source of chance.
        patient: Age, diabetes and pressure change the chances.
        laterality: Which eye.
        grade: ICDR grade, or None to draw one.

    Raises:
        InvalidInput: The grade is not 0-4.
    """
    if grade is not None and (isinstance(grade, bool) or grade not in range(5)):
        raise InvalidInput(f"grade is {grade!r}; needed is 0, 1, 2, 3 or 4.", code="synthetic.grade")
    chance = generator.random(12)
    own = generator.standard_normal()
    drawn = 0
    if patient.diabetic:
        control = 0.25 * (patient.duration - 10) / 7 + 0.2 * (patient.hba1c - 8.1) / 1.5
        drawn = int(np.searchsorted(_GRADE_CUTS, 0.75 * patient.severity + 0.5 * own + control))
    level = drawn if grade is None else int(grade)
    large, high = chance[0] < 0.42, chance[1] < 0.45
    cup = generator.uniform(0.62, 0.82) if large else generator.uniform(0.22, 0.45)
    pressure = np.clip(generator.normal(27, 3.5), 22, 45) if high else np.clip(generator.normal(15, 2.6), 8, 20.5)
    old = (patient.age - 60) / 10
    haze = generator.uniform(0.3, 0.85)
    fluid = bool(chance[5] < 0.35)
    return EyeFacts(
        patient=patient,
        laterality=laterality,
        grade=level,
        cup_to_disc=round(float(cup), 3),
        iop=round(float(pressure), 1),
        myopia=bool(chance[2] < 0.08),
        cataract=float(haze) if chance[3] < _logistic(-2.3 + 0.9 * old) else 0.0,
        drusen=bool(chance[4] < _logistic(-2.6 + 0.9 * old)),
        hypertensive=bool(chance[6] < _logistic(-3.0 + 0.05 * (patient.sbp - 135))) and level < 3,
        fluid=fluid,
        oedema=bool(chance[7] < (0.03, 0.05, 0.22, 0.35, 0.35)[level]),
        leakage=level >= 3 or (fluid and bool(chance[8] < 0.6)),
        detachment=bool(chance[9] < 0.07),
        vitreous_haemorrhage=bool(chance[10] < (0.35 if level == 4 else 0.04)),
        flashes=bool(chance[11] < 0.35),
        injected=bool(generator.random() < 0.45),
    )


def table_of(generator: np.random.Generator, facts: EyeFacts, *, empty: float = 0.06) -> dict[str, Any]:
    """Return the cells of the patient table; a share `empty` of them is None.

    Units:
        age and duration years, hba1c %, sbp and iop mmHg.
    """
    patient = facts.patient
    cells: dict[str, Any] = {
        "age": float(patient.age),
        "sex": patient.sex,
        "hba1c": patient.hba1c,
        "sbp": float(patient.sbp),
        "iop": facts.iop,
        "duration": patient.duration,
    }
    lost = generator.random(len(cells)) < empty
    return {name: None if gone else cell for (name, cell), gone in zip(cells.items(), lost, strict=True)}


def labels_of(generator: np.random.Generator, facts: EyeFacts, *, haemorrhage: bool) -> dict[str, Any]:
    """Return the labels of an eye: `dr_grade`, `referable`, `disease` and `systemic`.

    Args:
        generator: Decides noise and the chance of `vascular_risk`.
        facts: What is true.
        haemorrhage: Whether the photograph shows one.
    """
    risk = _logistic(1.2 * (facts.patient.hba1c - 7.6) + 0.035 * (facts.patient.sbp - 135))
    truth = {
        "haemorrhage": haemorrhage,
        "subretinal_fluid": facts.fluid,
        "vascular_risk": bool(generator.random() < risk),
        "retinal_tear": facts.flashes,
        "glaucoma": facts.glaucoma,
        "needs_injection": facts.fluid and not facts.injected,
    }
    turned = generator.random(len(truth)) < LABEL_NOISE
    turned[2] = False  # its noise is the chance itself
    systemic = {k: float(v != bool(t)) for (k, v), t in zip(truth.items(), turned, strict=True)}
    return {
        "dr_grade": float(facts.grade),
        "referable": float(facts.grade >= 2),
        "disease": diseases_of(facts),
        "systemic": systemic,
    }


def diseases_of(facts: EyeFacts) -> dict[str, float]:
    """Return the eight ODIR-style labels; O stands for what only B-scan or ultrasound shows, N for none of the others."""
    holds = {
        "D": facts.grade > 0,
        "G": facts.glaucoma,
        "C": facts.cataract > 0,
        "A": facts.drusen,
        "H": facts.hypertensive,
        "M": facts.myopia,
        "O": facts.fluid or facts.detachment or facts.vitreous_haemorrhage,
    }
    return {"N": float(not any(holds.values())), **{k: float(v) for k, v in holds.items()}}


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))
