"""One finding, and one set of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ..core.tasks import MultiClass, MultiLabel, Task

LANGUAGES = ("en", "zh")
KINDS = ("disease", "grade", "lesion", "normal", "quality")
Texts = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a finding is called and what it looks like. Nothing in it can be changed.

    Args:
        id: Identifier; the code of the report reader where that knows the finding too.
        name: Language to name.
        synonyms: Language to other names.
        abbreviations: As labels and reports use them.
        definitions: Language to sentences or phrases on what is seen.
        parents: Identifiers of wider findings.
        kind: One of `KINDS`.
        seen_on: Modalities.
        codes: "icd10" and "snomed" to codes.
        to_check: Kinds of codes that were not compared with the list of their issuer.
        name_in_prompt: Whether the name is a prompt beside the definitions; False for "grade two".
        sources: Where the definitions come from.
    """

    id: str
    name: Mapping[str, str]
    synonyms: Texts = field(default_factory=dict)
    abbreviations: tuple[str, ...] = ()
    definitions: Texts = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    kind: str = "disease"
    seen_on: tuple[str, ...] = ("cfp",)
    codes: Texts = field(default_factory=dict)
    to_check: tuple[str, ...] = ()
    name_in_prompt: bool = True
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("name", "synonyms", "definitions", "codes"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def names(self, language: str = "en") -> tuple[str, ...]:
        """Return the name and its synonyms in a language; empty when the finding has none in it."""
        first = (self.name[language],) if language in self.name else ()
        return (*first, *self.synonyms.get(language, ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSet:
    """Labels that belong together, each with its finding.

    Args:
        name: Of the set.
        title: Words for a list.
        kind: "multiclass" (one holds) or "multilabel" (any number).
        labels: Label to identifier of its finding, in order.
        task: Name of the label in tables and public sets.
        modality: Pictures it is about.
        absent: Multi-label only: finding that a label is compared with.
    """

    name: str
    title: str
    kind: str
    labels: Mapping[str, str]
    task: str
    modality: str = "cfp"
    absent: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", MappingProxyType(dict(self.labels)))

    def as_task(self, titles: Mapping[str, str]) -> Task:
        """Return the question the set asks, with the words of each label."""
        if self.kind == "multilabel":
            return MultiLabel(tuple(self.labels), titles=dict(titles))
        task = MultiClass(tuple(self.labels))
        return Task(kind=task.kind, labels=task.labels, titles=dict(titles))
