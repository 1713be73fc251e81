"""An evaluation as `metrics.json` and one page: every metric with its interval over patients, plots, what each modality adds."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.durable import write_json, write_text
from ..core.errors import require
from ..core.tasks import Task
from ..metrics import classification as m
from ..metrics.statistics import SortedAuroc, bootstrap
from .compose import DISCLAIMER
from .render import environment, template_file, trusted

Array = npt.NDArray[np.float64]
Weighted = Callable[[Array], m.Value]


def evaluate_predictions(
    task: Task,
    targets: Array,
    probabilities: Array,
    groups: Sequence[str],
    *,
    thresholds: Mapping[str, float] | None = None,
    seed: int = 0,
    n_resamples: int = 1000,
) -> dict[str, Any]:
    """Return `{"metrics": {...}, "labels": {...}}` of a task, JSON-ready.

    Args:
        task: What was answered.
        targets: `(n,)` or `(n, K)`; NaN means not annotated.
        probabilities: `(n, labels)`, or values `(n, 1)` of a regression; NaN rows were not answered and do not count.
        groups: Patient of each study.
        thresholds: Per label, for decisions.
        seed: Of the resamples.
        n_resamples: Number of resamples.
    """
    y = np.asarray(targets, np.float64)
    p = np.asarray(probabilities, np.float64)
    answered = ~np.isnan(p).any(1)
    known = (~np.isnan(y)).any(1) if y.ndim == 2 else ~np.isnan(y)
    rows = np.asarray(answered & known, np.bool_)
    y, p, who = y[rows], p[rows], [g for g, r in zip(groups, rows, strict=True) if r]

    def estimate(name: str, metric: Weighted) -> dict[str, Any]:
        generator, size = np.random.default_rng(seed), len(who)
        unbias = name.endswith("ECE")
        return bootstrap(metric, who, generator=generator, n_resamples=n_resamples, n=size, unbias=unbias).to_dict()

    if task.kind == "regression":
        found = {
            "mean absolute error": lambda w: m.mean_absolute_error(y, p[:, 0], weight=w),
            "R2": lambda w: m.r_squared(y, p[:, 0], weight=w),
        }
        return {"metrics": {k: estimate(k, f) for k, f in found.items()}, "labels": {}}
    if task.kind == "multilabel":
        return _multilabel(task, y, p, thresholds or {}, estimate)
    if task.kind == "binary":
        cut = (thresholds or {}).get(task.labels[1], 0.5)
        metrics = _yes_no(y, p[:, 1], cut)
        return {"metrics": {k: estimate(k, f) for k, f in metrics.items()}, "labels": {}}
    return _classes(task, y, p, estimate)


def _yes_no(y: Array, p: Array, threshold: float) -> dict[str, Weighted]:
    called = (p >= threshold).astype(np.float64)
    return {
        "AUROC": SortedAuroc(y, p),
        "AUPRC": lambda w: m.auprc(y, p, weight=w),
        "sensitivity": lambda w: m.sensitivity(y, called, weight=w),
        "specificity": lambda w: m.specificity(y, called, weight=w),
        "sensitivity at specificity 0.90": lambda w: m.sensitivity_at_specificity(y, p, specificity=0.9, weight=w),
        "F1": lambda w: m.f1(y, called, weight=w),
        "Brier": lambda w: m.brier(y, p, weight=w),
        "ECE": lambda w: m.expected_calibration_error(y, p, weight=w),
    }


def _multilabel(
    task: Task, y: Array, p: Array, thresholds: Mapping[str, float], estimate: Callable[[str, Weighted], dict[str, Any]]
) -> dict[str, Any]:
    each = [_yes_no(y[:, k], p[:, k], thresholds.get(name, 0.5)) for k, name in enumerate(task.labels)]

    def mean_of(name: str) -> Weighted:
        return lambda w: m.macro([e[name](w) for e in each])

    metrics = {f"macro {n}": estimate(f"macro {n}", mean_of(n)) for n in ("AUROC", "AUPRC", "F1", "ECE")}
    labels = {
        name: {k: estimate(k, f) for k, f in e.items()} | {"positive": int(np.nansum(y[:, i]))}
        for i, (name, e) in enumerate(zip(task.labels, each, strict=True))
    }
    return {"metrics": metrics, "labels": labels}


def _classes(task: Task, y: Array, p: Array, estimate: Callable[[str, Weighted], dict[str, Any]]) -> dict[str, Any]:
    count = len(task.labels)
    if task.kind == "ordinal":
        label = (np.cumsum(p, 1) < 0.5).sum(1).clip(0, count - 1).astype(np.float64)
        events = {f"at least {k}": (i, p[:, i:].sum(1)) for i, k in enumerate(task.labels) if i}
    else:
        label = p.argmax(1).astype(np.float64) if len(p) else np.zeros(0)
        events = {k: (i, p[:, i]) for i, k in enumerate(task.labels)}

    def event(i: int) -> Array:
        return (y >= i if task.kind == "ordinal" else y == i).astype(np.float64)

    rocs = {k: SortedAuroc(event(i), s) for k, (i, s) in events.items()}
    found: dict[str, Weighted] = {
        "macro AUROC": lambda w: m.macro([f(w) for f in rocs.values()]),
        "accuracy": lambda w: m.accuracy(y, label, weight=w),
        "balanced accuracy": lambda w: m.balanced_accuracy(y, label, classes=count, weight=w),
    }
    if task.kind == "ordinal":
        found["quadratic kappa"] = lambda w: m.quadratic_kappa(y, label, classes=count, weight=w)
        found["mean absolute error (grades)"] = lambda w: m.mean_absolute_error(y, label, weight=w)
    labels = {k: {"AUROC": estimate("AUROC", f), "positive": int(event(events[k][0]).sum())} for k, f in rocs.items()}
    return {
        "metrics": {k: estimate(k, f) for k, f in found.items()},
        "labels": labels,
        "confusion": m.confusion_matrix(y, label, classes=count).astype(int).tolist(),
    }


def write_evaluation(
    folder: str | Path,
    *,
    tasks: Mapping[str, Task],
    targets: Mapping[str, Array],
    probabilities: Mapping[str, Array],
    groups: Sequence[str],
    ablation: Mapping[str, Mapping[str, Array]] | None = None,
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    meta: Mapping[str, Any] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Path:
    """Write `metrics.json` and `evaluation.html`; return the page.

    Args:
        folder: Created.
        tasks: Task to what it answers.
        targets: Task to `(n,)` or `(n, K)`.
        probabilities: Task to `(n, labels)` with all modalities.
        groups: Patient of each study.
        ablation: Names of modalities joined by "+" to probabilities with these only.
        thresholds: Task to threshold per label.
        meta: Facts shown on the page.
        n_resamples: Of the bootstrap.
        seed: Of the resamples.
    """
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    answer: dict[str, Any] = {
        "meta": dict(meta or {}),
        "bootstrap": {"resamples": n_resamples, "unit": "patient", "confidence": 0.95},
        "tasks": {},
    }
    for name, task in tasks.items():
        found = evaluate_predictions(
            task, targets[name], probabilities[name], groups,
            thresholds=(thresholds or {}).get(name), seed=seed, n_resamples=n_resamples,
        )  # fmt: skip
        by_subset = {
            subset: evaluate_predictions(
                task, targets[name], p[name], groups, seed=seed, n_resamples=min(n_resamples, 300)
            )["metrics"]
            for subset, p in (ablation or {}).items()
        }
        # The first metric of a task is its headline.
        found["ablation"] = {subset: next(iter(metrics.values())) for subset, metrics in by_subset.items()}
        answer["tasks"][name] = found
    write_json(out / "metrics.json", answer)
    write_text(out / "evaluation.html", _page(answer, tasks, targets, probabilities))
    return out / "evaluation.html"


def _page(
    answer: Mapping[str, Any],
    tasks: Mapping[str, Task],
    targets: Mapping[str, Array],
    probabilities: Mapping[str, Array],
) -> str:
    sections = []
    for name, task in tasks.items():
        found = answer["tasks"][name]
        sections.append(
            {
                "name": name.replace("_", " "),
                "metrics": [(k, words(v)) for k, v in found["metrics"].items()],
                "labels": _label_rows(task, found["labels"]),
                "plots": _plots(task, np.asarray(targets[name]), np.asarray(probabilities[name]), found),
            }
        )
    template = environment().get_template("evaluation.html")
    return template.render(
        title="Evaluation",
        meta=[(k.replace("_", " "), v) for k, v in answer["meta"].items() if v is not None],
        sections=sections,
        resamples=answer["bootstrap"]["resamples"],
        style=trusted(template_file("style.css")),
        disclaimer=DISCLAIMER,
    )


def words(value: Mapping[str, Any]) -> str:
    """Return an estimate in words.

    Example:
        >>> words({"value": 0.81234, "low": 0.79, "high": 0.83})
        '0.812 (0.790 to 0.830)'
        >>> words({"undefined": "one class only"})
        'undefined: one class only'
    """
    if "undefined" in value:
        return f"undefined: {value['undefined']}"
    if value.get("low") is None:
        return f"{value['value']:.3f} (no interval: {value.get('note', 'too few patients')})"
    return f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})"


def _label_rows(task: Task, labels: Mapping[str, Any]) -> list[tuple[str, int, list[tuple[str, str]]]]:
    rows = []
    for name, found in labels.items():
        shown = [(k, words(v)) for k, v in found.items() if isinstance(v, Mapping)]
        title = f"{name}: {task.title(name)}" if task.title(name) != name else name
        rows.append((title, found["positive"], shown[:4]))
    return rows


def _plots(task: Task, y: Array, p: Array, answer: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (caption, picture) pairs; none for what is not defined."""
    plots: list[tuple[str, str]] = []
    curves = _curves(task, y, p)
    if curves:
        plots.append(("Receiver operating characteristic", _figure(_draw_roc, curves)))
        plots.append(("Precision and recall", _figure(_draw_pr, curves)))
        plots.append(("Reliability: predicted against observed", _figure(_draw_reliability, curves)))
    if "confusion" in answer:
        plots.append(
            (
                "Confusion matrix, true class by row",
                _figure(_draw_confusion, (np.asarray(answer["confusion"]), task.labels)),
            )
        )
    ablation = {k: v for k, v in answer.get("ablation", {}).items() if "value" in v}
    if len(ablation) > 1:
        metric = next(iter(answer["metrics"]))
        plots.append((f"{metric} by modalities shown", _figure(_draw_ablation, (ablation, metric))))
    return plots


