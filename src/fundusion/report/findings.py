"""Predictions -> structured findings with certainty; never one for a picture that is not gradable."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.results import Finding, Prediction, Quality
from ..core.tasks import Task
from ..core.vocabulary import MODALITY_TITLES, REFERABLE_ICDR_GRADE
from ..decision.operating_point import status

_STATUS = {"positive": "present", "negative": "absent", "uncertain": "uncertain"}


def compose_findings(
    predictions: Mapping[str, Prediction],
    *,
    tasks: Mapping[str, Task],
    quality: Quality | None,
    missing: tuple[str, ...] = (),
) -> tuple[Finding, ...]:
    """Return one finding per question a reader would ask, in the order of the tasks.

    Args:
        predictions: Task to prediction.
        tasks: Task to its labels and titles.
        quality: Verdict of the gate; nothing is stated of a picture that is not gradable.
        missing: Modalities the network could have used; named in the evidence.
    """
    if quality is not None and not quality.gradable:
        return ()
    evidence = tuple(f"without {MODALITY_TITLES.get(m, m)}" for m in missing)
    findings: list[Finding] = []
    for name, prediction in predictions.items():
        task = tasks[name]
        if name == "gradable":
            continue
        if task.kind == "multilabel":
            findings += [_label_finding(name, task, prediction, k, evidence) for k in task.labels if k != "N"]
        elif task.kind == "ordinal":
            findings.append(_grade_finding(name, task, prediction, evidence))
        elif task.kind in ("binary", "multiclass") and prediction.label is not None:
            p = prediction.probabilities[prediction.label]
            findings.append(
                Finding(
                    name=f"{_words(name)}: {task.title(prediction.label)}",
                    status="uncertain" if prediction.decision == "uncertain" else "present",
                    certainty=p,
                    task=name,
                    text=f"{_words(name).capitalize()}: {task.title(prediction.label)} ({certainty_words(p)}).",
                    evidence=evidence,
                )
            )
        elif prediction.value is not None:
            text = f"{_words(name).capitalize()} {prediction.value:.3g} {prediction.unit or ''}".rstrip() + "."
            findings.append(
                Finding(name=_words(name), status="present", certainty=None, task=name, text=text, evidence=evidence)
            )
    return tuple(findings)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _label_finding(name: str, task: Task, prediction: Prediction, label: str, evidence: tuple[str, ...]) -> Finding:
    p = prediction.probabilities[label]
    state = _STATUS[status(p, prediction.thresholds.get(label, 0.5))]
    title = task.title(label)
    text = {
        "present": f"Signs of {title}." if p >= 0.5 else f"Raised probability of {title}.",
        "absent": f"No sign of {title}.",
        "uncertain": f"{title.capitalize()} cannot be excluded.",
    }[state]
    return Finding(name=title, status=state, certainty=p, task=name, text=text, evidence=evidence)


def _grade_finding(name: str, task: Task, prediction: Prediction, evidence: tuple[str, ...]) -> Finding:
    label = prediction.label or task.labels[0]
    if name != "dr_grade":
        p = prediction.probabilities[label]
        text = f"{_words(name).capitalize()}: {task.title(label)} ({certainty_words(p)})."
        return Finding(
            name=f"{_words(name)} {label}", status="present", certainty=p, task=name, text=text, evidence=evidence
        )
    referable = sum(p for k, p in prediction.probabilities.items() if int(k) >= REFERABLE_ICDR_GRADE)
    state = _STATUS[status(referable, 0.5)]
    text = (
        f"Retinopathy grade (ICDR) {label}, {task.title(label)}; probability of referable retinopathy "
        f"(grade {REFERABLE_ICDR_GRADE} or more) {percent(referable)}."
    )
    return Finding(
        name="referable diabetic retinopathy",
        status=state,
        certainty=referable,
        task=name,
        text=text,
        evidence=evidence,
    )


def percent(probability: float) -> str:
    """Return a probability as a whole per cent; never a certainty.

    Example:
        >>> percent(0.999), percent(0.48), percent(0.0)
        ('>99 %', '48 %', '<1 %')
    """
    if probability >= 0.995:
        return ">99 %"
    return "<1 %" if probability < 0.005 else f"{probability:.0%}".replace("%", " %")


def certainty_words(probability: float) -> str:
    """Return words for a probability.

    Example:
        >>> certainty_words(0.97), certainty_words(0.6)
        ('very likely', 'more likely than not')
    """
    bounds = (
        (0.95, "very likely"),
        (0.8, "likely"),
        (0.5, "more likely than not"),
        (0.2, "possible"),
        (0.0, "unlikely"),
    )
    return next(words for bound, words in bounds if probability >= bound)
