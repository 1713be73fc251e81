"""What a head answers: labels, kind and unit of a task. Plain values, no tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .errors import InvalidInput
from .vocabulary import ICDR_LABELS, ODIR_LABELS

KINDS = ("binary", "multiclass", "multilabel", "ordinal", "regression")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One question of a network.

    Args:
        kind: One of `KINDS`.
        labels: Label names in the order of the outputs. Binary: (negative, positive). Regression: empty.
        titles: Label to the words a report uses; a label without a title is its own title.
        method: Ordinal only: "corn" (Shi et al. 2023, doi:10.1007/s10044-023-01181-9) or
            "coral" (Cao et al. 2020, doi:10.1016/j.patrec.2020.11.008).
        unit: Regression only.
        center: Regression only: value subtracted before training, so that outputs are near zero.
        scale: Regression only: value divided by.
    """

    kind: str
    labels: tuple[str, ...] = ()
    titles: dict[str, str] = field(default_factory=dict)
    method: str = "corn"
    unit: str | None = None
    center: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput(f"task kind {self.kind!r} is not one of {KINDS}.")
        object.__setattr__(self, "labels", tuple(str(label) for label in self.labels))
        if len(set(self.labels)) != len(self.labels):
            raise InvalidInput(f"labels repeat: {self.labels}.")
        least = {"binary": 2, "multiclass": 2, "multilabel": 1, "ordinal": 2, "regression": 0}[self.kind]
        if len(self.labels) < least or (self.kind == "binary" and len(self.labels) != 2):
            raise InvalidInput(f"a {self.kind} task cannot have {len(self.labels)} labels.")
        if self.kind == "regression" and self.labels:
            raise InvalidInput("a regression task has a unit, not labels.")
        if self.method not in ("corn", "coral"):
            raise InvalidInput(f"ordinal method {self.method!r} is not 'corn' or 'coral'.")

    @property
    def outputs(self) -> int:
        """Number of logits the head emits.

        Example:
            >>> Ordinal(5).outputs, MultiLabel("ABC").outputs, Binary().outputs
            (4, 3, 1)
        """
        return {
            "binary": 1,
            "multiclass": len(self.labels),
            "multilabel": len(self.labels),
            "ordinal": len(self.labels) - 1,
            "regression": 1,
        }[self.kind]

    def title(self, label: str) -> str:
        """Return the words for a label."""
        return self.titles.get(label, label)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form; `Task.from_dict` reads it."""
        return {**asdict(self), "labels": list(self.labels)}

    @staticmethod
    def from_dict(value: dict[str, Any]) -> Task:
        """Return the task a `to_dict` form describes."""
        return Task(**{**value, "labels": tuple(value.get("labels", ()))})


def Binary(*, negative: str = "no", positive: str = "yes") -> Task:
    """Return a yes/no task."""
    return Task(kind="binary", labels=(negative, positive))


def MultiClass(labels: tuple[str, ...] | list[str] | str) -> Task:
    """Return a task with exactly one right label."""
    return Task(kind="multiclass", labels=tuple(labels))


def MultiLabel(labels: tuple[str, ...] | list[str] | str, *, titles: dict[str, str] | None = None) -> Task:
    """Return a task where any number of labels may hold and entries may be unknown."""
    return Task(kind="multilabel", labels=tuple(labels), titles=titles or {})


def Ordinal(grades: int | tuple[str, ...] | list[str], *, method: str = "corn") -> Task:
    """Return a graded task; an integer gives the labels "0" .. "grades - 1"."""
    labels = tuple(str(g) for g in range(grades)) if isinstance(grades, int) else tuple(grades)
    return Task(kind="ordinal", labels=labels, method=method)


def Regression(*, unit: str, center: float = 0.0, scale: float = 1.0) -> Task:
    """Return a task whose answer is a quantity with a unit."""
    return Task(kind="regression", unit=unit, center=center, scale=scale)


#: Tasks with a fixed meaning: naming one of these in a configuration gives its labels and titles.
STANDARD_TASKS: dict[str, Task] = {
    "dr_grade": Task(
        kind="ordinal",
        labels=("0", "1", "2", "3", "4"),
        titles={str(i): name for i, name in enumerate(ICDR_LABELS)},
    ),
    "disease": Task(kind="multilabel", labels=tuple(ODIR_LABELS), titles=dict(ODIR_LABELS)),
    "gradable": Task(kind="binary", labels=("ungradable", "gradable")),
}
