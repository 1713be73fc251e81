"""Typed columns of the patient table: unit, plausible range, levels; cells become numbers with a missing mask."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .bound import RULES, Bound, as_bound
from .errors import InvalidInput
from .study import is_missing
from .units import KNOWN_COLUMNS

#: Words a table uses for one level; compared without case.
LEVEL_WORDS: dict[str, dict[str, str]] = {
    "sex": {
        "male": "male", "m": "male", "man": "male", "男": "male",
        "female": "female", "f": "female", "woman": "female", "女": "female",
    },
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column.

    Args:
        name: Name in `Study.metadata`.
        kind: "number" or "category".
        unit: Unit of a number.
        levels: Allowed words of a category, in the order of their index.
        low: Least plausible value.
        high: Greatest plausible value.
        mean: Mean over the training patients; standardises numbers.
        std: Standard deviation over the training patients.
        censored: What a bound such as "<0.5" becomes: "bound", "half", "missing"; None and "keep" refuse it.
    """

    name: str
    kind: str = "number"
    unit: str | None = None
    levels: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    mean: float = 0.0
    std: float = 1.0
    censored: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("number", "category"):
            raise InvalidInput(f"column {self.name!r} has kind {self.kind!r}; use 'number' or 'category'.")
        if self.kind == "category" and not self.levels:
            raise InvalidInput(f"category column {self.name!r} needs levels.")
        if not (math.isfinite(self.mean) and math.isfinite(self.std) and self.std > 0):
            raise InvalidInput(f"column {self.name!r} has mean {self.mean} and std {self.std}.")
        if self.censored is not None and self.censored not in RULES:
            raise InvalidInput(f"column {self.name!r} has censored = {self.censored!r}; use one of {RULES}.")

    def encode(self, value: Any) -> float | None:
        """Return the number a cell becomes, or None when it is missing.

        Raises:
            InvalidInput: Not a number, outside the plausible range, or not a level.
        """
        if is_missing(value):
            return None
        if self.kind == "category":
            word = str(value).strip().casefold()
            word = LEVEL_WORDS.get(self.name, {}).get(word, word)
            index = {level.casefold(): i for i, level in enumerate(self.levels)}.get(word)
            if index is None:
                raise InvalidInput(
                    f"column {self.name!r} holds {str(value)[:40]!r}, which is none of {list(self.levels)}.",
                    code="table.level",
                    hint="Correct the cell, or leave it empty if the value is not known.",
                )
            return float(index)
        bound = as_bound(value) if isinstance(value, str) else None
        if bound is not None:
            value = self._resolve(bound)
            if value is None:
                return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise InvalidInput(
                f"column {self.name!r} holds {str(value)[:40]!r}, which is not a number.",
                code="table.not_a_number",
                hint="Use a decimal point and no unit in the cell.",
            ) from None
        low, high = self.low, self.high
        if not math.isfinite(number) or (low is not None and number < low) or (high is not None and number > high):
            raise InvalidInput(
                f"column {self.name!r} holds {number:g}; plausible is {low} to {high} {self.unit or ''}".rstrip() + ".",
                code="table.range",
                hint="Check the unit of the column.",
            )
        return (number - self.mean) / self.std

    def _resolve(self, bound: Bound) -> float | None:
        try:
            return bound.resolve(self.censored or "keep")
        except InvalidInput as error:
            raise InvalidInput(
                f"column {self.name!r} holds {error.message}", code=error.code, hint=error.hint
            ) from None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableSchema:
    """The columns a network reads, in order."""

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) != len(names):
            raise InvalidInput(f"columns repeat: {names}.")

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns in order."""
        return tuple(c.name for c in self.columns)

    def encode(self, metadata: Mapping[str, Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Return the cells of one study as `(F,)` numbers and a mask that is True where a value is known.

        Raises:
            InvalidInput: A cell is not usable; the message names the column.
        """
        values = np.zeros(len(self.columns), np.float32)
        known = np.zeros(len(self.columns), np.bool_)
        for i, column in enumerate(self.columns):
            number = column.encode(metadata.get(column.name))
            if number is not None:
                values[i], known[i] = number, True
        return values, known

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready form."""
        return {"columns": [{**asdict(c), "levels": list(c.levels)} for c in self.columns]}

    @staticmethod
    def from_dict(value: Mapping[str, Any]) -> TableSchema:
        """Return the schema a `to_dict` form describes."""
        return TableSchema(
            columns=tuple(Column(**{**c, "levels": tuple(c.get("levels", ()))}) for c in value["columns"])
        )

    @staticmethod
    def fit(
        rows: Sequence[Mapping[str, Any]],
        *,
        names: Iterable[str] | None = None,
        censored: Mapping[str, str] | None = None,
    ) -> TableSchema:
        """Return a schema read off training rows: kinds, levels, means and deviations over known cells.

        Args:
            rows: Metadata of the training studies, one mapping each.
            names: Columns to use; None takes every column of which at least one cell is known.
            censored: Column to the rule for its bounds ("<0.5"): "bound", "half", "missing". Without one they are refused.

        Example:
            >>> schema = TableSchema.fit([{"age": 40, "sex": "F"}, {"age": 60, "sex": "male"}, {"age": None}])
            >>> [(c.name, c.kind, c.mean, c.levels) for c in schema.columns]
            [('age', 'number', 50.0, ()), ('sex', 'category', 0.0, ('female', 'male'))]
        """
        wanted = list(names) if names is not None else sorted({k for row in rows for k in row})
        columns = []
        for name in wanted:
            cells = [row.get(name) for row in rows if not is_missing(row.get(name))]
            if not cells:
                if names is not None:
                    raise InvalidInput(f"column {name!r} is empty in the training rows.", code="table.empty_column")
                continue
            columns.append(_fit_column(name, cells, (censored or {}).get(name)))
        return TableSchema(columns=tuple(columns))


def _fit_column(name: str, cells: list[Any], censored: str | None) -> Column:
    bounds = [b for c in cells if isinstance(c, str) and (b := as_bound(c)) is not None]
    if bounds:
        # A bound must not turn a column of numbers into one of words.
        probe = Column(name=name, censored=censored)
        cells = [c for c in cells if not (isinstance(c, str) and as_bound(c) is not None)]
        cells += [n for n in (probe._resolve(b) for b in bounds) if n is not None]
        if not cells:
            raise InvalidInput(f"column {name!r} holds bounds only.", code="table.empty_column")
    numbers = []
    for cell in cells:
        try:
            numbers.append(float(cell))
        except (TypeError, ValueError):
            break
    if len(numbers) != len(cells) or name in LEVEL_WORDS:
        words = LEVEL_WORDS.get(name, {})
        levels = sorted({words.get(str(c).strip().casefold(), str(c).strip().casefold()) for c in cells})
        if len(levels) > 64:
            raise InvalidInput(
                f"column {name!r} has {len(levels)} different words; it looks like free text or an identifier.",
                code="table.too_many_levels",
                hint="Leave it out, or map it to a few levels.",
            )
        return Column(name=name, kind="category", levels=tuple(levels))
    known = KNOWN_COLUMNS.get(name)
    std = float(np.std(numbers))
    return Column(
        name=name,
        unit=known.unit if known else None,
        low=known.low if known else None,
        high=known.high if known else None,
        mean=float(np.mean(numbers)),
        std=std if std > 1e-6 else 1.0,
        censored=censored,
    )
