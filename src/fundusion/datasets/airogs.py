"""AIROGS (Rotterdam EyePACS): referable glaucoma or not, about 101,000 photographs in six parts."""

from __future__ import annotations

from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin
from ._tables import has_columns
from ._tree import Folder, stem_of

_CARD = DatasetCard(
    title="AIROGS (Rotterdam EyePACS), training part",
    modalities=frozenset({"cfp"}),
    paper="doi:10.1109/TMI.2023.3313786",
    labels={"glaucoma": "0 no referable glaucoma (NRG), 1 referable glaucoma (RG)"},
    images=101442,
    splits=("train",),
    license="CC BY-NC-ND 4.0",
    ask="airogs.grand-challenge.org",
    layout="train_labels.csv (challenge_id, class) beside the folders of pictures (0/ to 5/, or img/, or images/).",
    notes="About 54,000 patients, but the published files do not say who: no patient identifier.",
    **relations("airogs"),
)


def _fits(folder: Folder) -> bool:
    return has_columns(folder.file("train_labels.csv", "*labels*.csv"), "challenge_id", "class")


LAYOUTS = {"airogs": _fits}


@datasets.register("airogs", _CARD)
def airogs(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture.

    Args:
        root: Folder with `train_labels.csv`, or its parent.
        split: The publisher gives labels of the training part only; "train" or None.
    """
    found = begin(root, _fits, _CARD)
    table = found.base.file("train_labels.csv", "*labels*.csv")
    files = found.base.pictures(depth=2)
    for row in found.rows(table, needs=["challenge_id", "class"]) if table else ():
        name = row["challenge_id"]
        path = found.pick(files, stem_of(name), expected=f"{name}.jpg")
        if path is not None:
            labels = {"glaucoma": found.choice(row, "class", {"nrg": 0.0, "rg": 1.0})}
            found.add(name, images={"cfp": [path]}, labels=labels, split="train", origin=row.origin)
    found.unlisted(files.values())
    return found.done(split)
