"""JSIEC-1000: thirty-nine kinds of finding, one numbered folder each."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin
from ._tree import Folder

_CARD = DatasetCard(
    title="JSIEC-1000 (Joint Shantou International Eye Centre)",
    modalities=frozenset({"cfp"}),
    paper="doi:10.1038/s41467-021-25138-w",
    labels={"finding": "name of the folder without its number; 39 of them"},
    images=1000,
    license="see the page of the set",
    ask="kaggle.com/datasets/linchundan/fundusimage1000",
    layout="numbered folders such as '0.0.Normal', '1.0.DR2', '15.0.Retinitis pigmentosa' with pictures.",
    notes="No patient identifier. Grades DR1 to DR3 are not the ICDR scale and are kept as words.",
    **relations("jsiec"),
)
_NUMBERED = re.compile(r"(\d+(?:\.\d+)?)\.\s*(\D.*)")
_SIGNATURE = {"normal", "dr2", "brvo", "crvo", "erm", "mh", "fibrosis", "tessellated fundus", "maculopathy"}


def _classes(folder: Folder) -> list[tuple[str, Folder]]:
    numbered = [(_NUMBERED.fullmatch(f.path.name.strip()), f) for f in folder.folders.values()]
    return [(match.group(2).strip(), f) for match, f in numbered if match]


def _fits(folder: Folder) -> bool:
    return len(_SIGNATURE & {name.casefold() for name, _ in _classes(folder)}) >= 3


LAYOUTS = {"jsiec": _fits}


@datasets.register("jsiec", _CARD)
def jsiec(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture.

    Args:
        root: Folder of the numbered folders (`1000images`), or its parent.
        split: The publisher made none.
    """
    found = begin(root, _fits, _CARD)
    seen: dict[str, str] = {}
    for finding, folder in _classes(found.base):
        for path in folder.pictures(depth=1).values():
            if path.name in seen:
                found.contradiction(path.name, f"stands in {seen[path.name]!r} and in {folder.path.name!r}")
            seen.setdefault(path.name, folder.path.name)
            found.add(
                f"{folder.path.name.strip()}/{path.stem}",
                images={"cfp": [path]},
                labels={"finding": finding},
                origin=found.relative(path),
            )
    found.unlisted(found.base.pictures(depth=1).values())
    if len(_classes(found.base)) < 39:
        found.note(f"{len(_classes(found.base))} of 39 folders are there")
    return found.done(split)
