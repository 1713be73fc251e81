"""Measurements of a patient against the ages of a cohort: one small plot each, on one sheet."""

from __future__ import annotations

import math

import numpy as np

from ..biomarkers.reference import Comparison, Placed
from .canvas import Canvas, Color, PixelCanvas, VectorCanvas
from .eye_pictures import SIDES
from .words import ages_words, quantity_words, title_words, value_words

_COLUMNS, _WIDE, _HIGH, _HEAD = 3, 320, 250, 66
_INK, _SOFT, _LINE, _PAPER = (20, 26, 30), (96, 108, 116), (214, 220, 224), (255, 255, 255)
#: Measurements of which a band means nothing.
_YES_OR_NO = ("isnt",)
_BAND: Color = (11, 110, 116)
_DOT: Color = (150, 160, 166)
_PATIENT: Color = (196, 58, 20)


def plotted(comparison: Comparison) -> list[Placed]:
    """Return the measurements that get a plot: all but those by sector and answers of yes or no."""
    return [
        p
        for p in comparison.placed
        if not (p.measurement.region or "").startswith("ETDRS") and p.measurement.name not in _YES_OR_NO
    ]


def sheet_size(comparison: Comparison) -> tuple[int, int]:
    """Return width and height of the sheet."""
    rows = max(1, math.ceil(len(plotted(comparison)) / _COLUMNS))
    return _COLUMNS * _WIDE, _HEAD + rows * _HIGH


def sheet_title(laterality: str | None) -> str:
    """Return the headline of the sheet.

    Example:
        >>> sheet_title("OS")
        'Left eye (OS) against the ages of a cohort'
    """
    return f"{SIDES.get(str(laterality), 'Eye not stated')} against the ages of a cohort"


def draw_ages(canvas: Canvas, comparison: Comparison, *, laterality: str | None) -> None:
    """Draw all plots: patients of the cohort as dots, mean and 5-95 % band where enough of them are near, the patient as a diamond."""
    canvas.text((10, 26), sheet_title(laterality), 19, _INK)
    canvas.text(
        (10, 50),
        f"Cohort: {comparison.cohort}. Line: smoothed mean; band: 5-95 % of its patients, not a norm. {ages_words(comparison)}",
        13,
        _SOFT,
    )
    for k, placed in enumerate(plotted(comparison)):
        _plot(canvas, placed, comparison.age, (k % _COLUMNS * _WIDE, _HEAD + k // _COLUMNS * _HIGH))


def _plot(canvas: Canvas, placed: Placed, age: float | None, corner: tuple[float, float]) -> None:
    m, points = placed.measurement, placed.points
    left, top, width, height = corner[0] + 58, corner[1] + 44, _WIDE - 76.0, _HIGH - 88.0
    who = {"female": "women", "male": "men", None: "patients"}[placed.sex]
    canvas.text((corner[0] + 10, corner[1] + 18), _short(title_words(m.name), 36), 14, _INK)
    value = value_words(m.name, m.value or 0.0, m.unit)
    canvas.text(
        (corner[0] + 10, corner[1] + 35), f"patient {value}; n = {len(points)} {who}, {placed.eyes} eyes", 11.5, _SOFT
    )
    known = [age] if age is not None else []
    ages = np.array([*points[:, 0], *known])
    if not len(ages):
        canvas.text((left, top + height / 2), placed.reason, 12, _SOFT)
        return
    first, last = (
        math.floor(ages.min() / 10) * 10,
        max(math.ceil(ages.max() / 10) * 10, math.floor(ages.min() / 10) * 10 + 10),
    )
    values = np.array([*points[:, 1], m.value or 0.0])
    low, high = float(values.min()), float(values.max())
    edge = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    low, high = low - edge, high + edge

    def spot(x: float, y: float) -> tuple[float, float]:
        return left + (x - first) / (last - first) * width, top + height - (y - low) / (high - low) * height

    step = next(s for s in (10, 20, 50) if (last - first) / s <= 5)
    for tick in range(first, last + 1, step):
        x, y = spot(tick, low)
        canvas.line(np.array([[x, top], [x, y]]), _LINE, 0.8)
        canvas.text((x, y + 16), str(tick), 11, _SOFT, anchor="middle")
    ticks = _ticks(low, high)
    for tick_value, label in zip(ticks, _labels(ticks, m.unit), strict=True):
        x, y = spot(first, tick_value)
        canvas.line(np.array([[left, y], [left + width, y]]), _LINE, 0.8)
        canvas.text((x - 5, y + 4), label, 11, _SOFT, anchor="end")
    canvas.text((left + width, top + height + 30), "age, years", 11, _SOFT, anchor="end")
    for a, v in points:
        canvas.circle(spot(a, v), 1.5, _DOT)
    curves = placed.curves
    if curves is not None and len(curves.ages) > 1:
        upper = [spot(a, v) for a, v in zip(curves.ages, curves.high, strict=True)]
        lower = [spot(a, v) for a, v in zip(curves.ages, curves.low, strict=True)]
        canvas.polygon(np.array(upper + lower[::-1]), _BAND, 0.16)
        canvas.line(np.array([spot(a, v) for a, v in zip(curves.ages, curves.mean, strict=True)]), _BAND, 2.0)
    if placed.reason:
        canvas.text((left, top + height + 30), _short(placed.reason, 34), 11, _PATIENT)
    _patient(canvas, spot, age, m.value or 0.0, (left, left + width))


def _patient(canvas: Canvas, spot, age: float | None, value: float, edges: tuple[float, float]) -> None:  # type: ignore[no-untyped-def]
    if age is None:
        y = spot(0.0, value)[1]
        canvas.line(np.array([[edges[0], y], [edges[1], y]]), _PATIENT, 1.6, dash=True)
        return
    x, y = spot(age, value)
    canvas.polygon(np.array([[x, y - 7], [x + 7, y], [x, y + 7], [x - 7, y]]), _PAPER, 1.0)
    canvas.polygon(np.array([[x, y - 5.5], [x + 5.5, y], [x, y + 5.5], [x - 5.5, y]]), _PATIENT, 1.0)


def _ticks(low: float, high: float) -> list[float]:
    """Return a few round numbers between two values.

    Example:
        >>> _ticks(0.21, 0.86), _ticks(-9.0, 85.0)
        ([0.4, 0.6, 0.8], [0.0, 50.0])
    """
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
    first = math.ceil(low / step)
    return [round(k * step, 12) for k in range(first, math.floor(high / step) + 1)]


def _labels(ticks: list[float], unit: str) -> list[str]:
    """Return the numbers of an axis; no two are alike.

    Example:
        >>> _labels([1.0, 1.005, 1.01], "1"), _labels([6000.0, 8000.0], "um")
        (['1', '1.005', '1.01'], ['6', '8'])
    """
    told = [quantity_words(t, unit).split(" ")[0] for t in ticks]
    return told if len(set(told)) == len(told) else [f"{t:.6g}" for t in ticks]


def _short(words: str, most: int) -> str:
    return words if len(words) <= most else words[: most - 1] + "…"


def age_plot_files(comparison: Comparison, image: str, *, laterality: str | None) -> dict[str, bytes]:
    """Return the sheet as PNG and SVG, by the end of their file names; none where no measurement is in the table."""
    if not plotted(comparison):
        return {}
    files = {}
    for suffix, kind in ((".png", PixelCanvas), (".svg", VectorCanvas)):
        canvas = kind(*sheet_size(comparison), _PAPER)
        draw_ages(canvas, comparison, laterality=laterality)
        files[f"{image}.age{suffix}"] = canvas.encoded()
    return files
