"""Numbers with their unit: cup-to-disc ratio, visual acuity, intraocular pressure, central thickness, axial length.

A unit that is not written is not made up: the value has unit None and the reading a flag. A number outside what an eye can
have is left out and flagged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ...core.vocabulary import Laterality


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportMeasurement:
    """One number of a report.

    Args:
        name: "cup_to_disc_ratio", "visual_acuity", "intraocular_pressure", "central_thickness" or "axial_length".
        value: The number; None for acuity that is a word ("counting fingers").
        unit: "ratio", "mmHg", "kPa", "um", "mm", "decimal", "logMAR", "letters", "five-mark"; None when it is not written.
        written: The words of the report; 20/40 and 6/12 have value 0.5 and unit "decimal".
        span: Start and end in the original text.
        eyes: Eyes it was taken of; empty when the text does not say.
        status: "present", or "history" for an earlier value.
        word: "CF", "HM", "LP" or "NLP" for acuity without a number.
    """

    name: str
    value: float | None
    unit: str | None
    written: str
    span: tuple[int, int]
    eyes: tuple[Laterality, ...] = ()
    status: str = "present"
    word: str | None = None

    @property
    def eye(self) -> str:
        """Return "OD", "OS", "OU", or "" when the text does not say."""
        return "OU" if len(self.eyes) == 2 else "".join(e.value for e in self.eyes)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "word": self.word,
            "written": self.written,
            "span": list(self.span),
            "eye": self.eye or None,
            "status": self.status,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number found in a sentence, before its eye is known; positions are those of the sentence. `side` is "r" or "l" when
    the name itself says it ("VAR")."""

    name: str
    value: float | None
    unit: str | None
    start: int
    end: int
    word: str | None = None
    doubt: str | None = None
    side: str | None = None


#: Name -> (pattern of the name, lowest and highest value an eye can have).
_NAMES = {
    "cup_to_disc_ratio": r"\b(?:vertical |v|horizontal )?c\s*[/:]?\s*d(?:\s*ratio)?\b(?:\s*r\b)?|\bv?cdr\b|\bcup[ /\-:]*(?:to[ \-])?dis[ck](?: ratio)?\b|\bcups?\b(?=(?:\s+(?:of|is|are|about))?\s*(?:0?\.\d))"
    r"|(?:垂直|水平)?杯盘比(?:值)?|杯盘比例|盘比",
    "intraocular_pressure": r"\biops?\b|\bintra-?ocular pressures?\b|\btensions?\b(?! glaucoma)|\b(?:goldmann|tonometry|nct)\b|眼内?压",
    "central_thickness": r"\bcs[ft]t?\b|\bcrt\b|\bcmt\b|\bcentral (?:subfield|retinal|macular|foveal)(?: mean)? thickness\b|\bfoveal thickness\b"
    r"|(?:黄斑)?(?:中心凹|中央|中心)(?:区)?(?:视网膜|黄斑)?(?:平均)?厚度|黄斑厚度",
    "axial_length": r"\baxial lengths?\b|\bal\b(?=[\s:]*(?:o[dsu]\b|\d|right|left|was|of|is|右|左))|眼轴(?:长度?)?",
    "visual_acuity": r"\b(?:bc|uc|cc|sc|d|n)?vas?(?:r|l)?\b|\bvisual acuity\b|\bvision\b(?=[^.;]{0,25}\d)|\blogmar(?: acuity)?\b|\bacuity\b|(?:裸眼|矫正|最佳矫正)?视力",
}
_RANGES = {
    "cup_to_disc_ratio": (0.0, 1.0),
    "intraocular_pressure": (1.0, 80.0),
    "central_thickness": (50.0, 1500.0),
    "axial_length": (15.0, 40.0),
}
_NAME = re.compile("|".join(f"(?P<{k}>{v})" for k, v in _NAMES.items()), re.IGNORECASE | re.ASCII)
_VALUE = re.compile(
    r"(?P<snellen>(?<![\d/.])(?:20|6|5|4|3|2|1|10)/\d{1,3}(?:\.\d+)?(?![\d/]))(?:\s?[+\-]\d\b)?"
    r"|(?P<word>\b(?:cf|hm|nlp|lp|npl|pl|counting fingers?|hand (?:motions?|movements?)|(?:no )?light perception|(?:no )?perception of light|count fingers?)\b"
    r"|指数|数指|手动|无光感|(?<!闪)光感)"
    r"|(?<![\d.,/])(?P<number>\d{1,4}(?:\.\d+)?|\.\d+)(?![\d/]|\.\d)(?:\s*(?P<unit>mm\s?hg|kpa|μm|µm|um|microns?|micrometers?|micrometres?|微米|毫米汞柱|毫米|mm|logmar|letters?|etdrs letters?)(?![a-z]))?",
    re.IGNORECASE | re.ASCII,
)
_BETWEEN = re.compile(
    r"(?:[\s:=,;~≈()\-–]|\b(?:of|is|was|are|were|be|about|approximately|approx\.?|measured?|measuring|measures|ratio|both|and|in|the|on|by|with|at|od|os|ou|re|le|rt|lt|r|l|right|left|eyes?|for|to|"
    r"discs?|value|mean|average|applanation|goldmann|today|snellen|now|acuity|asymmetry|vs\.?|versus|bcva|logmar|distance|corrected|uncorrected|pinhole)\b"
    r"|[右左双两对侧眼约为是值分别均大测得、和及以/]|约为|分别为|长度|记录|/眼前|/\d+\s*cm)*",
    re.IGNORECASE | re.ASCII,
)
_WORDS = {
    "cf": "CF", "counting finger": "CF", "count finger": "CF", "指数": "CF", "数指": "CF", "hm": "HM", "hand motion": "HM",
    "hand movement": "HM", "手动": "HM", "lp": "LP", "pl": "LP", "light perception": "LP", "perception of light": "LP", "光感": "LP",
    "nlp": "NLP", "npl": "NLP", "no light perception": "NLP", "no perception of light": "NLP", "无光感": "NLP",
}  # fmt: skip
_UNITS = {
    "mmhg": "mmHg", "毫米汞柱": "mmHg", "kpa": "kPa", "μm": "um", "µm": "um", "um": "um", "micron": "um", "microns": "um",
    "micrometer": "um", "micrometers": "um", "micrometre": "um", "micrometres": "um", "微米": "um", "mm": "mm", "毫米": "mm",
    "logmar": "logMAR", "letter": "letters", "letters": "letters", "etdrsletter": "letters", "etdrsletters": "letters",
}  # fmt: skip
_LIST_UNITS = frozenset({"mmHg", "um", "mm", "logMAR", "letters"})
_ALLOWED = {
    "cup_to_disc_ratio": {None},
    "intraocular_pressure": {None, "mmHg", "kPa"},
    "central_thickness": {None, "um"},
    "axial_length": {None, "mm"},
    "visual_acuity": {None, "logMAR", "letters"},
}


