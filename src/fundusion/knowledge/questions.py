"""Labels that a person types, or a set by name -> a task, and the prompts of each label."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ..core.errors import InvalidInput, UnknownName
from ..core.tasks import MultiClass, MultiLabel, Task
from .store import Knowledge, fill
from .text import checked_text

#: What is averaged for a label: definitions and name of its finding, its names, its definitions, or the label as it is typed.
KINDS = ("prompt", "names", "definitions", "label")
_SEPARATORS = re.compile(r"[,，、;；]")
#: A question with more labels is a file, not a command line.
MAX_LABELS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """A question in words.

    Args:
        name: Of the answer in results.
        task: One label holds (multiclass) or any number (multilabel).
        prompts: Label to its prompts.
        against: Multi-label: prompts that every label is compared with; empty compares with all other labels.
        findings: Label to the finding it was taken for; None for a label asked as it was typed.
        label_in_tables: Name of this label in tables and public sets.
        modality: Pictures it is about.
        notes: What a person should know.
    """

    name: str
    task: Task
    prompts: Mapping[str, tuple[str, ...]]
    against: tuple[str, ...] = ()
    findings: Mapping[str, str | None] = field(default_factory=dict)
    label_in_tables: str = ""
    modality: str = "cfp"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("prompts", "findings"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Prompts of each label in the order of the task, then those of `against` where there are any."""
        return [*(self.prompts[k] for k in self.task.labels), *((self.against,) if self.against else ())]

    def digest(self) -> str:
        """Return a digest of all that decides the answer: labels, prompts, what they are compared with."""
        said = [self.task.kind, list(self.task.labels), [list(g) for g in self.groups]]
        return hashlib.sha256(json.dumps(said, ensure_ascii=False).encode()).hexdigest()


def prompts_of_set(
    knowledge: Knowledge,
    name: str,
    *,
    language: str = "en",
    kind: str = "prompt",
    template: str | Sequence[str] | None = None,
) -> PromptSet:
    """Return the question of a set of labels.

    Args:
        knowledge: With the set.
        name: Of the set.
        language: Of the prompts.
        kind: One of `KINDS`; "label" asks with the name of the finding alone.
        template: Name of templates, or sentences with {finding}; None takes those of the set's modality.

    Raises:
        UnknownName: No such set, with those there are.
    """
    chosen = knowledge.set_of(name)
    _check_kind(kind)
    where = chosen.modality if template is None else template
    prompts, titles = {}, {}
    for label, finding in chosen.labels.items():
        prompts[label] = _prompts(knowledge, finding, language, kind, where)
        titles[label] = knowledge.find(finding).name.get(language) or knowledge.find(finding).name["en"]
    return PromptSet(
        name=chosen.task,
        task=chosen.as_task(titles),
        prompts=prompts,
        against=_prompts(knowledge, chosen.absent, language, kind, where) if chosen.absent else (),
        findings=dict(chosen.labels),
        label_in_tables=chosen.task,
        modality=chosen.modality,
    )


def prompts_of_labels(
    knowledge: Knowledge,
    labels: str | Sequence[str],
    *,
    language: str = "en",
    kind: str = "prompt",
    template: str | Sequence[str] = "cfp",
    several: bool = False,
    known_only: bool = False,
    name: str = "zeroshot",
) -> PromptSet:
    """Return the question of labels as a person types them.

    A label of a known finding is asked with the texts of that finding; another one as it is typed, and a note says so. `label = text | text`
    asks with one's own words, without templates.

    Args:
        knowledge: For the texts.
        labels: A list, or one string with commas.
        language: Of the prompts.
        kind: One of `KINDS`.
        template: Name of templates, or sentences with {finding}.
        several: Any number of labels may hold; each is then compared with the normal finding, where there is one.
        known_only: A label that is no known finding is an error.
        name: Of the answer in results and, where they hold labels, in tables.

    Raises:
        InvalidInput: Fewer than two labels (one when several may hold), a label twice, an empty one, one with characters that cannot be
            seen, or two labels of one finding.
        UnknownName: `known_only` and a label is not known.
    """
    _check_kind(kind)
    typed = [p for p in _SEPARATORS.split(labels) if p.strip()] if isinstance(labels, str) else list(labels)
    if len(typed) > MAX_LABELS:
        raise InvalidInput(f"{len(typed)} labels are more than {MAX_LABELS}.", code="config.labels")
    prompts: dict[str, tuple[str, ...]] = {}
    findings: dict[str, str | None] = {}
    notes = []
    for part in typed:
        label, found, texts, note = _label(knowledge, part, language, kind, template, known_only)
        if label in prompts:
            raise InvalidInput(f"label {label!r} is there twice.", code="config.labels", hint="Name each label once.")
        prompts[label], findings[label] = texts, found
        notes += [note] if note else []
    _refuse_twins(findings, kind)
    if len(prompts) < (1 if several else 2):
        raise InvalidInput(
            f"{len(prompts)} label is no choice; needed are at least two.",
            code="config.labels",
            hint='For instance --labels "normal fundus, macular hole"; with --several one is enough.',
        )
    task = MultiLabel(tuple(prompts)) if several else MultiClass(tuple(prompts))
    against: tuple[str, ...] = ()
    if several and "normal_fundus" in knowledge.findings:
        against = _prompts(knowledge, "normal_fundus", language, kind, template)
    elif several and len(prompts) < 2:
        raise InvalidInput("one label has nothing to be compared with.", code="config.labels")
    return PromptSet(
        name=name,
        task=task,
        prompts=prompts,
        against=against,
        findings=findings,
        label_in_tables=name,
        notes=tuple(notes),
    )


