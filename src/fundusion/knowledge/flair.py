"""The definitions that FLAIR publishes -> findings, unchanged, so that its numbers can be made again.

Source: Silva-Rodriguez et al. 2023, arXiv:2308.07898; jusiro/FLAIR, Apache-2.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from ..core.errors import InvalidInput
from .findings import Finding, LabelSet
from .text import checked_text

#: Of its grades of myopic maculopathy FLAIR averages the descriptions only, never "grade two".
_NAME_LEFT_OUT = "myopic maculopathy"
#: Inference, and pre-training with an attribute of the record.
_TEMPLATES = {
    "cfp": {"en": ("A fundus photograph of {finding}",)},
    "training": {"en": ("A {attribute} fundus photograph of {finding}",)},
}
_SOURCE = {"flair": "Silva-Rodriguez et al. 2023, FLAIR, arXiv:2308.07898 (Apache-2.0)"}
#: Its experiments: title, name of the label in tables, label to name of the class.
_GRADES = ("no", "mild", "moderate", "severe", "proliferative")
_EXPERIMENTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "messidor": ("MESSIDOR and DeepDRiD, five grades", "dr_grade", {str(i): f"{g} diabetic retinopathy" for i, g in enumerate(_GRADES)}),
    "refuge": ("REFUGE and ACRIMA, glaucoma or not", "glaucoma", {"0": "no glaucoma", "1": "glaucoma"}),
    "fives": ("FIVES, four diagnoses", "diagnosis", {
        "normal": "normal", "AMD": "age related macular degeneration", "DR": "diabetic retinopathy", "glaucoma": "glaucoma"}),
    "20x3": ("1000x39, three diagnoses", "diagnosis", {k: k for k in ("normal", "retinitis pigmentosa", "macular hole")}),
    "odir200x3": ("ODIR, three diagnoses", "diagnosis", {k: k for k in ("normal", "pathologic myopia", "cataract")}),
    "mmac": ("MMAC, five grades", "myopic_maculopathy", {
        str(i): f"myopic maculopathy grade {n}" for i, n in enumerate(("cero", "one", "two", "three", "four"))}),
}  # fmt: skip

Parts = tuple[
    dict[str, Finding], dict[str, LabelSet], dict[str, Mapping[str, tuple[str, ...]]], dict[str, str]
]  # fmt: skip


def flair_findings(raw: Mapping[str, Any], *, name: str) -> Parts:
    """Return findings, sets, templates and sources of a file of FLAIR's definitions.

    Args:
        raw: With `definitions`: name to sentences, and perhaps `abbreviations`: name to abbreviation.
        name: Of the file, for messages.

    Raises:
        InvalidInput: `knowledge.invalid`: the file has another form.
    """
    definitions, short = raw.get("definitions"), raw.get("abbreviations", {})
    if not isinstance(definitions, dict) or not isinstance(short, dict):
        raise InvalidInput(
            f"{name}: there is no table 'definitions'.",
            code="knowledge.invalid",
            hint="Expected is the JSON of FLAIR: definitions, abbreviations.",
        )
    findings = {}
    for key, sentences in definitions.items():
        if not isinstance(sentences, list) or not all(isinstance(s, str) for s in sentences):
            raise InvalidInput(f"{name}: {key!r} is not a list of sentences.", code="knowledge.invalid")
        code = _code(key)
        findings[code] = Finding(
            id=code,
            name={"en": checked_text(key, what=f"{name}: a name")},
            abbreviations=(str(short[key]),) if key in short else (),
            definitions={"en": tuple(checked_text(s, what=f"{name}: {key!r}") for s in sentences)},
            name_in_prompt=_NAME_LEFT_OUT not in key,
            sources=("flair",),
        )
    if len(findings) != len(definitions):
        raise InvalidInput(f"{name}: two names differ in punctuation only.", code="knowledge.invalid")
    templates = {k: MappingProxyType(v) for k, v in _TEMPLATES.items()}
    sets = {
        k: LabelSet(name=k, title=title, kind="multiclass", labels={x: _code(n) for x, n in labels.items()}, task=task)
        for k, (title, task, labels) in _EXPERIMENTS.items()
        if all(_code(n) in findings for n in labels.values())
    }
    return findings, sets, templates, dict(_SOURCE)


def _code(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.casefold()).strip("_")
