"""A file of findings -> checked content. What is wrong is said with the finding and the entry."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..core.errors import InvalidInput, ReadError
from .findings import LANGUAGES, Finding, LabelSet
from .flair import flair_findings
from .text import checked_text, normal_name

#: A file of findings is typed by people; beyond this it is something else.
MAX_BYTES = 16_000_000
_SECTIONS = ("__sources__", "__templates__", "__sets__", "__extends__")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What a file of findings holds; every mapping is read only."""

    findings: Mapping[str, Finding]
    sets: Mapping[str, LabelSet]
    templates: Mapping[str, Mapping[str, tuple[str, ...]]]
    sources: Mapping[str, str]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    #: Names.
    en: str
    zh: str | None = None
    #: Synonyms.
    en_also: tuple[str, ...] = ()
    zh_also: tuple[str, ...] = ()
    #: Definitions.
    en_is: tuple[str, ...] = ()
    zh_is: tuple[str, ...] = ()
    abbr: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    kind: Literal["disease", "grade", "lesion", "normal", "quality"] = "disease"
    seen_on: tuple[str, ...] = Field(default=("cfp",), min_length=1)
    icd10: tuple[str, ...] = ()
    snomed: str | None = Field(default=None, pattern=r"^\d{6,18}$")
    to_check: tuple[Literal["icd10", "snomed"], ...] = ()
    name_in_prompt: bool = True
    source: tuple[str, ...] = ()


