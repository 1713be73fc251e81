"""FIVES: 800 photographs with drawn vessels; the letter of a name is the disease."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin
from ._tree import DRAWINGS, Folder

_CARD = DatasetCard(
    title="FIVES",
    modalities=frozenset({"cfp"}),
    paper="doi:10.1038/s41597-022-01564-3",
    labels={
        "fives_class": "amd, diabetic_retinopathy, glaucoma, normal",
        "disease": "A, D, G or N, as far as the class says",
    },
    masks={"vessels": "any value above 0 is vessel"},
    images=800,
    license="CC BY 4.0",
    ask="figshare.com/articles/figure/FIVES/19688169",
    layout="train/ and test/, each with Original/ and 'Ground truth/'.",
    splits=("train", "test"),
    notes="Names begin at 1 again in test; identifiers here carry the part. The outer folder is often doubled. Quality "
    "Assessment.xlsx is not read: which end of its scale is good is not documented. No patient identifier.",
    **relations("fives"),
)
_CLASSES = {
    "a": ("amd", {"A": 1.0, "N": 0.0}),
    "d": ("diabetic_retinopathy", {"D": 1.0, "N": 0.0}),
    "g": ("glaucoma", {"G": 1.0, "N": 0.0}),
    "n": ("normal", {"N": 1.0}),
}
_NAME = re.compile(r"\d+_([adgn])")


def _fits(folder: Folder) -> bool:
    for part in ("train", "test"):
        images = folder.folder(part, "original")
        # Folders of these names are common; the names of the pictures are not.
        if images and folder.folder(part, "ground truth") and any(_NAME.fullmatch(s) for s in images.pictures()):
            return True
    return False


LAYOUTS = {"fives": _fits}


@datasets.register("fives", _CARD)
def fives(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture.

    Args:
        root: Folder as unpacked, or its parent.
        split: "train" or "test"; None takes both.
    """
    found = begin(root, _fits, _CARD)
    for part in ("train", "test"):
        images, truth = found.base.folder(part, "original"), found.base.folder(part, "ground truth")
        pictures = images.pictures() if images else {}
        drawn = truth.pictures(types=DRAWINGS) if truth else {}
        for stem, path in pictures.items():
            match = _NAME.fullmatch(stem)
            if match is None:
                continue
            name, disease = _CLASSES[match.group(1)]
            if stem not in drawn:
                found.missing(f"{part}/Ground truth/{path.name}")
            masks = {"vessels": [drawn[stem]]} if stem in drawn else {}
            labels = {"fives_class": name, "disease": disease}
            origin = found.relative(path)
            found.add(
                f"{part}_{path.stem}", images={"cfp": [path]}, masks=masks, labels=labels, split=part, origin=origin
            )
        found.unlisted(pictures.values())
        for stem in drawn.keys() - pictures.keys():
            found.missing(f"{part}/Original/{stem}.png")
        found.unlisted(drawn.values())
    return found.done(split)
