"""Documents -> self-contained HTML: no outside request, printable, light and dark, everything escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.results import StudyResult
from ..core.study import Study
from ..core.vocabulary import MODALITY_TITLES
from .compose import DISCLAIMER, Panel, ReportDocument, Row, provenance_rows
from .figures import data_uri, probability_bar, signed_bar
from .findings import percent

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """One line of the overview.

    Args:
        cells: Numbers of the columns named in `render_index`; None where there is none.
    """

    study_id: str
    patient_id: str | None
    laterality: str | None
    status: str
    summary: str
    cells: tuple[float | None, ...] = ()
    thumbnail: str | None = None
    link: str | None = None


@cache
def environment() -> Environment:
    """Return the templates; every value is escaped, a missing one is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    made.filters["percent"] = percent
    return made


@cache
def template_file(name: str) -> str:
    """Return the text of a file beside the templates."""
    return (_TEMPLATES / name).read_text("utf-8").strip()


def trusted(markup: str) -> Any:
    """Mark text of this package as markup; nothing a user gave may pass here."""
    from markupsafe import Markup

    return Markup(markup)


def render_study(document: ReportDocument) -> str:
    """Return the page of an accepted study."""

    def bar(row: Row) -> Any:
        return trusted(
            "" if row.value is None else probability_bar(row.value, threshold=row.threshold, state=row.state)
        )

    def share(row: Row) -> Any:
        return trusted(probability_bar(row.value or 0.0, state="used"))

    def signed(row: Row, rows: Sequence[Row]) -> Any:
        scale = max((abs(r.value) for r in rows if r.value is not None), default=0.0)
        return trusted(signed_bar(row.value or 0.0, scale=scale))

    template = environment().get_template("study.html")
    return template.render(d=document, style=trusted(template_file("style.css")), bar=bar, share=share, signed=signed)


def render_rejected(result: StudyResult, *, study: Study | None = None, reasons: Sequence[tuple[str, str]] = ()) -> str:
    """Return the page of a study that got no answer: why, and what to do."""
    panels = [
        Panel(title=MODALITY_TITLES.get(m, m).capitalize(), source=data_uri(i.planes()[0]))
        for m, images in (study.images if study else {}).items()
        for i in images
    ]
    shown = list(reasons)
    if not shown and result.quality is not None:
        shown = [(r.split(".")[-1].replace("_", " "), "") for r in result.quality.reasons]
    return (
        environment()
        .get_template("rejected.html")
        .render(
            r=result,
            panels=panels,
            reasons=shown,
            provenance=provenance_rows(result.provenance),
            style=trusted(template_file("style.css")),
            disclaimer=DISCLAIMER,
        )
    )


def render_index(
    rows: Iterable[IndexRow],
    *,
    columns: Sequence[str] = (),
    counts: Mapping[str, int] | None = None,
    title: str = "Studies",
    subtitle: str = "",
) -> str:
    """Return the overview: a table that can be sorted and filtered, and read without a script."""
    script = template_file("index.js")
    return (
        environment()
        .get_template("index.html")
        .render(
            rows=list(rows),
            heads=["Study", "Patient", "Eye", "Status", "Summary", *columns],
            counts=list((counts or {}).items()),
            title=title,
            subtitle=subtitle,
            script=trusted(script),
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            style=trusted(template_file("style.css")),
            disclaimer=DISCLAIMER,
        )
    )


def safe_file_name(study_id: str) -> str:
    """Return a file name that no other study gets, also where upper and lower case are one.

    Example:
        >>> safe_file_name("0_left")
        '0_left'
        >>> safe_file_name("a/b") == safe_file_name("a_b")
        False
    """
    plain = re.sub(r"[^a-z0-9._-]", "_", study_id.lower())[:80].strip(".") or "study"
    reserved = re.fullmatch(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", plain)
    if plain == study_id and not reserved:
        return plain
    return f"{plain}-{hashlib.sha256(study_id.encode('utf-8')).hexdigest()[:10]}"
