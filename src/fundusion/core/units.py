"""Quantities that clinics record: names, units, exact conversions, plausible ranges. The one place for all of them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import acuity
from .errors import InvalidInput

Conversion = Callable[[float], float]

#: Pascal in one conventional millimetre of mercury. Source: NIST SP 811, appendix B.8.
PA_PER_MMHG = 133.322387415
#: Kilogram in one international avoirdupois pound, exact. Source: NIST SP 811, appendix B.8.
KG_PER_LB = 0.45359237
#: Centimetre in one international inch, exact. Source: NIST SP 811, appendix B.8.
CM_PER_INCH = 2.54
#: Days in one Julian year, exact by definition. Source: IAU recommendations concerning units, 1989.
DAYS_PER_YEAR = 365.25
#: NGSP % = 0.09148 IFCC + 2.152. Source: Hoelzel et al. 2004, doi:10.1373/clinchem.2003.024802; NGSP master equation.
NGSP_SLOPE, NGSP_OFFSET = 0.09148, 2.152
#: Tenth of the molar mass in g/mol: mg/dL in one mmol/L. Glucose C6H12O6 180.156. Source: IUPAC standard atomic weights.
GLUCOSE = 18.0156
#: Cholesterol, and HDL and LDL as cholesterol: 386.7 g/mol. Source: the rounding of NCEP ATP III and of laboratories.
CHOLESTEROL = 38.67
#: Triglycerides as a mean of 885.7 g/mol. Source: the rounding of NCEP ATP III and of laboratories.
TRIGLYCERIDES = 88.57
#: Creatinine C4H7N3O 113.12 g/mol: umol/L in one mg/dL. Source: IUPAC standard atomic weights.
CREATININE = 88.402


def _same(value: float) -> float:
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One unit of a quantity.

    Args:
        name: Spelling used everywhere.
        low: Least plausible value in this unit.
        high: Greatest plausible value.
        usual: Range in which nearly all patients of an eye clinic are; tells units of a column apart.
        forward: Into the first unit of the quantity.
        backward: Out of the first unit of the quantity.
        spellings: Other ways to write it, compared without case and spaces.
    """

    name: str
    low: float
    high: float
    usual: tuple[float, float]
    forward: Conversion = _same
    backward: Conversion = _same
    spellings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownColumn:
    """A quantity that clinics record.

    Args:
        title: Words for a report.
        units: Units it is recorded in; the first is the one networks and reports use.
        names: How tables call it, in English and Chinese, compared without case, spaces and signs.
        source: Where the conversion comes from; empty when there is none.
    """

    title: str
    units: tuple[Unit, ...]
    names: tuple[str, ...] = ()
    source: str = ""

    @property
    def unit(self) -> str:
        """Unit of networks and reports."""
        return self.units[0].name

    @property
    def low(self) -> float:
        """Least plausible value in that unit."""
        return self.units[0].low

    @property
    def high(self) -> float:
        """Greatest plausible value in that unit."""
        return self.units[0].high

    def unit_named(self, text: str) -> Unit | None:
        """Return the unit a text names, or None."""
        wanted = _squeeze(text)
        for unit in self.units:
            if wanted in {_squeeze(s) for s in (unit.name, *unit.spellings)}:
                return unit
        return None


def _scaled(factor: float) -> dict[str, Any]:
    """Return both directions of a unit that is `factor` of the first unit."""
    return {"forward": lambda x: x * factor, "backward": lambda x: x / factor}


def _pressure(low: float, high: float, usual: tuple[float, float], usual_kpa: tuple[float, float]) -> tuple[Unit, ...]:
    factor = PA_PER_MMHG / 1000
    kpa: dict[str, Any] = {"forward": lambda x: x / factor, "backward": lambda x: x * factor}
    return (
        Unit(name="mmHg", low=low, high=high, usual=usual, spellings=("mm Hg", "毫米汞柱", "torr")),
        Unit(name="kPa", low=low * factor, high=high * factor, usual=usual_kpa, spellings=("千帕",), **kpa),
    )


