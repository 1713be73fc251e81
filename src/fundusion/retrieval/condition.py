"""`--where`: a small language of conditions over the columns of an index, turned into SQL with bound values.

    age > 60 and sex = female
    dr_grade in (3, 4) and not camera = "unit 2"
    hba1c is missing or report contains drusen

A cell that is missing fulfils no comparison and no negation of one; `is missing` asks for it by name.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..core.errors import InvalidInput

#: Longest condition, characters, and deepest nesting.
MAX_LENGTH, MAX_DEPTH = 2000, 20
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?(?![\w.]))
    |(?P<quoted>"[^"]*"|'[^']*')
    |(?P<sign><=|>=|!=|<>|==|[=<>(),])
    |(?P<word>[^\W\d][\w.]*|\d[\w.]*))""",
    re.VERBOSE,
)
_SIGNS = {"==": "=", "<>": "!="}
_KEYWORDS = frozenset({"and", "or", "not", "in", "is", "missing", "contains"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column that can be asked for.

    Args:
        sql: Expression that gives its cell, NULL when missing. Written by this package, never by a user.
        kinds: What its cells hold: "number", "text" or both.
    """

    sql: str
    kinds: frozenset[str]


def compile_condition(text: str, columns: Mapping[str, Column]) -> tuple[str, list[float | str]]:
    """Return an SQL expression and the values it binds.

    Args:
        text: The condition.
        columns: By the name a user writes.

    Raises:
        InvalidInput: `where.syntax`, `where.column` (with the columns there are) or `where.type`.

    Example:
        >>> compile_condition("age > 60", {"age": Column(sql="a", kinds=frozenset({"number"}))})
        ("(CASE WHEN typeof(a) != 'text' THEN a END) > ?", [60.0])
    """
    if len(text) > MAX_LENGTH:
        raise _wrong(text[:40] + "...", f"it is longer than {MAX_LENGTH} characters")
    reader = _Reader(text, columns)
    sql = reader.either(0)
    if reader.here < len(reader.tokens):
        raise _wrong(text, f"{reader.tokens[reader.here][1]!r} was not expected")
    return sql, reader.values


def _wrong(text: str, why: str) -> InvalidInput:
    return InvalidInput(
        f"the condition {text!r} is not understood: {why}.",
        code="where.syntax",
        hint="For instance: age > 60 and sex = female; dr_grade in (3, 4); hba1c is missing; report contains drusen.",
    )


def _tokens(text: str) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            raise _wrong(text, f"{text[at:].strip()[:20]!r} is no number, word, quoted text or sign")
        kind = match.lastgroup or ""
        found.append((kind, match[kind]))
        at = match.end()
    return found


class _Reader:
    def __init__(self, text: str, columns: Mapping[str, Column]) -> None:
        self.text, self.columns = text, columns
        self.tokens = _tokens(text)
        self.here = 0
        self.values: list[float | str] = []
        if not self.tokens:
            raise _wrong(text, "it is empty")

    def peek(self) -> str:
        """Return the keyword or sign at hand, else an empty text."""
        if self.here >= len(self.tokens):
            return ""
        kind, value = self.tokens[self.here]
        if kind == "sign":
            return _SIGNS.get(value, value)
        return value.lower() if kind == "word" and value.lower() in _KEYWORDS else ""

    def take(self, *wanted: str) -> str:
        """Step over one of some keywords or signs; an empty text when none of them is at hand."""
        found = self.peek()
        if found in wanted:
            self.here += 1
            return found
        return ""

    def need(self, wanted: str) -> None:
        if not self.take(wanted):
            raise _wrong(self.text, f"{wanted!r} is missing")

    def either(self, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise _wrong(self.text, f"it is nested more than {MAX_DEPTH} deep")
        parts = [self.both(depth)]
        while self.take("or"):
            parts.append(self.both(depth))
        return parts[0] if len(parts) == 1 else "(" + " OR ".join(parts) + ")"

    def both(self, depth: int) -> str:
        parts = [self.one(depth)]
        while self.take("and"):
            parts.append(self.one(depth))
        return parts[0] if len(parts) == 1 else "(" + " AND ".join(parts) + ")"

    def one(self, depth: int) -> str:
        if depth > MAX_DEPTH:
            raise _wrong(self.text, f"it is nested more than {MAX_DEPTH} deep")
        if self.take("not"):
            # NULL stays NULL under NOT: a missing cell fulfils neither side.
            return f"(NOT {self.one(depth + 1)})"
        if self.take("("):
            inner = self.either(depth + 1)
            self.need(")")
            return inner
        return self.comparison()

    def comparison(self) -> str:
        column = self.column()
        sign = self.take("=", "!=", "<", "<=", ">", ">=", "in", "is", "contains", "not")
        if sign == "is":
            absent = not self.take("not")
            self.need("missing")
            return f"({column.sql} IS {'' if absent else 'NOT '}NULL)"
        if sign == "not":
            self.need("in")
            return f"(NOT {self.members(column)})"
        if sign == "in":
            return self.members(column)
        if sign == "contains":
            value = str(self.literal(as_text=True))
            self.values.append(value.casefold())
            return f"(instr(fold({self.cell(column, value)}), ?) > 0)"
        if not sign:
            raise _wrong(self.text, "after a column comes =, !=, <, <=, >, >=, in (...), contains, or is missing")
        value = self.literal(as_text="number" not in column.kinds)
        self.values.append(value)
        return f"{self.cell(column, value)} {sign} ?"

    def members(self, column: Column) -> str:
        self.need("(")
        parts = []
        while True:
            value = self.literal(as_text="number" not in column.kinds)
            self.values.append(value)
            parts.append(f"{self.cell(column, value)} = ?")
            if not self.take(","):
                break
        self.need(")")
        return "(" + " OR ".join(parts) + ")"

    def column(self) -> Column:
        if self.here >= len(self.tokens) or self.tokens[self.here][0] not in ("word", "quoted"):
            raise _wrong(self.text, "a column is missing")
        kind, value = self.tokens[self.here]
        self.here += 1
        name = value[1:-1] if kind == "quoted" else value
        if name not in self.columns:
            close = difflib.get_close_matches(name, self.columns, n=1)
            raise InvalidInput(
                f"the index has no column {name!r}.",
                code="where.column",
                hint=(f"Did you mean {close[0]!r}? " if close else "") + f"It has: {_listed(self.columns)}.",
            )
        self.name = name
        return self.columns[name]

    def literal(self, *, as_text: bool) -> float | str:
        if self.here >= len(self.tokens):
            raise _wrong(self.text, "a value is missing at the end")
        kind, value = self.tokens[self.here]
        if kind == "sign":
            raise _wrong(self.text, f"a value was expected before {value!r}")
        self.here += 1
        if kind == "quoted":
            return value[1:-1]
        # The cells of a text column are texts even where they look like numbers: "007" is not 7.
        return value if kind == "word" or as_text else float(value)

    def cell(self, column: Column, value: float | str) -> str:
        """Return the cell where it has the type of the value, else NULL, so that text is never compared with a number."""
        wanted = "text" if isinstance(value, str) else "number"
        if wanted not in column.kinds:
            have = " and ".join(sorted(column.kinds)) or "nothing"
            raise InvalidInput(
                f"column {self.name!r} holds {have}; it cannot be compared with the {wanted} {value!r}.",
                code="where.type",
                hint="Text is written in quotes or as one word, numbers without: sex = female, age > 60.",
            )
        return f"(CASE WHEN typeof({column.sql}) {'=' if wanted == 'text' else '!='} 'text' THEN {column.sql} END)"


def _listed(names: Sequence[str] | Mapping[str, Column], limit: int = 40) -> str:
    listed = sorted(names)
    return ", ".join(listed[:limit]) + (f" and {len(listed) - limit} more" if len(listed) > limit else "")
