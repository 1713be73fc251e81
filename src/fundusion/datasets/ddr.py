"""DDR (OIA-DDR): retinopathy grade where 5 means ungradable; drawn lesions of 757 of the pictures apart."""

from __future__ import annotations

from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin, disease_of
from ._tree import DRAWINGS, Folder, stem_of

_SHARED = {
    "modalities": frozenset({"cfp"}),
    "paper": "doi:10.1016/j.ins.2019.06.011",
    "license": "research use, see the page of the set",
    "ask": "github.com/nkicsl/DDR-dataset",
    "splits": ("train", "val", "test"),
}
_GRADING = DatasetCard(
    title="DDR, grading",
    labels={
        "dr_grade": "ICDR 0-4",
        "gradable": "grade 5 of the table is ungradable",
        "disease": "D, and N = 0 where D",
    },
    images=13673,
    layout="DR_grading/ with train/, valid/, test/ and train.txt, valid.txt, test.txt (name.jpg grade).",
    notes="No patient identifier: names such as 007-2846-100.jpg have a structure that nobody documents.",
    **_SHARED,
    **relations("ddr"),
)
_SEGMENTATION = DatasetCard(
    title="DDR, lesion segmentation",
    masks=dict.fromkeys(("MA", "HE", "EX", "SE"), "any value above 0 is lesion"),
    images=757,
    layout="lesion_segmentation/ with train/, valid/, test/, each image/ and label/ (in valid: 'segmentation label/').",
    notes="383, 149 and 225 pictures. No patient identifier.",
    **_SHARED,
    **relations("ddr.segmentation"),
)
_PARTS = {"train": "train", "val": "valid", "test": "test"}


def _graded(folder: Folder) -> bool:
    return any(folder.file(f"{name}.txt") and folder.folder(name) for name in _PARTS.values()) and (
        "grading" in folder.path.name.casefold() or folder.file("valid.txt") is not None
    )


def _label(part: Folder) -> Folder | None:
    return part.folder("label") or part.folder("segmentation label")


def _segmented(folder: Folder) -> bool:
    parts = [folder.folder(name) for name in _PARTS.values()]
    return any(
        p is not None and p.folder("image") and (t := _label(p)) and t.folder("MA") and t.folder("EX") for p in parts
    )


LAYOUTS = {"ddr": _graded, "ddr.segmentation": _segmented}


@datasets.register("ddr", _GRADING)
def ddr(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per graded picture.

    Args:
        root: Folder as unpacked (`DDR-dataset`), `DR_grading`, or a parent.
        split: "train", "val" or "test"; None takes all.
    """
    found = begin(root, _graded, _GRADING)
    for part, name in _PARTS.items():
        table, folder = found.base.file(f"{name}.txt"), found.base.folder(name)
        files = folder.pictures() if folder else {}
        lines = table.read_text("utf-8-sig", errors="replace").splitlines() if table else []
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            picture, _, grade = line.strip().rpartition(" ")
            origin = f"{name}.txt:{number}"
            path = found.pick(files, stem_of(picture), expected=f"{name}/{picture}")
            if grade not in tuple("012345"):
                what = f"the grade of {picture or line!r} is {grade[:20]!r}; known are 0 to 5"
                found.contradiction(origin, what, lost=f"{part}_{picture}")
                continue
            if path is None:
                continue
            known = float(grade) if grade != "5" else None
            labels = {
                "dr_grade": known,
                "gradable": "gradable" if known is not None else "ungradable",
                "disease": disease_of(known),
            }
            found.add(f"{part}_{path.stem}", images={"cfp": [path]}, labels=labels, split=part, origin=origin)
        found.unlisted(files.values())
    return found.done(split)


@datasets.register("ddr.segmentation", _SEGMENTATION)
def ddr_segmentation(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture with drawn lesions.

    Args:
        root: Folder as unpacked (`DDR-dataset`), `lesion_segmentation`, or a parent.
        split: "train", "val" or "test"; None takes all.
    """
    found = begin(root, _segmented, _SEGMENTATION)
    for part, name in _PARTS.items():
        folder = found.base.folder(name)
        images = folder.folder("image") if folder else None
        if folder is None or images is None:
            continue
        truth = _label(folder)
        drawn = {k: f.pictures(types=DRAWINGS) for k in ("MA", "HE", "EX", "SE") if truth and (f := truth.folder(k))}
        for stem, path in images.pictures().items():
            masks = {k: [files[stem]] for k, files in drawn.items() if stem in files}
            if not masks:
                found.missing(f"{found.relative(folder.path)}/label/*/{path.stem}.tif")
                continue
            found.add(
                f"{part}_{path.stem}", images={"cfp": [path]}, masks=masks, split=part, origin=found.relative(path)
            )
        found.unlisted(images.pictures().values())
        for files in drawn.values():
            for stem in files.keys() - images.pictures().keys():
                found.missing(f"{found.relative(images.path)}/{stem}.jpg")
            found.unlisted(files.values())
    return found.done(split)