def _molar(factor: float, high: float, usual: tuple[float, float], usual_mg: tuple[float, float]) -> tuple[Unit, ...]:
    mg = _scaled(1 / factor)
    return (
        Unit(name="mmol/L", low=0.1, high=high, usual=usual, spellings=("mM", "毫摩尔/升")),
        Unit(name="mg/dL", low=0.1 * factor, high=high * factor, usual=usual_mg, spellings=("mg%", "mg/100ml", "毫克/分升"), **mg),
    )  # fmt: skip


def _only(unit: str, low: float, high: float, *spellings: str) -> tuple[Unit, ...]:
    return (Unit(name=unit, low=low, high=high, usual=(low, high), spellings=spellings),)


def _time(high: float) -> tuple[Unit, ...]:
    return (
        Unit(name="years", low=0, high=high, usual=(0, high), spellings=("year", "y", "yr", "yrs", "岁", "年", "周岁")),
        Unit(name="months", low=0, high=high * 12, usual=(0, high * 12), spellings=("month", "mo", "月", "月龄"), **_scaled(1 / 12)),
        Unit(name="days", low=0, high=high * DAYS_PER_YEAR, usual=(0, high * DAYS_PER_YEAR), spellings=("day", "d", "天", "日", "日龄"),
             **_scaled(1 / DAYS_PER_YEAR)),
    )  # fmt: skip


_ACUITY = (
    Unit(name="logMAR", low=-0.4, high=3.0, usual=(-0.3, 2.0), spellings=("log mar", "对数")),
    Unit(name="decimal", low=0.001, high=2.5, usual=(0.01, 2.0), spellings=("小数",),
         forward=acuity.decimal_to_logmar, backward=acuity.logmar_to_decimal),
    Unit(name="Snellen", low=0.001, high=2.5, usual=(0.01, 2.0), spellings=("fraction", "分数"),
         forward=acuity.decimal_to_logmar, backward=acuity.logmar_to_decimal),
    Unit(name="letters", low=0, high=105, usual=(0, 100), spellings=("etdrs", "etdrs letters", "letter"),
         forward=acuity.letters_to_logmar, backward=acuity.logmar_to_letters),
    Unit(name="five-grade", low=3.0, high=5.4, usual=(3.5, 5.3), spellings=("5分", "五分记录", "5分记录"),
         forward=lambda x: 5.0 - x, backward=lambda x: 5.0 - x),
)  # fmt: skip

