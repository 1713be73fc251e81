"""Few-shot curves as a page: one plot per metric, a table, nothing from outside the file."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

_COLOURS = ("#1f6feb", "#d1495b", "#2e8b57", "#b8860b", "#6f42c1", "#444444")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 420, 260, 46, 34


def adaptation_page(result: Mapping[str, Any]) -> str:
    """Return the page of `train.adapt`'s result."""
    curves = result["curves"]
    metrics = list(curves[0]["metrics"])
    plots = "".join(
        f"<figure>{curve_plot(curves, m)}<figcaption>{html.escape(m)}</figcaption></figure>" for m in metrics
    )
    heads = "".join(f"<th>{html.escape(m)}</th>" for m in metrics)
    rows = "".join(
        f"<tr><td>{html.escape(c['protocol'])}</td><td>{_shots(c['shots'])}</td>"
        + "".join(f"<td>{interval_words(c['metrics'][m])}</td>" for m in metrics)
        + "</tr>"
        for c in curves
    )
    facts = (
        ("encoder", result["model"]), ("weights", result["weights"] or "as the name says"), ("label", result["task"]),
        ("modality", result["modality"]), ("studies to learn from", result["learn"]), ("studies measured on", result["measured"]),
        ("studies rejected", len(result["rejected"])), ("repetitions", result["seeds"]),
        ("licence of the weights", result["weight_license"] or "none stated"),
    )  # fmt: skip
    listed = "".join(f"<dt>{html.escape(k)}</dt><dd>{html.escape(str(v))}</dd>" for k, v in facts)
    title = f"Adaptation of {html.escape(str(result['model']))} to {html.escape(str(result['task']))}"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>body{{font:15px/1.5 system-ui,sans-serif;margin:24px auto;max-width:960px}}"
        "table{border-collapse:collapse}td,th{padding:4px 12px;border-bottom:1px solid #ddd;text-align:left}"
        "figure{display:inline-block;margin:8px}dl{display:grid;grid-template-columns:max-content 1fr;gap:2px 16px}"
        f"</style></head><body><h1>{title}</h1><dl>{listed}</dl>{plots}"
        f"<table><thead><tr><th>protocol</th><th>studies per class</th>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        "<p>Mean and 95 % interval of the mean over repetitions (Student); one repetition has no interval. "
        "Intervals over patients are not included. Not a medical device.</p></body></html>\n"
    )


def _shots(value: int | None) -> str:
    return "all" if value is None else str(value)


def interval_words(value: Mapping[str, Any]) -> str:
    """Return a mean with its interval as words.

    Example:
        >>> interval_words({"mean": 0.8, "low": 0.75, "high": 0.85}), interval_words({"mean": None, "low": None, "high": None})
        ('0.800 (0.750 to 0.850)', 'undefined')
    """
    if value["mean"] is None:
        return "undefined"
    if value["low"] is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def curve_plot(curves: Sequence[Mapping[str, Any]], metric: str) -> str:
    """Return an SVG of a metric over the number of studies per class, a line with bars per protocol."""
    shots = sorted({c["shots"] for c in curves}, key=lambda s: (s is None, s or 0))
    ends = [c["metrics"][metric][k] for c in curves for k in ("mean", "low", "high")]
    known = [float(v) for v in ends if v is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    low, high = low - 0.05 * (high - low) - 0.01, high + 0.05 * (high - low) + 0.01

    def x(s: int | None) -> float:
        return _LEFT + (shots.index(s) + 0.5) * (_WIDTH - _LEFT) / len(shots)

    def y(v: float) -> float:
        return (_HEIGHT - _BOTTOM) * (1 - (v - low) / (high - low)) + 4

    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 20}" width="{_WIDTH}" role="img" aria-label="{html.escape(metric)}">'
    ]
    for i in range(5):
        v = low + (high - low) * i / 4
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y(v):.1f}" y2="{y(v):.1f}" stroke="#e5e5e5"/>')
        parts.append(f'<text x="4" y="{y(v) + 4:.1f}" font-size="11">{v:.2f}</text>')
    parts += [
        f'<text x="{x(s):.1f}" y="{_HEIGHT - 14}" font-size="11" text-anchor="middle">{_shots(s)}</text>' for s in shots
    ]
    for i, protocol in enumerate(dict.fromkeys(c["protocol"] for c in curves)):
        colour, points = _COLOURS[i % len(_COLOURS)], []
        for c in curves:
            value = c["metrics"][metric]
            if c["protocol"] != protocol or value["mean"] is None:
                continue
            px, py = x(c["shots"]) + 4 * i, y(value["mean"])
            points.append((px, py))
            parts.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="{colour}"/>')
            if value["low"] is not None:
                parts.append(
                    f'<line x1="{px:.1f}" x2="{px:.1f}" y1="{y(value["low"]):.1f}" y2="{y(value["high"]):.1f}" stroke="{colour}"/>'
                )
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in sorted(points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}"/>')
        parts.append(
            f'<text x="{_LEFT + 64 * i}" y="{_HEIGHT + 12}" font-size="12" fill="{colour}">{html.escape(protocol)}</text>'
        )
    return "".join(parts) + "</svg>"
