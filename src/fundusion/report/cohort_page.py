"""The page of one measured eye beside a cohort: what lies outside of the band of its age, all plots, every number with its reference."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..biomarkers.reference import Comparison, Placed
from ..core.results import Measurement
from .compose import DISCLAIMER
from .eye_pictures import SIDES
from .measured import GROUPS, group_of, grouped
from .render import environment, template_file, trusted
from .words import place_words, remark_words, spread_words, title_words, value_words

#: Shares of the cohort outside of which a measurement is named at the top: the limits of the band.
LOW, HIGH = 0.05, 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideRow:
    """One number beside its reference: words only."""

    title: str
    value: str
    mean: str = ""
    band: str = ""
    standing: str = ""
    side: str = ""
    patients: str = ""
    place: str = ""
    remark: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BesidePage:
    """What the page of an eye shows.

    Args:
        name: Of the eye.
        laterality: "OD", "OS" or None.
        person: Patient, age, sex, as far as they are known: (title, words).
        comparison: With the cohort.
        measurements: All, also those that failed.
        scale: One sentence.
        warnings: Structure to what is known of its masks.
        zones: PNG of where the numbers were taken; None where there is none.
        ages: PNG of the plots; None where nothing can be plotted.
    """

    name: str
    laterality: str | None
    person: Sequence[tuple[str, str]]
    comparison: Comparison
    measurements: Sequence[Measurement]
    scale: str = ""
    warnings: Mapping[str, str] | None = None
    zones: bytes | None = None
    ages: bytes | None = None


def outside(comparison: Comparison) -> tuple[list[Placed], list[Placed]]:
    """Return the measurements below and above the band of the age, the furthest first.

    Example:
        >>> outside(Comparison(cohort="healthy.csv", age=50.0, sex=None, placed=()))
        ([], [])
    """
    known = [(p, p.share_below) for p in comparison.placed if p.share_below is not None]
    low = [p for p, _ in sorted((x for x in known if x[1] < LOW), key=lambda x: x[1])]
    high = [p for p, _ in sorted((x for x in known if x[1] > HIGH), key=lambda x: -x[1])]
    return low, high


def summary_of(comparison: Comparison) -> dict[str, Any]:
    """Return what a table of eyes tells of a comparison, JSON-ready.

    Example:
        >>> summary_of(Comparison(cohort="healthy.csv", age=50.0, sex=None, placed=()))
        {'cohort': 'healthy.csv', 'references': 0, 'below': [], 'above': []}
    """
    low, high = outside(comparison)
    return {
        "cohort": comparison.cohort,
        "references": sum(p.share_below is not None for p in comparison.placed),
        "below": [p.measurement.name for p in low],
        "above": [p.measurement.name for p in high],
    }


def beside_row(placed: Placed, age: float | None) -> BesideRow:
    """Return one number beside what the cohort has at this age."""
    m = placed.measurement
    value = m.value or 0.0
    spread = "" if m.uncertainty is None else f" ± {spread_words(value, m.uncertainty, m.unit)}"
    who = {"female": "women", "male": "men", None: "patients"}[placed.sex]
    told = {
        "title": title_words(m.name),
        "value": value_words(m.name, value, m.unit) + spread,
        "place": "" if m.region == "field" else place_words(m.region),
        "patients": f"{len(placed.points)} {who}",
        "remark": "; ".join(remark_words(f) for f in m.flags if f != "scale.estimated"),
    }
    if m.name == "isnt":
        return BesideRow(**told | {"value": "follows the rule" if value == 1 else "does not follow the rule"})
    if placed.share_below is None or placed.curves is None or age is None:
        return BesideRow(**told, standing=placed.reason)
    mean, low, high = (float(np.interp(age, placed.curves.ages, c)) for c in (placed.curves.mean, placed.curves.low, placed.curves.high))  # fmt: skip
    side = "below" if placed.share_below < LOW else "above" if placed.share_below > HIGH else ""
    return BesideRow(
        **told,
        mean=value_words(m.name, mean, m.unit),
        band=_range(value_words(m.name, low, m.unit), value_words(m.name, high, m.unit)),
        standing=f"{placed.share_below:.0%} lie below",
        side=side,
    )


def render_beside(page: BesidePage) -> str:
    """Return the page: self-contained, no script, everything from outside escaped."""
    comparison = page.comparison
    low, high = outside(comparison)
    references = sum(p.share_below is not None for p in comparison.placed)
    rows: dict[str, list[BesideRow]] = {g: [] for g in GROUPS}
    for placed in comparison.placed:
        rows[group_of(placed.measurement.name)].append(beside_row(placed, comparison.age))
    failures = [(g.title, titles, reason) for g in grouped(page.measurements) for titles, reason in g.failures]
    template = environment().get_template("beside.html")
    return template.render(
        page=page,
        side=SIDES.get(str(page.laterality), "Eye not stated"),
        flagged=[beside_row(p, comparison.age) for p in (*low, *high)],
        references=references,
        expected=f"{(LOW + 1 - HIGH) * references:.0f}",
        groups=[(g, r) for g, r in rows.items() if r],
        failures=failures,
        warnings=list((page.warnings or {}).items()),
        zones=_png(page.zones),
        ages=_png(page.ages),
        style=trusted(template_file("style.css")),
        disclaimer=DISCLAIMER,
    )


def _range(low: str, high: str) -> str:
    """Return two quantities as a range; a unit of both is told once.

    Example:
        >>> _range("35.6 µm", "41.1 µm"), _range("4900 µm", "5.2 mm"), _range("0.3", "0.5"), _range("60°", "70°")
        ('35.6 to 41.1 µm', '4900 µm to 5.2 mm', '0.3 to 0.5', '60 to 70°')
    """
    number, space, unit = low.partition(" ")
    if space and high.endswith(f" {unit}"):
        return f"{number} to {high}"
    return f"{low.removesuffix('°')} to {high}"


def _png(data: bytes | None) -> str:
    return "" if data is None else "data:image/png;base64," + base64.b64encode(data).decode("ascii")