#: Quantities with known units. A value outside the range is refused: more often it is a wrong unit than a patient.
KNOWN_COLUMNS: dict[str, KnownColumn] = {
    "age": KnownColumn(
        title="Age",
        units=_time(120),
        names=("age", "patient age", "age at visit", "age at exam", "年龄", "患者年龄", "就诊年龄"),
        source="365.25 days are a Julian year, 12 months a year",
    ),
    "hba1c": KnownColumn(
        title="HbA1c",
        units=(
            Unit(name="%", low=3, high=20, usual=(3.5, 16), spellings=("NGSP", "percent", "DCCT", "％")),
            Unit(
                name="mmol/mol",
                low=9,
                high=196,
                usual=(19, 160),
                spellings=("IFCC",),
                forward=lambda x: NGSP_SLOPE * x + NGSP_OFFSET,
                backward=lambda x: (x - NGSP_OFFSET) / NGSP_SLOPE,
            ),
        ),
        names=("hba1c", "a1c", "hb a1c", "glycated haemoglobin", "glycated hemoglobin", "糖化血红蛋白", "糖化"),
        source="NGSP master equation, doi:10.1373/clinchem.2003.024802",
    ),
    "glucose": KnownColumn(
        title="Glucose",
        units=_molar(GLUCOSE, 60, (2, 32), (36, 600)),
        names=("glucose", "blood glucose", "fasting glucose", "fbg", "fpg", "血糖", "空腹血糖", "葡萄糖"),
        source="molar mass of glucose 180.156 g/mol",
    ),
    "sbp": KnownColumn(
        title="Systolic pressure",
        units=_pressure(50, 280, (70, 250), (9, 34)),
        names=("sbp", "systolic", "systolic pressure", "systolic blood pressure", "收缩压"),
        source="NIST SP 811: 1 mmHg = 133.322387415 Pa",
    ),
    "dbp": KnownColumn(
        title="Diastolic pressure",
        units=_pressure(20, 180, (35, 150), (4, 20)),
        names=("dbp", "diastolic", "diastolic pressure", "diastolic blood pressure", "舒张压"),
        source="NIST SP 811: 1 mmHg = 133.322387415 Pa",
    ),
    "iop": KnownColumn(
        title="Intraocular pressure",
        units=_pressure(1, 80, (5, 70), (0.6, 8)),
        names=("iop", "intraocular pressure", "eye pressure", "tonometry", "眼压", "眼内压"),
        source="NIST SP 811: 1 mmHg = 133.322387415 Pa",
    ),
    "va": KnownColumn(
        title="Visual acuity",
        units=_ACUITY,
        names=("va", "bcva", "ucva", "visual acuity", "best corrected visual acuity", "视力", "矫正视力", "最佳矫正视力",
               "裸眼视力"),
        source="logMAR = -log10(decimal) = 1.7 - 0.02 letters = 5 - five-grade; see core/acuity.py",
    ),
    "duration": KnownColumn(
        title="Duration of diabetes",
        units=_time(100),
        names=("duration", "diabetes duration", "duration of diabetes", "dm duration", "病程", "糖尿病病程"),
        source="365.25 days are a Julian year, 12 months a year",
    ),
    "bmi": KnownColumn(
        title="Body mass index", units=_only("kg/m2", 8, 90, "kg/m^2", "kg/m²"), names=("bmi", "body mass index", "体质指数", "体重指数")
    ),
    "weight": KnownColumn(
        title="Weight",
        units=(Unit(name="kg", low=0.4, high=350, usual=(2, 250), spellings=("公斤", "千克")),
               Unit(name="lb", low=0.9, high=770, usual=(5, 550), spellings=("lbs", "pounds", "磅"), **_scaled(KG_PER_LB))),
        names=("weight", "body weight", "体重"),
        source="1 lb = 0.45359237 kg, exact",
    ),
    "height": KnownColumn(
        title="Height",
        units=(Unit(name="cm", low=25, high=260, usual=(40, 220), spellings=("厘米",)),
               Unit(name="m", low=0.25, high=2.6, usual=(0.4, 2.2), spellings=("米",), **_scaled(100)),
               Unit(name="in", low=10, high=102, usual=(16, 87), spellings=("inch", "inches", "英寸"), **_scaled(CM_PER_INCH))),
        names=("height", "body height", "身高"),
        source="1 in = 2.54 cm, exact",
    ),
    "cholesterol": KnownColumn(
        title="Total cholesterol",
        units=_molar(CHOLESTEROL, 30, (1.5, 20), (58, 775)),
        names=("cholesterol", "total cholesterol", "tc", "chol", "总胆固醇", "胆固醇"),
        source="38.67 mg/dL are 1 mmol/L (386.7 g/mol)",
    ),
    "hdl": KnownColumn(
        title="HDL cholesterol",
        units=_molar(CHOLESTEROL, 6, (0.2, 5), (8, 195)),
        names=("hdl", "hdl c", "hdl cholesterol", "高密度脂蛋白", "高密度脂蛋白胆固醇"),
        source="38.67 mg/dL are 1 mmol/L (386.7 g/mol)",
    ),
    "ldl": KnownColumn(
        title="LDL cholesterol",
        units=_molar(CHOLESTEROL, 20, (0.2, 12), (13, 465)),
        names=("ldl", "ldl c", "ldl cholesterol", "低密度脂蛋白", "低密度脂蛋白胆固醇"),
        source="38.67 mg/dL are 1 mmol/L (386.7 g/mol)",
    ),
    "triglycerides": KnownColumn(
        title="Triglycerides",
        units=_molar(TRIGLYCERIDES, 60, (0.2, 25), (18, 2300)),
        names=("triglycerides", "triglyceride", "tg", "甘油三酯", "三酰甘油"),
        source="88.57 mg/dL are 1 mmol/L (885.7 g/mol)",
    ),
    "creatinine": KnownColumn(
        title="Creatinine",
        units=(Unit(name="umol/L", low=5, high=2500, usual=(18, 1800), spellings=("µmol/L", "μmol/L", "微摩尔/升")),
               Unit(name="mg/dL", low=0.05, high=28, usual=(0.2, 17), **_scaled(CREATININE))),
        names=("creatinine", "serum creatinine", "scr", "cr", "肌酐", "血肌酐"),
        source="molar mass of creatinine 113.12 g/mol",
    ),
    "axial_length": KnownColumn(
        title="Axial length", units=_only("mm", 15, 40, "毫米"), names=("axial length", "al", "axl", "眼轴", "眼轴长度")
    ),
    "pachymetry": KnownColumn(
        title="Central corneal thickness",
        units=(Unit(name="um", low=250, high=900, usual=(350, 800), spellings=("µm", "μm", "micron", "microns", "微米")),
               Unit(name="mm", low=0.25, high=0.9, usual=(0.35, 0.8), spellings=("毫米",), **_scaled(1000))),
        names=("pachymetry", "cct", "central corneal thickness", "中央角膜厚度", "角膜厚度"),
        source="1 mm = 1000 um",
    ),
    "spherical_equivalent": KnownColumn(
        title="Spherical equivalent",
        units=_only("D", -40, 30, "dioptre", "diopter", "屈光度"),
        names=("spherical equivalent", "se", "ser", "等效球镜", "等效球镜度"),
    ),
    "sphere": KnownColumn(
        title="Sphere", units=_only("D", -40, 30, "dioptre", "diopter", "屈光度"), names=("sphere", "sph", "球镜", "球镜度")
    ),
    "cylinder": KnownColumn(
        title="Cylinder", units=_only("D", -15, 15, "dioptre", "diopter", "屈光度"), names=("cylinder", "cyl", "柱镜", "柱镜度")
    ),
    "axis": KnownColumn(title="Axis of the cylinder", units=_only("degrees", 0, 180, "deg", "°", "度"), names=("axis", "cylinder axis", "轴位")),
    "vf_md": KnownColumn(
        title="Mean deviation of the visual field",
        units=_only("dB", -40, 10, "decibel", "分贝"),
        names=("vf md", "md", "mean deviation", "mean defect", "visual field md", "平均缺损", "平均偏差"),
    ),
    "cst": KnownColumn(
        title="Central subfield thickness",
        units=_only("um", 80, 1500, "µm", "μm", "micron", "microns", "微米"),
        names=("cst", "central subfield thickness", "csft", "中心凹厚度", "中央视网膜厚度"),
    ),
}  # fmt: skip

