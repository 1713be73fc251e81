"""The part of a report page that shows what was measured in one photograph: tables by structure, failures as reasons, pictures, plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..biomarkers import catalogue
from ..biomarkers.eye import EyeMeasurements
from ..biomarkers.reference import Comparison
from ..core.results import Measurement
from .age_plots import draw_ages, plotted, sheet_size, sheet_title
from .canvas import PixelCanvas
from .eye_pictures import SIDES, structures_pixels, zones_pixels
from .figures import data_uri
from .words import behind_words, place_words, reason_words, remark_words, spread_words, title_words, value_words

#: Groups of a page in their order.
GROUPS = ("Optic disc and cup", "Calibres around the disc", "Arteries", "Veins", "All vessels", "Possible lesions")
#: What is shown at once of the vessels; the rest is one click away.
_FIRST = ("density", "width", "tortuosity", "fractal_dimension", "bifurcations")


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRow:
    """One number: words only."""

    title: str
    value: str
    spread: str = ""
    place: str = ""
    behind: str = ""
    remark: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredGroup:
    """Numbers of one structure.

    Args:
        title: Words.
        rows: Shown at once.
        more: Shown on demand.
        failures: Reason to the titles it holds for.
    """

    title: str
    rows: tuple[MeasuredRow, ...]
    more: tuple[MeasuredRow, ...]
    failures: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgePlot:
    """Plots of a patient against the ages of a cohort.

    Args:
        title: Above the plots.
        source: Picture for the page; empty where the table has no measurement of this photograph.
        notes: Sentences.
    """

    title: str
    source: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredSection:
    """What a page shows of one photograph.

    Args:
        image: Which picture, such as "cfp.0".
        title: Words.
        summary: How the scale was found.
        groups: Tables.
        panels: (picture, caption).
        plot: Against age; None without a cohort.
    """

    image: str
    title: str
    summary: str
    groups: tuple[MeasuredGroup, ...]
    panels: tuple[tuple[str, str], ...]
    plot: AgePlot | None = None


def measured_section(
    image: str,
    pixels: npt.NDArray[np.uint8],
    masks: Mapping[str, npt.NDArray[np.bool_]],
    found: EyeMeasurements,
    *,
    laterality: str | None,
    facts: Mapping[str, Any] | None = None,
    comparison: Comparison | None = None,
) -> MeasuredSection:
    """Return the section of one photograph.

    Args:
        image: Which picture of the study, such as "cfp.0".
        pixels: The photograph, a square.
        masks: Of the same size.
        found: Of `measure_eye`.
        laterality: "OD", "OS" or None.
        facts: `scale`, `um_per_px`, `field_px` of the photograph.
        comparison: With a cohort.
    """
    side = SIDES.get(str(laterality), "Eye not stated")
    drawn = [
        (
            structures_pixels(pixels, masks, laterality=laterality),
            "What the segmenters marked. Lesions and kinds of vessels are what networks took them for, not a diagnosis.",
        ),
        (zones_pixels(pixels, found, masks, laterality=laterality), "Where the numbers were taken."),
    ]
    return MeasuredSection(
        image=image,
        title=f"Photograph {int(image.rpartition('.')[2]) + 1}: {side}" if image[-1:].isdigit() else f"{image}: {side}",
        summary=_summary(found, facts or {}),
        groups=grouped(found.measurements),
        panels=tuple((data_uri(p, max_px=1000), words) for p, words in drawn),
        plot=_age_plot(comparison, laterality) if comparison else None,
    )


def scale_words(found: EyeMeasurements) -> str:
    """Return how the scale was found, in a sentence."""
    scale = found.scale
    if scale.um_per_px is None:
        words = "No pixel spacing and no usable disc: lengths are in disc diameters or not given."
        if scale.disc_px:
            words = "No pixel spacing is known: lengths are in disc diameters."
    elif scale.estimated:
        words = (
            f"Micrometres are estimates: the disc is taken to be 1850 µm wide ({scale.um_per_px:.3g} µm per pixel here), "
            "so that lengths of eyes with a small or large disc are off by as much."
        )
    else:
        words = f"Micrometres by the spacing that the file states ({scale.um_per_px:.3g} µm per pixel here)."
    return words


def _summary(found: EyeMeasurements, facts: Mapping[str, Any]) -> str:
    words, width = scale_words(found), facts.get("field_px")
    if any("fovea.found" in m.flags for m in found.measurements):
        words += f" {reason_words('fovea.found')}"
    return f"{words} The field of view is {width:.0f} px wide in the file." if width else words


def _age_plot(comparison: Comparison, laterality: str | None) -> AgePlot:
    source = ""
    title = sheet_title(laterality)
    if plotted(comparison):
        canvas = PixelCanvas(*sheet_size(comparison), (255, 255, 255))
        draw_ages(canvas, comparison, laterality=laterality)
        source = data_uri(canvas.pixels(), max_px=2000, quality=88)
    notes = comparison.notes
    if not source:
        notes = (*notes, "The table has no column of a measurement of this photograph in the same unit.")
    return AgePlot(title=title, source=source, notes=notes)


def grouped(measurements: Sequence[Measurement]) -> tuple[MeasuredGroup, ...]:
    """Return the measurements as tables by structure; failures are joined by their reason.

    Example:
        >>> rows = [Measurement(name="vcdr", value=0.4, unit="1", region="disc"),
        ...         Measurement(name="disc_area", value=None, unit="um^2", failure="scale.circular")]
        >>> [(g.title, [r.value for r in g.rows], [f[0] for f in g.failures]) for g in grouped(rows)]
        [('Optic disc and cup', ['0.4'], ['Area of the disc'])]
    """
    groups = []
    for title in GROUPS:
        mine = [m for m in measurements if group_of(m.name) == title]
        if not mine:
            continue
        shown = [m for m in mine if m.value is not None]
        first = [m for m in shown if _comes_first(m)]
        failures: dict[str, list[str]] = {}
        for m in mine:
            if m.failure is not None:
                failures.setdefault(reason_words(m.failure), []).append(title_words(m.name))
        groups.append(
            MeasuredGroup(
                title=title,
                rows=tuple(_row(m) for m in first),
                more=tuple(_row(m) for m in shown if m not in first),
                failures=tuple(
                    ("all of these" if len(titles) == len(mine) > 2 else ", ".join(titles), reason)
                    for reason, titles in failures.items()
                ),
            )
        )
    return tuple(groups)


def group_of(name: str) -> str:
    """Return the heading under which a measurement stands.

    Example:
        >>> group_of("crae_zone_b"), group_of("width_vein"), group_of("EX_count")
        ('Calibres around the disc', 'Veins', 'Possible lesions')
    """
    if name in catalogue.OF_EYE:
        calibre = catalogue.OF_EYE[name].group in ("calibre", "arcade")
        return "Calibres around the disc" if calibre else "Optic disc and cup"
    last = name.rpartition("_")[2]
    return {"artery": "Arteries", "vein": "Veins", "vessels": "All vessels"}.get(last, "Possible lesions")


def _comes_first(m: Measurement) -> bool:
    base, _, last = m.name.rpartition("_")
    if last in catalogue.VESSELS and base in catalogue.OF_VESSELS:
        return base in _FIRST
    return not (m.region or "").startswith("ETDRS")


def _row(m: Measurement) -> MeasuredRow:
    value = m.value or 0.0
    shown = value_words(m.name, value, m.unit)
    spread = "" if m.uncertainty is None else f"± {spread_words(value, m.uncertainty, m.unit)}"
    if m.name == "isnt":
        shown, spread = ("follows the rule" if value == 1 else "does not follow the rule"), ""
    remarks = [remark_words(f) for f in m.flags]
    return MeasuredRow(
        title=title_words(m.name),
        value=shown,
        spread=spread,
        place=place_words(m.region),
        behind=behind_words(m),
        remark="; ".join(remarks),
        name=m.name,
    )