def _curves(task: Task, y: Array, p: Array) -> list[tuple[str, Array, Array]]:
    if task.kind == "regression":
        return []
    rows = ~np.isnan(p).any(1)
    y, p = y[rows], p[rows]
    if task.kind == "multilabel":
        found = [(k, y[:, i], p[:, i]) for i, k in enumerate(task.labels)]
    elif task.kind == "binary":
        found = [(task.labels[1], y, p[:, 1])]
    elif task.kind == "ordinal":
        found = [
            (f"≥ {k}", np.where(np.isnan(y), np.nan, y >= i), p[:, i:].sum(1)) for i, k in enumerate(task.labels) if i
        ]
    else:
        found = [(k, np.where(np.isnan(y), np.nan, y == i), p[:, i]) for i, k in enumerate(task.labels)]
    return [(k, a.astype(np.float64), b) for k, a, b in found if np.nansum(a) > 0 and np.nansum(1 - a) > 0]


def _figure(draw: Callable[[Any, Any], None], content: Any) -> str:
    matplotlib = require("matplotlib.figure", extra="evaluate")
    figure = matplotlib.Figure(figsize=(4.6, 3.9), layout="constrained")
    axes = figure.subplots()
    draw(axes, content)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def _draw_roc(axes: Any, curves: list[tuple[str, Array, Array]]) -> None:
    for name, y, p in curves:
        axes.plot(*m.roc_curve(y, p), lw=1.4, label=name)
    axes.plot([0, 1], [0, 1], color="0.7", lw=0.8, ls="--")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(fontsize=7, frameon=False, loc="lower right")


