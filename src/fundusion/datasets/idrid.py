"""IDRiD: retinopathy grade and risk of macular oedema (B), drawn lesions and disc (A), centres of disc and fovea (C). CC BY 4.0.

There is no patient identifier, and there are near-identical pictures with different grades: `fundusion check` lists them.
The numbers of A are independent of those of B and C, and the test pictures of B and C begin at 001 again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Collector, Reading, begin, disease_of
from ._tables import Row, has_columns
from ._tree import DRAWINGS, Folder, stem_of

_PLACES = {
    "paper": "doi:10.3390/data3030025",
    "license": "CC BY 4.0",
    "ask": "ieee-dataport.org/open-access/indian-diabetic-retinopathy-image-dataset-idrid",
    "modalities": frozenset({"cfp"}),
    "splits": ("train", "test"),
}
_GRADING = DatasetCard(
    title="IDRiD, disease grading",
    labels={"dr_grade": "ICDR 0-4", "dme_risk": "0-2", "disease": "D, and N = 0 where D"},
    images=516,
    layout="'2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv' and '1. Original Images', or labels.csv "
    "(image, dr_grade, dme_risk).",
    notes="Names of training and test pictures collide; identifiers here carry the part. No patient identifier; "
    "near-identical pictures with different grades.",
    **_PLACES,
    **relations("idrid"),
)
_SEGMENTATION = DatasetCard(
    title="IDRiD, segmentation",
    masks={
        **dict.fromkeys(("MA", "HE", "EX", "SE"), "any value above 0 is lesion"),
        "disc": "any value above 0 is optic disc",
    },
    images=81,
    layout="'1. Original Images' and '2. All Segmentation Groundtruths', or train/images with train/masks.",
    notes="A lesion without a file is absent in that eye, not unannotated. No patient identifier.",
    **_PLACES,
    **relations("idrid.segmentation"),
)
_LOCALIZATION = DatasetCard(
    title="IDRiD, localisation",
    labels={"disc_centre_px": "(row, column) of the optic disc centre", "fovea_px": "(row, column) of the fovea"},
    images=516,
    layout="'1. Original Images' and '2. Groundtruths/1. Optic Disc Center Location' with its fovea sister.",
    notes="Coordinates are pixels of the original 4288 x 2848 pictures. No patient identifier.",
    **_PLACES,
    **relations("idrid.localization"),
)
_STRUCTURES = {"ma": "MA", "he": "HE", "ex": "EX", "se": "SE", "od": "disc"}


def _part_of(name: str) -> str:
    return "test" if "test" in name.casefold() else "train"


def _truths(folder: Folder) -> Folder | None:
    return folder.folder("2. groundtruths") if folder.folder("1. original images") else None


def _graded(folder: Folder) -> bool:
    if has_columns(folder.file("labels.csv"), "image", "dr_grade", "dme_risk"):
        return True
    truths = _truths(folder)
    return truths is not None and bool(truths.all("*disease grading*.csv", "*disease grading*.xlsx"))


def _segmented(folder: Folder) -> bool:
    if folder.folder("1. original images") and folder.folder("2. all segmentation groundtruths"):
        return True
    return any(
        (images := folder.folder(part, "images")) is not None
        and folder.folder(part, "masks") is not None
        and images.file("idrid_*") is not None
        for part in ("train", "test")
    )


def _located(folder: Folder) -> bool:
    truths = _truths(folder)
    return truths is not None and truths.folder("*optic disc cent*") is not None


LAYOUTS = {"idrid": _graded, "idrid.segmentation": _segmented, "idrid.localization": _located}


@datasets.register("idrid", _GRADING)
def idrid(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per graded picture.

    Args:
        root: "B. Disease Grading" as unpacked or a parent of it, or a folder with `labels.csv`.
        split: "train" or "test"; None takes both.
    """
    found = begin(root, _graded, _GRADING)
    simple = found.base.file("labels.csv")
    if simple is not None and has_columns(simple, "image", "dr_grade"):
        files = {
            f"{part}/{stem}": path for part in ("train", "test") for stem, path in _originals(found.base, part).items()
        }
        for row in found.rows(simple, needs=["image", "dr_grade", "dme_risk"]):
            place = Path(row["image"])
            path = found.pick(files, f"{_part_of(place.parent.name)}/{stem_of(place.name)}", expected=row["image"])
            if path is not None:
                _grade(found, row, path, _part_of(place.parent.name), ("dr_grade", "dme_risk"))
        found.unlisted(files.values())
        return found.done(split)
    truths = _truths(found.base)
    for table in truths.all("*disease grading*.csv", "*disease grading*.xlsx") if truths else ():
        part = _part_of(table.name)
        files = _originals(found.base, part)
        for row in found.rows(table, needs=["image name", "retinopathy grade"]):
            name = row["image name"]
            path = found.pick(files, stem_of(name), expected=f"1. Original Images/{part}/{name}.jpg") if name else None
            if path is not None:
                _grade(found, row, path, part, ("retinopathy grade", "risk of macular edema"))
        found.unlisted(files.values())
    return found.done(split)


