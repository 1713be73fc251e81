"""B-scans of the macula with or without subretinal fluid, as a table `labels.csv` lists them."""

from __future__ import annotations

from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin
from ._tables import has_columns
from ._tree import Folder, stem_of

_CARD = DatasetCard(
    title="Macular B-scans with and without subretinal fluid",
    modalities=frozenset({"oct"}),
    paper="none known",
    labels={"subretinal_fluid": "0 or 1"},
    license="no licence is stated: for tests only",
    ask="not published as a set of its own",
    layout="labels.csv (image, srf) beside the folder of the B-scans.",
    notes="No patient identifier.",
    **relations("oct_srf"),
)


def _fits(folder: Folder) -> bool:
    return has_columns(folder.file("labels.csv"), "image", "srf")


LAYOUTS = {"oct_srf": _fits}


@datasets.register("oct_srf", _CARD)
def oct_srf(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per B-scan.

    Args:
        root: Folder with `labels.csv`, or its parent.
        split: The publisher made none.
    """
    found = begin(root, _fits, _CARD)
    table = found.base.file("labels.csv")
    files = found.base.pictures(depth=1)
    for row in found.rows(table, needs=["image", "srf"]) if table else ():
        path = found.pick(files, stem_of(Path(row["image"]).name), expected=row["image"])
        if path is not None:
            labels = {"subretinal_fluid": found.grade(row, "srf", 1)}
            found.add(path.stem, images={"oct": [path]}, labels=labels, origin=row.origin)
    found.unlisted(files.values())
    return found.done(split)