class _Set(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    kind: Literal["multiclass", "multilabel"]
    labels: dict[str, str] = Field(min_length=1)
    task: str
    modality: str = "cfp"
    absent: str | None = None


def read_content(path: Path, *, shipped: Path) -> Content:
    """Return the checked content of a file.

    Args:
        path: TOML, or JSON of FLAIR's definitions.
        shipped: What a file with `__extends__ = true` adds to.

    Raises:
        ReadError: No such file, or not TOML or JSON.
        InvalidInput: An entry cannot be used.
    """
    raw = _raw(path)
    if path.suffix.lower() == ".json":
        return check_content(*flair_findings(raw, name=path.name), name=path.name)
    extends = raw.get("__extends__", False)
    if not isinstance(extends, bool):
        raise _wrong(path.name, "__extends__", "is true or false")
    sections: list[dict[str, Any]] = [{k: raw.get(k, {}) for k in _SECTIONS[:3]}]
    entries = {k: v for k, v in raw.items() if not k.startswith("__")}
    strange = [k for k in raw if k.startswith("__") and k not in _SECTIONS]
    if strange:
        raise _wrong(path.name, strange[0], f"is not known; sections are {', '.join(_SECTIONS)}")
    findings = {k: _finding(k, v, path.name) for k, v in entries.items()}
    if extends:
        below = _raw(shipped)
        sections.insert(0, {k: below[k] for k in _SECTIONS[:3]})
        first = {k: _finding(k, v, shipped.name) for k, v in below.items() if not k.startswith("__")}
        findings = {**first, **findings}
    merged: dict[str, dict[str, Any]] = {k: {} for k in _SECTIONS[:3]}
    for section in sections:
        for key, value in section.items():
            if not isinstance(value, dict):
                raise _wrong(path.name, key, "is a table")
            merged[key] |= value
    sets = {k: _set(k, v, path.name) for k, v in merged["__sets__"].items()}
    templates = {k: _templates(k, v, path.name) for k, v in merged["__templates__"].items()}
    return check_content(findings, sets, templates, merged["__sources__"], name=path.name)


def check_content(
    findings: Mapping[str, Finding],
    sets: Mapping[str, LabelSet],
    templates: Mapping[str, Mapping[str, tuple[str, ...]]],
    sources: Mapping[str, str],
    *,
    name: str,
) -> Content:
    """Return content whose references lead somewhere and whose names are each of one finding.

    Raises:
        InvalidInput: `knowledge.invalid`.
    """
    if not findings:
        raise _wrong(name, "the file", "holds no finding")
    known: dict[str, str] = {}
    for finding in findings.values():
        for parent in finding.parents:
            if parent not in findings:
                raise _wrong(name, f"[{finding.id}] parents", f"names {parent!r}", _close(parent, findings))
        for key in finding.sources:
            if key not in sources:
                raise _wrong(name, f"[{finding.id}] source", f"names {key!r}, not in __sources__", _close(key, sources))
        for written in {n for language in LANGUAGES for n in finding.names(language)}:
            owner = known.setdefault(normal_name(written), finding.id)
            if owner != finding.id:
                raise _wrong(name, f"[{finding.id}]", f"has the name {written!r} of [{owner}] too")
    _refuse_cycles(findings, name)
    for chosen in sets.values():
        for label, target in {**chosen.labels, "absent": chosen.absent or next(iter(findings))}.items():
            if target not in findings:
                raise _wrong(name, f"[__sets__.{chosen.name}] {label}", f"names {target!r}", _close(target, findings))
    return Content(
        findings=MappingProxyType(dict(findings)),
        sets=MappingProxyType(dict(sets)),
        templates=MappingProxyType(dict(templates)),
        sources=MappingProxyType(dict(sources)),
    )


def _raw(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise ReadError(f"no file {path.name!r}.", code="file.missing", hint="Check the path.")
    if path.stat().st_size > MAX_BYTES:
        raise ReadError(f"{path.name!r} is larger than {MAX_BYTES:,} bytes.", code="file.too_large")
    try:
        text = path.read_bytes().decode("utf-8")
        raw = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise ReadError(f"{path.name!r} cannot be read: {error}.", code="knowledge.unreadable") from error
    if not isinstance(raw, dict):
        raise ReadError(f"{path.name!r} is not a table of findings.", code="knowledge.unreadable")
    return raw


def _finding(name: str, value: Any, file: str) -> Finding:
    entry: _Entry = _parsed(_Entry, f"[{name}]", value, file)
    where = f"{file} [{name}]"
    names = {"en": entry.en, **({"zh": entry.zh} if entry.zh is not None else {})}
    return Finding(
        id=checked_text(name, what=f"{file}: an identifier"),
        name={k: checked_text(v, what=f"{where} {k}") for k, v in names.items()},
        synonyms=_texts({"en": entry.en_also, "zh": entry.zh_also}, f"{where} synonym"),
        abbreviations=tuple(checked_text(a, what=f"{where} abbreviation") for a in entry.abbr),
        definitions=_texts({"en": entry.en_is, "zh": entry.zh_is}, f"{where} definition"),
        parents=entry.parents,
        kind=entry.kind,
        seen_on=entry.seen_on,
        codes={
            **({"icd10": entry.icd10} if entry.icd10 else {}),
            **({"snomed": (entry.snomed,)} if entry.snomed else {}),
        },
        to_check=entry.to_check,
        name_in_prompt=entry.name_in_prompt,
        sources=entry.source,
    )


def _texts(found: Mapping[str, tuple[str, ...]], what: str) -> dict[str, tuple[str, ...]]:
    return {k: tuple(checked_text(t, what=what) for t in v) for k, v in found.items() if v}


def _set(name: str, value: Any, file: str) -> LabelSet:
    entry: _Set = _parsed(_Set, f"[__sets__.{name}]", value, file)
    return LabelSet(name=name, **entry.model_dump())


def _templates(name: str, value: Any, file: str) -> Mapping[str, tuple[str, ...]]:
    where = f"[__templates__.{name}]"
    if not isinstance(value, dict) or not all(
        isinstance(v, list) and v and all(isinstance(t, str) and "{finding}" in t for t in v) for v in value.values()
    ):
        raise _wrong(file, where, "holds a language with a list of sentences, each with {finding}")
    return MappingProxyType({k: tuple(checked_text(t, what=f"{file} {where}") for t in v) for k, v in value.items()})


def _parsed(model: Any, where: str, value: Any, file: str) -> Any:
    if not isinstance(value, dict):
        raise _wrong(file, where, "is a table")
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(p) for p in first["loc"])
        if first["type"] == "extra_forbidden":
            hint = _close(key, model.model_fields)
            raise _wrong(
                file, f"{where} {key}", "is not known", hint or f"Known: {', '.join(model.model_fields)}."
            ) from None
        raise _wrong(file, f"{where} {key}", first["msg"].lower()) from None


def _refuse_cycles(findings: Mapping[str, Finding], name: str) -> None:
    for start in findings:
        seen, queue = set(), list(findings[start].parents)
        while queue:
            parent = queue.pop()
            if parent == start:
                raise _wrong(name, f"[{start}] parents", "lead back to the finding itself")
            if parent not in seen:
                seen.add(parent)
                queue += findings[parent].parents


def _close(name: str, known: Mapping[str, Any]) -> str:
    found = difflib.get_close_matches(name, list(known), n=2)
    return f"Did you mean {' or '.join(found)}?" if found else ""


def _wrong(file: str, where: str, what: str, hint: str = "") -> InvalidInput:
    return InvalidInput(f"{file}: {where} {what}.", code="knowledge.invalid", hint=hint)