def find_numbers(text: str, *, chinese: bool) -> list[Number]:
    """Return the measured numbers of a sentence.

    Example:
        >>> [(n.name, n.value, n.unit) for n in find_numbers("C/D 0.6 OD, 0.4 OS; IOP 16 mmHg", chinese=False)]
        [('cup_to_disc_ratio', 0.6, 'ratio'), ('cup_to_disc_ratio', 0.4, 'ratio'), ('intraocular_pressure', 16.0, 'mmHg')]
        >>> [(n.value, n.unit) for n in find_numbers("视力:右眼4.8,左眼0.5", chinese=True)]
        [(4.8, 'five-mark'), (0.5, 'decimal')]
    """
    if not any(c.isdigit() for c in text) and not re.search(
        r"光感|指数|数指|手动|\b(?:cf|hm|n?lp|npl)\b|finger|hand mo|percep", text, re.IGNORECASE | re.ASCII
    ):
        return []
    names = list(_NAME.finditer(text))
    numbers: list[Number] = []
    for i, name in enumerate(names):
        end = names[i + 1].start() if i + 1 < len(names) else len(text)
        pair = _pair(text, name, end)
        numbers += [pair] if pair is not None else _shared_unit(list(_after(text, name, end, chinese=chinese)))
    if not numbers:
        numbers = _before(text, names, chinese=chinese)
    numbers += _unnamed_acuity(text, numbers)
    return sorted(numbers, key=lambda n: n.start)


def _shared_unit(numbers: list[Number]) -> list[Number]:
    """Return numbers of one list with the unit that is written once at its end ("OD 15, OS 16 mmHg")."""
    unit = numbers[-1].unit if numbers else None
    return [
        replace(n, unit=unit, doubt=None) if unit in _LIST_UNITS and n.doubt == "measurement.unit_not_stated" else n
        for n in numbers
    ]


def _pair(text: str, name: re.Match[str], end: int) -> Number | None:
    """Return a doubt for "IOP 16/18": two numbers of which the text does not say which eye is which."""
    if name.lastgroup == "visual_acuity":
        return None
    match = re.compile(r"\d+(?:\.\d+)?\s*/\s*\d+(?:\.\d+)?(?!\d)", re.ASCII).search(text, name.end(), end)
    if match is None or not _BETWEEN.fullmatch(text, name.end(), match.start()):
        return None
    return Number(
        name=str(name.lastgroup), value=None, unit=None, start=match.start(), end=match.end(), doubt="measurement.pair"
    )