_BY_NAME: dict[str, str] = {}


def _squeeze(text: str) -> str:
    """Return a text without case, width, spaces and signs that differ between spellings of one unit."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("μ", "u").replace("µ", "u").replace("²", "2")
    return re.sub(r"[\s_\-.]+", "", folded)


def _name_key(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


for _column, _known in KNOWN_COLUMNS.items():
    for _spelling in (_column, *_known.names):
        _BY_NAME[_name_key(_spelling)] = _column

_BRACKETS = re.compile(r"[(\[（【]([^)\]）】]*)[)\]）】]")


def recognise(header: str) -> tuple[str | None, str | None]:
    """Return the quantity a header names and the unit it states, each None when it does not.

    Example:
        >>> recognise("HbA1c (mmol/mol)"), recognise("眼压"), recognise("空腹血糖（mg/dL）"), recognise("keywords")
        (('hba1c', 'mmol/mol'), ('iop', None), ('glucose', 'mg/dL'), (None, None))
    """
    plain = header[5:] if header.startswith("meta.") else header
    match = _BRACKETS.search(plain)
    candidates = [(_BRACKETS.sub(" ", plain), match[1] if match else "")]
    # "hba1c_percent", "IOP mmHg": the last word may be the unit.
    words = re.split(r"[\s_,/]+", plain.strip())
    if not match and len(words) > 1:
        candidates += [(" ".join(words[:-1]), words[-1])]
        candidates += [(" ".join(words[:-2]), "/".join(words[-2:]))] if len(words) > 2 else []
    for name, unit in candidates:
        column = _BY_NAME.get(_name_key(name))
        if column is None:
            continue
        if not unit:
            return column, None
        found = KNOWN_COLUMNS[column].unit_named(unit)
        if found is not None:
            return column, found.name
        if match:
            return column, None
    return None, None


def recognise_within(header: str) -> str | None:
    """Return the one quantity that a word of a header names, or None: "perkins_iop" is a kind of IOP.

    Example:
        >>> recognise_within("perkins_iop"), recognise_within("se_of_iop"), recognise_within("note")
        ('iop', None, None)
    """
    words = [_name_key(w) for w in re.split(r"[\s_\-./]+", header)]
    found = {_BY_NAME[w] for w in words if w in _BY_NAME}
    return found.pop() if len(found) == 1 else None


def convert(value: float, column: str, *, unit: str, to: str | None = None) -> float:
    """Return a value of a known quantity in another unit.

    Args:
        value: Number in `unit`.
        column: Name of the quantity, a key of `KNOWN_COLUMNS`.
        unit: Unit of the number.
        to: Unit wanted; None takes the one networks and reports use.

    Raises:
        InvalidInput: The quantity or the unit is not known.

    Example:
        >>> round(convert(53, "hba1c", unit="mmol/mol"), 1), round(convert(7.0, "glucose", unit="mmol/L", to="mg/dL"), 1)
        (7.0, 126.1)
    """
    if column not in KNOWN_COLUMNS:
        raise InvalidInput(
            f"the quantity {column!r} has no known units.", code="unit.unknown", hint=f"Known: {sorted(KNOWN_COLUMNS)}."
        )
    source, target = unit_of(column, unit), unit_of(column, to or KNOWN_COLUMNS[column].unit)
    return value if source.name == target.name else target.backward(source.forward(value))


def unit_of(column: str, name: str) -> Unit:
    """Return a unit of a known quantity by any of its spellings.

    Raises:
        InvalidInput: `unit.unknown`.

    Example:
        >>> unit_of("pachymetry", "µm").name
        'um'
    """
    found = KNOWN_COLUMNS[column].unit_named(name)
    if found is None:
        units = ", ".join(u.name for u in KNOWN_COLUMNS[column].units)
        raise InvalidInput(f"{name!r} is no unit of {column!r}.", code="unit.unknown", hint=f"Known: {units}.")
    return found


def split_pressure(text: str) -> tuple[float, float]:
    """Return systolic and diastolic pressure of a cell such as "130/80".

    Raises:
        InvalidInput: `table.pressure`: not two numbers, or the first is not the greater.

    Example:
        >>> split_pressure("130/80")
        (130.0, 80.0)
    """
    match = re.fullmatch(r"\s*(\d{1,3}(?:\.\d+)?)\s*/\s*(\d{1,3}(?:\.\d+)?)\s*", text)
    if match is None or float(match[1]) <= float(match[2]):
        raise InvalidInput(
            f"{text[:20]!r} is no blood pressure.",
            code="table.pressure",
            hint="Write systolic/diastolic, as in 130/80.",
        )
    return float(match[1]), float(match[2])


def units_table() -> str:
    """Return the quantities as a Markdown table: name, units with plausible ranges, spellings, source of the conversion."""
    lines = ["| column | title | units (plausible range) | names in tables | conversion |", "|---|---|---|---|---|"]
    for name, known in KNOWN_COLUMNS.items():
        units = "; ".join(f"{u.name} ({u.low:.4g} to {u.high:.4g})" for u in known.units)
        lines.append(
            f"| `meta.{name}` | {known.title} | {units} | {', '.join(known.names)} | {known.source or 'one unit'} |"
        )
    return "\n".join(lines) + "\n"
