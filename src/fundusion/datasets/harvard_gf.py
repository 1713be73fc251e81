"""Harvard-GF: OCT volumes and thickness maps of 3,300 people for glaucoma, with visual fields and groups of people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..core.registry import DatasetCard, datasets
from ._archive import entries, small_entries
from ._overlap import relations
from ._reading import Collector, Reading, begin
from ._tables import has_columns, number_of
from ._tree import Folder

_CARD = DatasetCard(
    title="Harvard-GF",
    modalities=frozenset({"oct", "table"}),
    paper="arXiv:2306.09264",
    labels={"glaucoma": "0 or 1", "mean_deviation_db": "mean deviation of the visual field, dB"},
    images=3300,
    patients=3300,
    license="CC BY-NC-ND 4.0",
    ask="ophai.hms.harvard.edu/datasets/harvard-gf3300",
    layout="Training/, Validation/, Test/ (or one folder) of data_xxxx.npz with the entries rnflt, oct_bscans, glaucoma, md.",
    splits=("train", "val", "test"),
    notes="2,100, 300 and 900 eyes, one per person. -1 of age, sex, race, language, marital status and ethnicity is missing. "
    "Volumes stay inside their archives: data_xxxx.npz#oct_bscans; the thickness map is data_xxxx.npz#rnflt. Codes of groups "
    "are kept as published. No patient identifier.",
    **relations("harvard_gf"),
)
_PARTS = {"train": ("training", "train"), "val": ("validation", "val"), "test": ("test",)}
_CODES = ("race", "language", "maritalstatus", "ethnicity")


def _places(folder: Folder) -> dict[str | None, Folder]:
    named = {part: f for part, names in _PARTS.items() for name in names if (f := folder.folder(name)) is not None}
    return named or {None: folder}


def _fits(folder: Folder) -> bool:
    # A few of each part: the first archive of a part may be the damaged one.
    looked_at = [p for f in _places(folder).values() for p in f.all("data_*.npz", "*.npz")[:3]]
    return any({"rnflt", "oct_bscans", "glaucoma"} <= entries(path) for path in looked_at)


LAYOUTS = {"harvard_gf": _fits}


@datasets.register("harvard_gf", _CARD)
def harvard_gf(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per eye.

    Args:
        root: Folder with `Training/`, `Validation/`, `Test/`, or its parent.
        split: "train", "val" or "test"; None takes all.
    """
    found = begin(root, _fits, _CARD)
    for part, folder in _places(found.base).items():
        for path in folder.all("*.npz"):
            facts = _facts(path)
            where = found.relative(path)
            if "oct_bscans" not in entries(path):
                found.contradiction(where, "the archive has no entry oct_bscans", lost=where)
                found.use(path)
                continue
            glaucoma = facts.get("glaucoma")
            if glaucoma not in (0.0, 1.0, None):
                found.contradiction(where, f"glaucoma is {glaucoma:g}; known are 0, 1")
                glaucoma = None
            number = re.sub(r"^data_", "", path.stem)
            found.add(
                f"{part}_{number}" if part else number,
                images={"oct": [f"{path}#oct_bscans"]},
                metadata=_person(facts),
                labels={"glaucoma": glaucoma, "mean_deviation_db": facts.get("md")},
                split=part,
                origin=where,
            )
        found.unlisted(folder.pictures().values())
    table = found.base.file("*summary*.csv", "*filelist*.csv")
    if table is not None:
        _compare(found, table)
    return found.done(split)


def _compare(found: Collector, table: Path) -> None:
    if not has_columns(table, "filename"):
        return
    there = {p.name.casefold() for f in _places(found.base).values() for p in f.all("*.npz")}
    listed = {row["filename"].casefold() for row in found.rows(table, needs=["filename"]) if row["filename"]}
    for name in sorted(listed - there):
        found.lost(name)
    found.unlisted(Path(name) for name in sorted(there - listed))


def _facts(path: Path) -> dict[str, float]:
    found = small_entries(path, "glaucoma", "md", "age", "male", *_CODES)
    return {key: number for key, text in found.items() if (number := number_of(text)) is not None}


def _person(facts: dict[str, float]) -> dict[str, Any]:
    age = facts.get("age", -1.0)
    codes = {name: str(int(facts[name])) if facts.get(name, -1.0) >= 0 else None for name in _CODES}
    return {"age": age if age >= 0 else None, "sex": {1.0: "male", 0.0: "female"}.get(facts.get("male", -1.0)), **codes}
