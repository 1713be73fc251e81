"""Label cells -> numbers of a task: NaN where not annotated, an error where a value is not in the label set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ..core.errors import InvalidInput
from ..core.study import is_missing
from ..core.tasks import Task


def encode_label(task: Task, value: Any) -> npt.NDArray[np.float32] | float:
    """Return the number of one cell: a class index, a grade, 0/1, a quantity, or `(K,)` for multi-label.

    Args:
        task: What the head answers.
        value: Cell: number, label word, "A|B" or "none" (multi-label), mapping of label to 0/1/NaN, or missing.

    Raises:
        InvalidInput: The value is not in the label set (`label.unknown`); grades of another scale are never clipped.

    Example:
        >>> from fundusion.core.tasks import MultiLabel, Ordinal
        >>> encode_label(Ordinal(5), "2.0"), encode_label(MultiLabel("NDG"), "D|G").tolist()
        (2.0, [0.0, 1.0, 1.0])
    """
    if task.kind == "multilabel":
        return _encode_multilabel(task, value)
    if is_missing(value):
        return float("nan")
    if task.kind == "regression":
        return _number(task, value)
    if task.kind == "binary" and isinstance(value, (bool, np.bool_)):
        return float(value)
    if isinstance(value, str) and value.strip() in task.labels:
        return float(task.labels.index(value.strip()))
    number = _number(task, value)
    as_word = str(int(number)) if number == int(number) else None
    if as_word in task.labels:
        return float(task.labels.index(as_word))
    numbered = all(label.lstrip("-").isdigit() for label in task.labels)
    if as_word is None or numbered or not 0 <= number < len(task.labels):
        raise _unknown(task, value)
    return number


def _number(task: Task, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise _unknown(task, value) from None
    if not np.isfinite(number):
        raise _unknown(task, value)
    return number


def _encode_multilabel(task: Task, value: Any) -> npt.NDArray[np.float32]:
    if isinstance(value, Mapping):
        strange = sorted(set(map(str, value)) - set(task.labels))
        if strange:
            raise _unknown(task, strange)
        row = np.full(len(task.labels), np.nan, np.float32)
        for i, label in enumerate(task.labels):
            cell = value.get(label)
            if is_missing(cell):
                continue
            if cell is None or float(cell) not in (0.0, 1.0):
                raise _unknown(task, cell)
            row[i] = float(cell)
        return row
    if is_missing(value):
        return np.full(len(task.labels), np.nan, np.float32)
    words = [w.strip() for w in str(value).split("|") if w.strip()]
    if words == ["none"]:
        words = []
    strange = sorted(set(words) - set(task.labels))
    if strange:
        raise _unknown(task, strange)
    return np.asarray([float(label in words) for label in task.labels], np.float32)


def _unknown(task: Task, value: Any) -> InvalidInput:
    return InvalidInput(
        f"label {str(value)[:60]!r} is not in the label set {list(task.labels)}.",
        code="label.unknown",
        hint="Correct the cell, or leave it empty when the study is not annotated.",
    )


def encode_labels(task: Task, values: Sequence[Any]) -> npt.NDArray[np.float32]:
    """Return the targets of many studies: `(B,)`, multi-label `(B, K)`; NaN means not annotated."""
    rows = [encode_label(task, v) for v in values]
    if task.kind == "multilabel":
        return (
            np.stack([np.asarray(r, np.float32) for r in rows]) if rows else np.zeros((0, len(task.labels)), np.float32)
        )
    return np.asarray(rows, np.float32)