def _after(text: str, name: re.Match[str], end: int, *, chinese: bool) -> Iterator[Number]:
    position = name.end()
    while position < end:
        match = _VALUE.search(text, position, end)
        if match is None or not _BETWEEN.fullmatch(text, position, match.start()):
            return
        number = _number(str(name.lastgroup), name.group(), match, chinese=chinese)
        if number is None:
            return
        side = re.fullmatch(r"(?:bc|uc|cc|sc|d|n)?va(r|l)", name.group(), re.IGNORECASE)
        yield replace(number, side=side.group(1).lower()) if side else number
        position = match.end()


def _before(text: str, names: list[re.Match[str]], *, chinese: bool) -> list[Number]:
    """Return numbers that stand before their name ("0.5 cup-disc ratio")."""
    found: list[Number] = []
    for name in names:
        values = list(_VALUE.finditer(text, 0, name.start()))
        limit = name.start()
        for match in reversed(values):
            if not _BETWEEN.fullmatch(text, match.end(), limit):
                break
            number = _number(str(name.lastgroup), name.group(), match, chinese=chinese)
            if number is not None:
                found.append(number)
            limit = match.start()
    return found


def _unnamed_acuity(text: str, known: list[Number]) -> Iterator[Number]:
    """Yield acuity that is plain without its name: 20/40, and "no light perception"."""
    for match in re.finditer(r"(?<![\d/.])20/(\d{2,3})(?![\d/])|无光感|\bNLP\b", text):
        if any(n.start < match.end() and match.start() < n.end for n in known):
            continue
        if match.group(1):
            yield Number(
                name="visual_acuity",
                value=round(20 / int(match.group(1)), 3),
                unit="decimal",
                start=match.start(),
                end=match.end(),
            )
        else:
            yield Number(name="visual_acuity", value=None, unit=None, word="NLP", start=match.start(), end=match.end())


def _number(name: str, named: str, match: re.Match[str], *, chinese: bool) -> Number | None:
    start, end = match.span()
    if name == "visual_acuity":
        return _acuity(named, match, chinese=chinese)
    if match["number"] is None:
        return None
    value = float(match["number"])
    unit = _UNITS.get(re.sub(r"\s", "", (match["unit"] or "").lower()))
    low, high = _RANGES[name]
    if unit not in _ALLOWED[name]:
        return Number(name=name, value=None, unit=unit, start=start, end=end, doubt="measurement.unit")
    if unit == "kPa":
        low, high = low / 7.50062, high / 7.50062
    if not low <= value <= high:
        return Number(name=name, value=None, unit=unit, start=start, end=end, doubt="measurement.implausible")
    doubt = None
    if name == "cup_to_disc_ratio":
        unit = "ratio"
    elif unit is None:
        doubt = "measurement.unit_not_stated"
    return Number(name=name, value=value, unit=unit, start=start, end=end, doubt=doubt)


def _acuity(named: str, match: re.Match[str], *, chinese: bool) -> Number | None:
    start, end = match.span()
    if match["word"]:
        word = _WORDS.get(match["word"].lower().rstrip("s"))
        return Number(name="visual_acuity", value=None, unit=None, word=word, start=start, end=end) if word else None
    if match["snellen"]:
        top, _, bottom = match["snellen"].partition("/")
        if float(bottom) <= 0:
            return None
        value = round(float(top) / float(bottom), 3)
        return Number(name="visual_acuity", value=value, unit="decimal", start=start, end=end)
    value = float(match["number"])
    unit = _UNITS.get(re.sub(r"\s", "", (match["unit"] or "").lower()))
    if "logmar" in named.lower():
        unit = "logMAR"
    if unit not in _ALLOWED["visual_acuity"]:
        return None
    doubt = None
    if unit is None and chinese:
        # National charts have two notations that do not overlap: decimal to 2.0, five-mark 4.0 to 5.3.
        unit = "decimal" if value <= 2.0 else "five-mark" if 4.0 <= value <= 5.3 else None
    elif unit is None:
        # 0.3 may be decimal or logMAR: three times the acuity apart.
        doubt = "measurement.unit_not_stated"
    high = {"letters": 100.0, "five-mark": 5.3}.get(unit or "", 3.0)
    if value > high:
        return Number(
            name="visual_acuity", value=None, unit=unit, start=start, end=end, doubt="measurement.implausible"
        )
    return Number(name="visual_acuity", value=value, unit=unit, start=start, end=end, doubt=doubt)
