"""Which public set a folder holds, by its layout alone; a layout that fits two sets is not recognised."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._tree import Folder, glance, locate


def layouts() -> dict[str, Callable[[Folder], object]]:
    """Return what tells each public set: the name of the set to a test of a folder."""
    found: dict[str, Callable[[Folder], object]] = {}
    for name in public_sets():
        module = importlib.import_module(f"{datasets.package}.{name.partition('.')[0]}")
        found[name] = module.LAYOUTS[name]
    return found


def public_sets() -> list[str]:
    """Return the names of the sets that are published somewhere, in order."""
    return [name for name in datasets.names() if isinstance(datasets.card(name), DatasetCard)]


def recognise(folder: str | Path) -> list[str]:
    """Return the names of the sets whose layout a folder (or one inside it) has.

    Only the beginning of long listings is looked at, so that a folder of a million files costs no more than others.

    Args:
        folder: What a person pointed at.
    """
    seen = glance(folder)
    return [name for name, fits in layouts().items() if locate(seen, fits) is not None]


def the_set_of(folder: str | Path) -> tuple[str | None, list[str]]:
    """Return the one set a folder holds (None when none or several fit) and all that fit.

    Parts of one set, such as the grading and the segmentation of IDRiD, are one: its main part is meant.
    """
    names = recognise(folder)
    families = sorted({name.partition(".")[0] for name in names})
    if len(families) != 1:
        return None, names
    return (families[0] if families[0] in names else names[0]), names


def set_named(word: str) -> str:
    """Return the registered name for a spelling such as "RFMiD", "Messidor-2" or "CHASE_DB1"; else the word itself.

    Example:
        >>> set_named("Messidor-2"), set_named("FFA-IR"), set_named("nothing")
        ('messidor2', 'ffa_ir', 'nothing')
    """
    plain = "".join(c for c in word.casefold() if c.isalnum())
    titles = {name: "".join(c for c in datasets.card(name).title.casefold() if c.isalnum()) for name in public_sets()}
    for name in titles:
        if plain == "".join(c for c in name if c.isalnum()):
            return name
    # "ODIR-5K" is the beginning of one title only.
    begun = [name for name, title in titles.items() if len(plain) > 2 and title.startswith(plain)]
    return begun[0] if len(begun) == 1 else word
