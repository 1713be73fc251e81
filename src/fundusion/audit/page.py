"""The answer of a check -> one HTML page: every pair side by side, tables that can be sorted, no outside request."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import FundusionError
from ..report.figures import data_uri
from ..report.render import environment, template_file, trusted
from .check import Checked
from .disc_side import MEASURED
from .picture import open_picture
from .problems import Problem, summary
from .scan import Progress

#: Most problems that are shown with pictures; all of them are in the table and in the JSON.
MOST_PICTURES = 150
_THUMBNAIL_PX = 240

TITLES = {
    "split.leak": "leaks between splits",
    "model.contamination": "training data of the model",
    "against.overlap": "also in what was compared",
    "label.contradiction": "contradictory labels",
    "patient.two_ids": "one patient under two ids",
    "laterality.conflict": "one eye named as two",
    "laterality.disc_side": "disc on the other side",
    "input.overlap": "overlap of inputs",
    "duplicate.exact": "identical files",
    "duplicate.near": "near duplicates",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A problem with its pictures: caption and data URI of each."""

    title: str
    sentence: str
    pictures: tuple[tuple[str, str], ...]


def render_check(found: Checked, *, progress: Progress | None = None) -> str:
    """Return the page.

    Args:
        found: The answer.
        progress: Called with (problems drawn, problems to draw).
    """
    script = template_file("check.js")
    leaks = len(found.leaks())
    rows = [("patient.split", line) for line in found.leaks()[: len(found.table.leaks)]]
    rows += [(p.code, p.sentence) for p in found.problems]
    rows += [
        (code, f"{study}: {sentence}") for study, code, sentence in (*found.rejected_files(), *found.rejected_rows)
    ]
    rows += [("table", line) for line in found.table.problems(pictures=False)]
    counts = [("studies", found.table.studies), ("patients", found.table.patients), ("files", found.table.files)]
    if found.table.unnamed:
        counts.insert(2, ("studies without a patient", found.table.unnamed))
    counts += [(TITLES[code], n) for code, n in summary(found.problems).items()]
    return (
        environment()
        .get_template("check.html")
        .render(
            title="Check of " + ", ".join(found.sources),
            subtitle=f"{leaks} leaks" if leaks else "no leak was found",
            counts=counts,
            rows=rows,
            shown=_shown(found, progress),
            left=max(0, sum(1 for p in found.problems if p.twin) - MOST_PICTURES),
            tables=[*found.classes, found.missing],
            notes=found.notes,
            measured=MEASURED,
            style=trusted(template_file("style.css")),
            script=trusted(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        )
    )


def _shown(found: Checked, progress: Progress | None) -> list[Shown]:
    # A pair is drawn once, under the gravest of its problems.
    drawn: set[tuple[int, int]] = set()
    chosen: list[Problem] = []
    for problem in found.problems:
        twin = problem.twin
        if twin is None or (twin.first, twin.second) in drawn:
            continue
        drawn.add((twin.first, twin.second))
        chosen.append(problem)
    chosen = chosen[:MOST_PICTURES]
    owner: dict[tuple[str, str], Any] = {}
    for member in found.members:
        for modality, paths in member.record.images.items():
            for path in paths:
                owner.setdefault((modality, path), member.record)
    shown = []
    for i, problem in enumerate(chosen, 1):
        if problem.twin is None:
            continue
        indices = dict.fromkeys((problem.twin.first, problem.twin.second))
        pictures = tuple(_picture(found.scan.files[k], owner) for k in indices)
        shown.append(Shown(title=TITLES[problem.code], sentence=problem.sentence, pictures=pictures))
        if progress:
            progress(i, len(chosen))
    return shown


def _picture(file: tuple[str, str], owner: Any) -> tuple[str, str]:
    record = owner[file]
    said: Sequence[str] = [
        *([record.laterality.value] if record.laterality else []),
        *([record.split] if record.split else []),
        *(f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in record.labels.items() if _is_plain(v)),
    ]
    caption = record.study_id + (f" ({', '.join(said)})" if said else "")
    try:
        return caption, data_uri(open_picture(file[1], modality=file[0]).pixels, max_px=_THUMBNAIL_PX, quality=72)
    except FundusionError:
        return f"{caption}: can no longer be read", ""


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float)) and value == value
