"""Studies that commands put into words: read, analysed, announced, and what in them was set aside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .screen import print_error, progress, say

if TYPE_CHECKING:
    from ..core.study import StudyRecord
    from ..pipeline import Analysis


def analysed(inputs: list[Path], **how: Any) -> Iterator[tuple[StudyRecord, Analysis, int]]:
    """Yield each record with its analysis and how many there are; one that cannot be used is a rejected analysis."""
    from ..core.errors import FundusionError, InvalidInput
    from ..core.study import StudyRecord
    from ..datasets.folder import discover

    found = discover(inputs, columns=how["columns"], modality=how["modality"], root=how["root"])
    for note in found.notes:
        print_error(f"note: {note}")
    from ..pipeline import Pipeline

    pipeline = Pipeline.load(how["model"], device=how["device"], explain="none", measure=how.get("measure", True))
    total = len(found) + len(found.rejected)
    with progress("studies") as show:
        for i, record in enumerate(found):
            try:
                analysis = pipeline(record)
            except FundusionError as error:
                analysis = pipeline.reject(record, error)
            show(i + 1, total)
            yield record, analysis, total
        for i, row in enumerate(found.rejected):
            record = StudyRecord(study_id=row.study_id)
            error = InvalidInput(row.message, code=row.code)
            show(len(found) + i + 1, total)
            yield record, pipeline.reject(record, error), total


def heading(analysis: Analysis) -> int:
    """Print which study follows; returns 1 for a rejected one."""
    from ..narrative.intake import shown_name

    result = analysis.result
    say(f"{shown_name(result.study_id)} {result.laterality or ''}".rstrip())
    if result.status == "ok":
        return 0
    print_error(f"rejected [{result.code}]: {result.message} {result.hint}".rstrip())
    return 1


def aside_of(record: StudyRecord, analysis: Analysis) -> dict[str, int]:
    """Return how many words that speak to a machine were set aside, by where they stood; says so."""
    from ..narrative.intake import set_aside

    found = set_aside(record, analysis.study)
    if any(found.values()):
        where = ", ".join(f"{k.replace('_', ' ')} {n}" for k, n in found.items() if n)
        print_error(f"note: words that speak to a machine were set aside and changed nothing ({where}).")
    return found


def identity(analysis: Analysis) -> dict[str, Any]:
    """Return whose eye an answer is about, what became of it, and the network that found it."""
    result = analysis.result
    return {
        "study_id": result.study_id,
        "laterality": result.laterality,
        "status": result.status,
        "code": result.code,
        "model": result.provenance.get("model"),
    }
