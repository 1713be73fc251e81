"""Queries and what was found for them -> one HTML page: pictures side by side, what the table says of each, no outside request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .render import environment, template_file, trusted

#: Longest report that is shown in full, characters.
_LONGEST = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One picture or report.

    Args:
        title: Study, or the words that were asked for.
        facts: What is known of it, short.
        picture: Data URI; empty when there is none.
        text: Report, for a report.
        similarity: To the query; None for the query itself.
        rank: Place in the list from 1.
    """

    title: str
    facts: str = ""
    picture: str = ""
    text: str = ""
    similarity: float | None = None
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A query and its hits, the most similar first."""

    query: Card
    hits: tuple[Card, ...]


def similar_page(answers: Sequence[Answer], *, notes: Sequence[str] = ()) -> str:
    """Return the page.

    Args:
        answers: In order.
        notes: Sentences about model, conditions and method, below the pictures.

    Example:
        >>> page = similar_page([Answer(query=Card(title="<b>"), hits=(Card(title="p1", similarity=0.5, rank=1),))])
        >>> "&lt;b&gt;" in page, "0.500" in page
        (True, True)
    """
    return (
        environment()
        .get_template("similar.html")
        .render(
            title="Similar eyes",
            answers=answers,
            notes=notes,
            shorten=lambda text: text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...",
            style=trusted(template_file("style.css")),
        )
    )
