"""A laboratory value that is only a bound: "<0.5", ">200". It is kept as it was written and never becomes a plain number unasked."""

from __future__ import annotations

import re

from .errors import InvalidInput

_WRITTEN = re.compile(r"\s*(<=|>=|<|>|≤|≥|＜|＞)\s*([+-]?\d+(?:\.\d+)?)\s*")
#: What a bound may become where a number is needed. "half" is for lower limits of detection only
#: (Hornung and Reed 1990, doi:10.1080/1047322X.1990.10389587).
RULES = ("keep", "bound", "half", "missing")


class Bound(str):
    """A censored value. It is a string, so that it is printed, stored and compared as it was written.

    Example:
        >>> b = Bound("<0.5")
        >>> b, b.relation, b.value, isinstance(b, str)
        ('<0.5', '<', 0.5, True)
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Bound:
        """Return the bound a text states; other text is refused."""
        if _WRITTEN.fullmatch(text) is None:
            raise InvalidInput(f"{text[:40]!r} is no bound.", code="table.censored", hint="Write <0.5 or >200.")
        return super().__new__(cls, text)

    def _parts(self) -> tuple[str, str]:
        match = _WRITTEN.fullmatch(self)
        return (match[1], match[2]) if match else ("", "nan")

    @property
    def relation(self) -> str:
        """One of <, <=, >, >=."""
        return {"≤": "<=", "≥": ">=", "＜": "<", "＞": ">"}.get(self._parts()[0], self._parts()[0])

    @property
    def value(self) -> float:
        """The number behind the sign."""
        return float(self._parts()[1])

    def resolve(self, rule: str) -> float | None:
        """Return the number a rule makes of it.

        Raises:
            InvalidInput: `table.censored`: the rule is "keep", or "half" for an upper bound.

        Example:
            >>> Bound("<0.5").resolve("half"), Bound(">200").resolve("bound"), Bound(">200").resolve("missing")
            (0.25, 200.0, None)
        """
        if rule == "missing":
            return None
        if rule == "bound":
            return self.value
        if rule == "half" and self.relation.startswith("<"):
            return self.value / 2
        raise InvalidInput(
            f"{str(self)!r} is a bound and not a value.",
            code="table.censored",
            hint='State a rule in the schema: censored = "bound", "half" (below a limit) or "missing".',
        )


def as_bound(text: str) -> Bound | None:
    """Return the bound a text states, or None.

    Example:
        >>> as_bound("≤ 3").relation, as_bound("3")
        ('<=', None)
    """
    return Bound(text.strip()) if _WRITTEN.fullmatch(text) else None
