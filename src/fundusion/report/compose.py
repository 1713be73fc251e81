"""A result -> the sections of a report, as plain values. Words come from the findings, never the other way round."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.bound import as_bound
from ..core.results import Explanation, StudyResult
from ..core.study import Study, is_missing
from ..core.tasks import Task
from ..core.vocabulary import MODALITY_TITLES, TABLE, TEXT
from .figures import data_uri, overlay
from .measured import MeasuredSection
from .reading import Agreement
from .words import note_words

DISCLAIMER = "Not a medical device. For research and education only; every finding needs a clinician's eye."


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture with a caption."""

    title: str
    source: str
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table of the report."""

    name: str
    text: str = ""
    state: str = ""
    value: float | None = None
    threshold: float | None = None
    extra: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDocument:
    """Everything a study page shows."""

    study_id: str
    patient_id: str | None
    laterality: str | None
    visit: str | None
    headline: str
    tone: str
    findings: tuple[Row, ...]
    panels: tuple[Panel, ...]
    quality: Row | None
    modalities: tuple[Row, ...]
    table: tuple[Row, ...]
    report_text: str | None
    agreements: tuple[Row, ...]
    contributions: tuple[tuple[str, tuple[Row, ...]], ...]
    notes: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]
    disclaimer: str = DISCLAIMER
    measurements: tuple[Row, ...] = field(default_factory=tuple)
    #: Language and its sentences, each with its evidence as the text of the row.
    narrative: tuple[tuple[str, tuple[Row, ...]], ...] = ()
    #: What was measured in each photograph.
    measured: tuple[MeasuredSection, ...] = ()
    #: Photograph and why it was not measured, or what is doubtful.
    unmeasured: tuple[tuple[str, str], ...] = ()
    narrator: str = ""


def compose_report(
    result: StudyResult,
    *,
    study: Study,
    explanation: Sequence[Explanation],
    agreements: Sequence[Agreement],
    tasks: Mapping[str, Task],
    would_add: Mapping[str, str] | None = None,
    columns: Mapping[str, tuple[str, str | None]] | None = None,
) -> ReportDocument:
    """Return the document of an accepted study.

    Args:
        result: With findings.
        study: With the pictures to show.
        explanation: With maps in the frame of those pictures.
        agreements: Of the written report with the findings.
        tasks: For titles of targets.
        would_add: Modality to a sentence: what it would have added, measured when the network was trained.
        columns: Column to title and unit.
    """
    headline, tone = _headline(result)
    return ReportDocument(
        study_id=result.study_id,
        patient_id=result.patient_id,
        laterality=result.laterality,
        visit=study.visit,
        headline=headline,
        tone=tone,
        findings=_finding_rows(result, tasks),
        panels=_panels(study, explanation, tasks),
        quality=_quality_row(result),
        modalities=_modality_rows(result, would_add or {}),
        table=_table_rows(study, columns or {}),
        report_text=study.report,
        agreements=tuple(
            Row(name=a.name, state=a.verdict, text=a.statement.phrase, extra=a.statement.status) for a in agreements
        ),
        contributions=_contributions(explanation, tasks, columns or {}),
        notes=tuple(n for n in result.notes if _measuring_note(n) is None),
        provenance=provenance_rows(result.provenance),
        measurements=tuple(
            Row(name=m.name, value=m.value, text=m.unit, extra=m.failure or m.region or "")
            for m in result.measurements
            if m.image is None
        ),
        unmeasured=tuple(w for w in map(_measuring_note, result.notes) if w is not None),
    )


def _measuring_note(note: str) -> tuple[str, str] | None:
    words = note_words(note)
    if words is None:
        return None
    number = words[0].rpartition(".")[2]
    return (f"Photograph {int(number) + 1}" if number.isdigit() else words[0]), words[1]


def _headline(result: StudyResult) -> tuple[str, str]:
    present = [f.name for f in result.findings if f.status == "present"]
    unsure = [f.name for f in result.findings if f.status == "uncertain"]
    # "Referable" already says diabetic retinopathy; naming both would count one thing twice.
    if "referable diabetic retinopathy" in present and "diabetic retinopathy" in present:
        present.remove("diabetic retinopathy")
    # A rare disease can be over its threshold at a probability that still speaks against it; that is no suggestion.
    faint = [f.name for f in result.findings if f.name in present and f.certainty is not None and f.certainty < 0.5]
    firm = [name for name in present if name not in faint]
    tail = f" Cannot be excluded: {', '.join(unsure)}." if unsure else ""
    raised = f"raised probability of {', '.join(faint)}" if faint else ""
    if firm:
        return f"Findings suggest {', '.join(firm)}{'; ' + raised if raised else ''}.{tail}", "present"
    if faint:
        return f"{raised.capitalize()}.{tail}", "present"
    if unsure:
        return f"No clear sign of disease; cannot be excluded: {', '.join(unsure)}.", "uncertain"
    return "No sign of the diseases this model looks for.", "absent"


def _finding_rows(result: StudyResult, tasks: Mapping[str, Task]) -> tuple[Row, ...]:
    rows = []
    for f in result.findings:
        prediction = result.predictions.get(f.task)
        threshold = None
        if prediction is not None and prediction.kind == "multilabel":
            named = {tasks[f.task].title(k): t for k, t in prediction.thresholds.items()}
            threshold = named.get(f.name)
        elif prediction is not None and prediction.kind == "ordinal":
            threshold = 0.5
        rows.append(Row(name=f.name, text=f.text, state=f.status, value=f.certainty, threshold=threshold))
    order = {"present": 0, "uncertain": 1, "absent": 2, "not assessed": 3}
    return tuple(sorted(rows, key=lambda r: order[r.state]))


def _target_words(explanation: Explanation, tasks: Mapping[str, Task]) -> str:
    task = tasks.get(explanation.task)
    if task is None:
        return explanation.target
    if task.kind == "ordinal":
        name = {"dr_grade": "retinopathy grade"}.get(explanation.task, explanation.task.replace("_", " "))
        return f"{name} {explanation.target} or more ({task.title(explanation.target)})"
    return task.title(explanation.target)


def _panels(study: Study, explanation: Sequence[Explanation], tasks: Mapping[str, Task]) -> tuple[Panel, ...]:
    panels: list[Panel] = []
    for modality, images in study.images.items():
        for k, image in enumerate(images):
            number = f" {k + 1}" if len(images) > 1 else ""
            title = MODALITY_TITLES.get(modality, modality).capitalize() + number
            pixels = image.planes()[0]
            panels.append(Panel(title=title, source=data_uri(pixels)))
            for e in explanation:
                maps = e.heatmaps.get(modality, ())
                if k < len(maps) and maps[k].max() > 0:
                    caption = f"Regions that raised: {_target_words(e, tasks)}"
                    panels.append(Panel(title=title, source=data_uri(overlay(pixels, maps[k])), caption=caption))
    return tuple(panels)


def _quality_row(result: StudyResult) -> Row | None:
    if result.quality is None:
        return None
    return Row(
        name="Image quality",
        value=result.quality.score,
        state="present" if result.quality.gradable else "absent",
        text="gradable" if result.quality.gradable else "not gradable",
        extra=", ".join(r.split(".")[-1].replace("_", " ") for r in result.quality.reasons),
    )


def _modality_rows(result: StudyResult, would_add: Mapping[str, str]) -> tuple[Row, ...]:
    rows = []
    for name, use in result.modalities.items():
        title = MODALITY_TITLES.get(name, name)
        if use.used:
            rows.append(Row(name=title, state="used", value=use.share))
        elif not use.present:
            rows.append(Row(name=title, state="missing", text=would_add.get(name, "")))
        else:
            why = "read and compared, not an input of this model" if name == TEXT else "not an input of this model"
            rows.append(Row(name=title, state="not used", text=why))
    return tuple(rows)


def _table_rows(study: Study, columns: Mapping[str, tuple[str, str | None]]) -> tuple[Row, ...]:
    rows = []
    for name, value in study.metadata.items():
        title, unit = columns.get(name, (name.replace("_", " ").capitalize(), None))
        if is_missing(value):
            rows.append(Row(name=title, text="missing", state="missing"))
        else:
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            # A word in a column of numbers ("counting fingers") has no unit; a bound ("<0.5") has.
            measured = isinstance(value, (int, float)) or as_bound(shown) is not None
            rows.append(Row(name=title, text=f"{shown} {unit or ''}".strip() if measured else shown))
    return tuple(rows)


def _contributions(
    explanation: Sequence[Explanation], tasks: Mapping[str, Task], columns: Mapping[str, tuple[str, str | None]]
) -> tuple[tuple[str, tuple[Row, ...]], ...]:
    groups = []
    for e in explanation:
        rows = [
            Row(name=MODALITY_TITLES.get(m, m), value=v, extra=TABLE if m == TABLE else "")
            for m, v in e.shapley.items()
        ]
        rows += [Row(name=columns.get(c, (c, None))[0], value=v, extra="column") for c, v in e.columns.items()]
        rows += [Row(name=f"“{p}”", value=v, extra="phrase") for p, v in e.phrases.items()]
        if rows:
            groups.append((_target_words(e, tasks), tuple(rows)))
    return tuple(groups)


def provenance_rows(provenance: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return names and values for the foot of a page."""
    rows: list[tuple[str, str]] = []
    for key, value in provenance.items():
        if isinstance(value, Mapping):
            rows += [(f"{key.replace('_', ' ')}, {k}", str(v)) for k, v in value.items()]
        elif isinstance(value, (list, tuple)):
            rows += [(f"{key.replace('_', ' ')} {i + 1}", str(v)) for i, v in enumerate(value)]
        elif value is not None:
            rows.append((key.replace("_", " "), str(value)))
    return tuple(rows)
