"""EyePACS as shared for the 2015 competition: retinopathy grade 0-4 of both eyes of 44,351 patients."""

from __future__ import annotations

from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin, disease_of, eye_of
from ._tables import has_columns
from ._tree import Folder, stem_of

_CARD = DatasetCard(
    title="EyePACS (diabetic retinopathy detection 2015)",
    modalities=frozenset({"cfp"}),
    paper="kaggle.com/c/diabetic-retinopathy-detection",
    labels={"dr_grade": "ICDR 0-4", "disease": "D, and N = 0 where D"},
    images=88702,
    patients=44351,
    license="competition rules",
    ask="kaggle.com/c/diabetic-retinopathy-detection",
    layout="trainLabels.csv (image, level) beside train/; retinopathy_solution.csv beside test/.",
    splits=("train", "test"),
    notes="The number before `_` is the patient. Grades are of one reader and known to be noisy. Resized copies are read too.",
    **relations("eyepacs"),
)
_PARTS = {
    "train": (("trainlabels*.csv",), ("train", "resized_train*", "resized train*")),
    "test": (("retinopathy_solution.csv", "testlabels*.csv"), ("test", "resized_test*", "resized test*")),
}


def _table(folder: Folder, part: str) -> Path | None:
    names = _PARTS[part][0]
    # An archive `trainLabels.csv.zip` may have been unpacked into a folder `trainLabels.csv`.
    inner = [f for key, f in folder.folders.items() if key.endswith(".csv") or key.endswith(".csv.zip")]
    found = (here.file(*names) for here in (folder, *inner))
    return next((path for path in found if has_columns(path, "image", "level")), None)


def _pictures(folder: Folder, part: str) -> Folder | None:
    return next((f for name in _PARTS[part][1] if (f := folder.folder(name)) is not None), None)


def _fits(folder: Folder) -> bool:
    return any(_table(folder, part) and _pictures(folder, part) for part in _PARTS)


LAYOUTS = {"eyepacs": _fits}


@datasets.register("eyepacs", _CARD)
def eyepacs(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per eye.

    Args:
        root: Folder with `trainLabels.csv` and `train/`, or its parent.
        split: "train" or "test"; None takes both.
    """
    found = begin(root, _fits, _CARD)
    for part in _PARTS:
        table, folder = _table(found.base, part), _pictures(found.base, part)
        files = folder.pictures(depth=1) if folder else {}
        if table is None:
            if files:
                found.note(f"the {part} pictures have no table of labels; they were left out")
            continue
        for row in found.rows(table, needs=["image", "level"]):
            name = row["image"]
            patient, _, side = name.rpartition("_")
            path = found.pick(files, stem_of(name), expected=f"{part}/{name}.jpeg")
            if path is None:
                continue
            grade = found.grade(row, "level", 4)
            found.add(
                name,
                images={"cfp": [path]},
                patient_id=patient or None,
                laterality=eye_of(side),
                labels={"dr_grade": grade, "disease": disease_of(grade)},
                split=part,
                origin=row.origin,
            )
        found.unlisted(files.values())
    return found.done(split)