def _draw_pr(axes: Any, curves: list[tuple[str, Array, Array]]) -> None:
    for name, y, p in curves:
        axes.plot(*m.precision_recall_curve(y, p), lw=1.4, label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(fontsize=7, frameon=False)


def _draw_reliability(axes: Any, curves: list[tuple[str, Array, Array]]) -> None:
    axes.plot([0, 1], [0, 1], color="0.7", lw=0.8, ls="--")
    for name, y, p in curves:
        mean, seen, _ = m.reliability_bins(y, p)
        axes.plot(mean, seen, marker="o", ms=3, lw=1.2, label=name)
    axes.set(xlabel="predicted probability", ylabel="observed frequency", xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(fontsize=7, frameon=False, loc="upper left")


def _draw_confusion(axes: Any, content: tuple[Array, Sequence[str]]) -> None:
    counts, labels = content
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), n in np.ndenumerate(counts):
        axes.text(j, i, str(n), ha="center", va="center", fontsize=8, color="white" if share[i, j] > 0.55 else "black")
    axes.set_xticks(range(len(labels)), labels)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlabel="answer", ylabel="truth")


def _draw_ablation(axes: Any, content: tuple[Mapping[str, Mapping[str, Any]], str]) -> None:
    rows, metric = content
    names = list(rows)
    values = np.asarray([rows[k]["value"] for k in names])
    low = np.asarray([rows[k].get("low") or rows[k]["value"] for k in names])
    high = np.asarray([rows[k].get("high") or rows[k]["value"] for k in names])
    axes.errorbar(
        values,
        range(len(names)),
        xerr=[np.maximum(values - low, 0), np.maximum(high - values, 0)],
        fmt="o",
        capsize=3,
        color="#0b6e74",
    )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.invert_yaxis()
    axes.set(xlabel=metric)
