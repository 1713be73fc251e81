"""APTOS 2019: retinopathy grade 0-4. Competition rules; no patient identifier, many near-duplicates."""

from __future__ import annotations

from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin, disease_of
from ._tables import has_columns
from ._tree import Folder, stem_of

_CARD = DatasetCard(
    title="APTOS 2019 blindness detection",
    modalities=frozenset({"cfp"}),
    paper="kaggle.com/c/aptos2019-blindness-detection",
    labels={"dr_grade": "ICDR 0-4 (training part)", "disease": "D, and N = 0 where D"},
    images=5590,
    license="competition rules",
    ask="kaggle.com/c/aptos2019-blindness-detection",
    layout="train.csv (id_code, diagnosis) beside train_images/; test.csv beside test_images/ is read too.",
    splits=("train", "val", "test"),
    notes="3,662 labelled pictures and 1,928 without labels; no patient identifier, near-duplicates.",
    **relations("aptos"),
)
#: Part to names of its table; mirrors cut a validation part off and number the tables.
_TABLES = {
    "train": ("train.csv", "train_1.csv"),
    "val": ("valid.csv", "val.csv"),
    "test": ("test.csv",),
}


def _fits(folder: Folder) -> bool:
    return folder.folder("train_images") is not None and has_columns(
        folder.file(*_TABLES["train"]), "id_code", "diagnosis"
    )


LAYOUTS = {"aptos": _fits}


@datasets.register("aptos", _CARD)
def aptos(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture; pictures of the test part have no labels.

    Args:
        root: Folder with `train.csv` and `train_images/`, or its parent.
        split: "train", "val" or "test"; None takes all.
    """
    found = begin(root, _fits, _CARD)
    for part, names in _TABLES.items():
        table = found.base.file(*names)
        if table is None:
            continue
        folder = found.base.folder(f"{part}_images") or found.base.folder(f"{part}id_images")
        files = folder.pictures() if folder else {}
        for row in found.rows(table, needs=["id_code"]):
            name = row["id_code"]
            path = found.pick(files, stem_of(name), expected=f"{part}_images/{name}.png")
            if path is not None:
                grade = found.grade(row, "diagnosis", 4)
                labels = {"dr_grade": grade, "disease": disease_of(grade)}
                found.add(name, images={"cfp": [path]}, labels=labels, split=part, origin=row.origin)
        found.unlisted(files.values())
    return found.done(split)
