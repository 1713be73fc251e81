"""Whether the data that were given are among those a model was trained on."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ..core.errors import FundusionError
from ..core.registry import datasets
from ..shipped import shipped_facts
from .problems import Problem

#: Name of a registered set and names of training sets, as a card writes them -> those that hold it, or parts of it.
Overlap = Callable[[str, Sequence[str]], Sequence[str]]


def training_sets(model: str) -> tuple[str, ...]:
    """Return the training sets that the card of a shipped model names.

    Raises:
        UnknownName: No such model.
    """
    return tuple(str(s) for s in shipped_facts(model).get("card", {}).get("training_data", ()))


def overlap_by_name(test_set: str, training: Sequence[str]) -> tuple[str, ...]:
    """Return the training sets that bear the name of the set, or the first word of its title.

    Example:
        >>> overlap_by_name("idrid", ["ODIR-5K (research use only)", "IDRiD disease grading"])
        ('IDRiD disease grading',)
    """
    try:
        title = datasets.card(test_set).title
    except (FundusionError, LookupError):
        title = test_set
    stems = {_stem(test_set), _stem(title)}
    return tuple(t for t in training if _stem(t) in stems)


def contaminated(
    sources: Sequence[tuple[str, str]], model: str, *, overlap: Overlap = overlap_by_name
) -> list[Problem]:
    """Return a problem for each input that is, or overlaps, training data of the model.

    Args:
        sources: Name of an input and the registered set it was read as.
        model: Shipped model.
        overlap: Tells which training sets hold a set.
    """
    training = training_sets(model)
    problems = []
    for source, name in sources:
        held = overlap(name, training)
        if held:
            sentence = (
                f"{source} ({name}) is or overlaps training data of the model {model!r} ({', '.join(held)}): "
                "what is measured on it says nothing about new patients"
            )
            problems.append(Problem(code="model.contamination", sentence=sentence, studies=()))
    return problems


def _stem(name: str) -> str:
    return re.split(r"[-_ ,.(0-9]", name.strip().lower(), maxsplit=1)[0]