def _grade(found: Collector, row: Row, path: Path, part: str, columns: tuple[str, str]) -> None:
    grade = found.grade(row, columns[0], 4)
    # A retinopathy grade says whether the eye has retinopathy; of the other labels it says nothing, but such an eye is not normal.
    labels = {"dr_grade": grade, "dme_risk": found.grade(row, columns[1], 2), "disease": disease_of(grade)}
    found.add(f"{part}_{path.stem}", images={"cfp": [path]}, labels=labels, split=part, origin=row.origin)


@datasets.register("idrid.segmentation", _SEGMENTATION)
def idrid_segmentation(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture with drawn lesions.

    Args:
        root: "A. Segmentation" as unpacked or a parent of it, or a folder with `train/images` and `train/masks`.
        split: "train" or "test"; None takes both.
    """
    found = begin(root, _segmented, _SEGMENTATION)
    for part in ("train", "test"):
        files, drawn = _originals(found.base, part), _drawn(found.base, part)
        masks: dict[str, dict[str, list[Path]]] = {}
        for stem, path in drawn.items():
            picture, _, code = stem.rpartition("_")
            structure = _STRUCTURES.get(code)
            if structure is None or picture not in files:
                continue
            masks.setdefault(picture, {}).setdefault(structure, []).append(path)
        for stem, path in files.items():
            if stem not in masks:
                found.missing(f"groundtruths of {part}/{path.name}")
                continue
            found.add(path.stem, images={"cfp": [path]}, masks=masks[stem], split=part, origin=found.relative(path))
        for picture in {stem.rpartition("_")[0] for stem in drawn} - files.keys():
            found.missing(f"1. Original Images/{part}/{_original(picture)}.jpg")
        found.unlisted([*files.values(), *drawn.values()])
    return found.done(split)


@datasets.register("idrid.localization", _LOCALIZATION)
def idrid_localization(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture with the centres of its optic disc and fovea.

    Args:
        root: "C. Localization" as unpacked or a parent of it.
        split: "train" or "test"; None takes both.
    """
    found = begin(root, _located, _LOCALIZATION)
    truths = _truths(found.base)
    for part in ("train", "test"):
        files = _originals(found.base, part)
        points: dict[str, dict[str, tuple[float, float]]] = {}
        origins: dict[str, str] = {}
        for label, name in (("disc_centre_px", "*optic disc cent*"), ("fovea_px", "*fovea cent*")):
            folder = truths.folder(name) if truths else None
            for stem, point, origin in _points(found, folder, part):
                points.setdefault(stem, {})[label] = point
                origins.setdefault(stem, origin)
        for stem, labels in points.items():
            path = found.pick(files, stem, expected=f"1. Original Images/{part}/{_original(stem)}.jpg")
            if path is not None:
                found.add(
                    f"{part}_{path.stem}", images={"cfp": [path]}, labels=labels, split=part, origin=origins[stem]
                )
        found.unlisted(files.values())
    return found.done(split)


def _points(found: Collector, folder: Folder | None, part: str) -> Iterator[tuple[str, tuple[float, float], str]]:
    for table in folder.all("*.csv", "*.xlsx") if folder else ():
        if _part_of(table.name) != part:
            continue
        for row in found.rows(table, needs=[("image no", "image name", "image"), ("x coordinate", "x")]):
            name = row["image no"] or row["image name"] or row["image"]
            x, y = (row[f"{axis} coordinate"] or row[axis] for axis in "xy")
            if not name:
                continue
            column, line = row.number("x coordinate"), row.number("y coordinate")
            column, line = row.number("x") if column is None else column, row.number("y") if line is None else line
            if column is None or line is None:
                if x or y:
                    found.contradiction(row.origin, f"the point of {name} is ({x!r}, {y!r})")
                continue
            yield stem_of(name), (line, column), row.origin


def _original(stem: str) -> str:
    """Return the spelling of the publisher for a compared stem, for messages."""
    return stem.replace("idrid", "IDRiD")


def _originals(base: Folder, part: str) -> dict[str, Path]:
    simple = base.folder(part, "images") or base.folder(part)
    if simple is not None:
        return simple.pictures()
    images = base.folder("1. original images")
    folders = [f for f in images.folders.values() if _part_of(f.path.name) == part] if images else []
    return {stem: path for f in folders for stem, path in f.pictures(depth=1).items()}


def _drawn(base: Folder, part: str) -> dict[str, Path]:
    simple = base.folder(part, "masks")
    if simple is not None:
        return simple.pictures(types=DRAWINGS)
    truths = base.folder("2. all segmentation groundtruths")
    folders = [f for f in truths.folders.values() if _part_of(f.path.name) == part] if truths else []
    return {stem: path for f in folders for stem, path in f.pictures(depth=1, types=DRAWINGS).items()}