def prompts_of_task(
    knowledge: Knowledge,
    name: str,
    task: Task,
    *,
    language: str = "en",
    kind: str = "prompt",
    template: str | Sequence[str] | None = None,
) -> PromptSet:
    """Return the question of a task that tables already have labels for.

    A set of the same name and labels gives the prompts; else the title of each label does, as a finding or in its own words.

    Args:
        knowledge: With sets.
        name: Of the label in tables.
        task: Whose labels are asked, in their order.
        language: Of the prompts.
        kind: One of `KINDS`.
        template: As in `prompts_of_set`.
    """
    for chosen in knowledge.sets.values():
        if chosen.task == name and tuple(chosen.labels) == task.labels:
            return prompts_of_set(knowledge, chosen.name, language=language, kind=kind, template=template)
    words = [task.title(label) for label in task.labels]
    made = prompts_of_labels(
        knowledge, words, language=language, kind=kind, template=template or "cfp", several=task.kind == "multilabel", name=name
    )  # fmt: skip
    texts = {label: made.prompts[word.strip()] for label, word in zip(task.labels, words, strict=True)}
    found = {label: made.findings[word.strip()] for label, word in zip(task.labels, words, strict=True)}
    return replace(made, task=task, prompts=texts, findings=found)


def _label(
    knowledge: Knowledge, part: str, language: str, kind: str, template: str | Sequence[str], known_only: bool
) -> tuple[str, str | None, tuple[str, ...], str | None]:
    """Return label, finding, prompts and a note."""
    label, equals, words = part.partition("=")
    label = checked_text(label, what=f"label {_shown(label)}")
    if equals:
        own = tuple(checked_text(w, what=f"the words of {label!r}") for w in words.split("|"))
        return label, None, own, None
    try:
        found = knowledge.find(label).id
    except UnknownName as error:
        if known_only:
            raise
        sentences = knowledge.templates(template, language=language) if isinstance(template, str) else template
        close = knowledge.close_to(label)
        near = f" (near are {', '.join(close)})" if close else ""
        note = f"{label!r} is no known finding{near}; it is asked in this word alone" if error.code else None
        return label, None, tuple(fill(s, label) for s in sentences), note
    if kind == "label":
        sentences = knowledge.templates(template, language=language) if isinstance(template, str) else template
        return label, found, tuple(fill(s, label) for s in sentences), None
    return label, found, _prompts(knowledge, found, language, kind, template), None


def _prompts(
    knowledge: Knowledge, finding: str, language: str, kind: str, template: str | Sequence[str]
) -> tuple[str, ...]:
    if kind == "label":
        return knowledge.prompts(finding, language=language, kind="names", template=template)[
            : _count(knowledge, template, language)
        ]
    return knowledge.prompts(finding, language=language, kind=kind, template=template)


def _count(knowledge: Knowledge, template: str | Sequence[str], language: str) -> int:
    return len(knowledge.templates(template, language=language)) if isinstance(template, str) else len(template)


def _refuse_twins(findings: Mapping[str, str | None], kind: str) -> None:
    seen: dict[str, str] = {}
    for label, found in findings.items():
        if found is None or kind == "label":
            continue
        if found in seen:
            raise InvalidInput(
                f"{seen[found]!r} and {label!r} are the same finding ({found}).",
                code="config.labels",
                hint="Leave one out, or ask with the labels as they are: --prompts label.",
            )
        seen[found] = label


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise InvalidInput(f"prompts {kind!r} are not one of {', '.join(KINDS)}.", code="config.prompts")


def _shown(text: str) -> str:
    return repr(text[:40] + ("..." if len(text) > 40 else ""))
