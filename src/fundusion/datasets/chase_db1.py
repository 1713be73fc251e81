"""CHASE_DB1: both eyes of fourteen children, vessels by two observers."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin, eye_of
from ._tree import DRAWINGS, PICTURES, Folder

_CARD = DatasetCard(
    title="CHASE_DB1",
    modalities=frozenset({"cfp"}),
    paper="doi:10.1109/TBME.2012.2205687",
    masks={
        "vessels": "any value above 0 is vessel (first observer)",
        "vessels_2nd": "the same by a second observer",
        "fov": "any value above 0 is inside the field of view (not part of the download)",
    },
    images=28,
    patients=14,
    license="CC BY 4.0",
    ask="researchdata.kingston.ac.uk/96",
    layout="Image_01L.jpg with Image_01L_1stHO.png and Image_01L_2ndHO.png in one folder, or images/ with labels/.",
    notes="The two eyes of a child stay together: the number is the patient.",
    **relations("chase_db1"),
)
_NAME = re.compile(r"image_(\d+)([lr])(?:_(1stho|2ndho))?")


def _named(folder: Folder | None, types: tuple[str, ...]) -> dict[str, Path]:
    return {s: p for s, p in folder.pictures(types=types).items() if _NAME.fullmatch(s)} if folder else {}


def _fits(folder: Folder) -> bool:
    pictures, truth = (
        (folder.folder("images"), folder.folder("labels")) if folder.folder("images") else (folder, folder)
    )
    return any(s + "_1stho" in _named(truth, DRAWINGS) for s in _named(pictures, PICTURES))


LAYOUTS = {"chase_db1": _fits}


@datasets.register("chase_db1", _CARD)
def chase_db1(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per eye.

    Args:
        root: Folder of the files, or its parent.
        split: The publisher made none.
    """
    found = begin(root, _fits, _CARD)
    inner = found.base.folder("images")
    drawn = _named(found.base.folder("labels") if inner else found.base, DRAWINGS)
    fov = _named(found.base.folder("fov"), DRAWINGS)
    pictures = {s: p for s, p in _named(inner or found.base, PICTURES).items() if not s.endswith("ho")}
    for stem, path in pictures.items():
        match = _NAME.fullmatch(stem)
        masks = {"vessels": drawn.get(f"{stem}_1stho"), "vessels_2nd": drawn.get(f"{stem}_2ndho"), "fov": fov.get(stem)}
        for structure, ending in (("vessels", "1stHO"), ("vessels_2nd", "2ndHO")):
            if masks[structure] is None:
                found.missing(f"{path.stem}_{ending}.png")
        found.add(
            path.stem,
            images={"cfp": [path]},
            patient_id=match.group(1) if match else None,
            laterality=eye_of(match.group(2)) if match else None,
            masks={k: [p] for k, p in masks.items() if p is not None},
            origin=found.relative(path),
        )
    found.unlisted((inner or found.base).pictures().values())
    for stem, path in drawn.items():
        if stem.endswith("ho") and stem.rpartition("_")[0] not in pictures:
            found.missing(f"{path.stem.rpartition('_')[0]}.jpg")
            found.unlisted([path])
    return found.done(split)
