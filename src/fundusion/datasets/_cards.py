"""Cards of the public sets in words: a line of a list, a card on the screen, the page of the documentation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..core.registry import Card, DatasetCard, datasets
from ._overlap import seen_by
from ._recognise import public_sets

_ORDER = ("cfp", "uwf", "ffa", "oct", "slo", "table", "text")


def words_of(names: Iterable[str]) -> str:
    """Return names joined by commas, modalities in the order of the list of modalities.

    Example:
        >>> words_of(frozenset({"table", "cfp"}))
        'cfp, table'
    """
    given = list(names)
    return ", ".join(sorted(given, key=_ORDER.index) if all(n in _ORDER for n in given) else given)


def size_of(card: DatasetCard) -> str:
    """Return how many pictures and patients a set has, as far as published.

    Example:
        >>> size_of(DatasetCard(title="x", images=10000, patients=5000)), size_of(DatasetCard(title="x"))
        ('10,000 of 5,000', 'not published')
    """
    if card.images is None:
        return "not published"
    return f"{card.images:,}" + (f" of {card.patients:,}" if card.patients else "")


def card_lines(name: str, card: Card) -> Iterator[str]:
    """Yield the lines of a card."""
    yield f"{name}: {card.title}"
    if not isinstance(card, DatasetCard):
        yield f"  {card.notes}"
        return
    yield f"  holds           {words_of(card.modalities)}"
    yield (
        f"  size            {size_of(card)} (pictures of patients)"
        if card.patients
        else f"  size            {size_of(card)}"
    )
    if card.splits:
        yield f"  parts           {', '.join(card.splits)}"
    for title, meanings in (("label", card.labels), ("drawn truth", card.masks)):
        for task, meaning in meanings.items():
            yield f"  {title:<15} {task}: {meaning}"
    yield f"  terms           {card.license}"
    yield f"  ask at          {card.ask}"
    yield f"  paper           {card.paper}"
    yield f"  folder          {card.layout}"
    if card.notes:
        yield f"  mind            {card.notes}"
    for title, names in (("is inside", card.contained_in), ("contains", card.contains), ("overlaps", card.overlaps)):
        if names:
            yield f"  {title:<15} {', '.join(names)}"
    saw = seen_by(name)
    if saw:
        yield f"  seen by         {', '.join(saw)}: a test on it is no test on unseen eyes for these models"


def markdown() -> str:
    """Return the page `docs/reference/datasets.md`."""
    lines = [
        "# Public sets",
        "",
        "Made by `fundusion datasets --markdown` from the cards; do not edit by hand.",
        "",
        "Each set is read from the folder as it was unpacked, or from its parent. No set is downloaded for you and no picture is",
        "shipped: ask for it where the table says, under its terms.",
        "",
        "| name | set | holds | size | terms | ask at |",
        "|---|---|---|---|---|---|",
    ]
    names = public_sets()
    for name in names:
        card = datasets.card(name)
        cells = (
            f"[`{name}`](#{_anchor(name)})",
            card.title,
            words_of(card.modalities),
            size_of(card),
            card.license,
            card.ask,
        )
        lines.append("| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |")
    for name in names:
        card = datasets.card(name)
        lines += ["", f"## {name}", "", f"{card.title}. Paper: {card.paper}.", "", f"Folder: {card.layout}", ""]
        lines += [f"- label `{task}`: {meaning}" for task, meaning in card.labels.items()]
        lines += [f"- drawn truth `{task}`: {meaning}" for task, meaning in card.masks.items()]
        lines += [f"- parts: {', '.join(card.splits)}"] if card.splits else []
        for title, others in (
            ("is inside", card.contained_in),
            ("contains", card.contains),
            ("overlaps", card.overlaps),
        ):
            lines += [f"- {title}: {', '.join(others)}"] if others else []
        lines += [f"- seen in the training of: {', '.join(seen_by(name))}"] if seen_by(name) else []
        lines += ["", card.notes] if card.notes else []
    return "\n".join(lines) + "\n"


def _anchor(name: str) -> str:
    return name.replace(".", "").lower()
