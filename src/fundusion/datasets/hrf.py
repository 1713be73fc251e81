"""HRF: high-resolution photographs of healthy, diabetic and glaucomatous eyes with drawn vessels."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin
from ._tree import DRAWINGS, Folder

_CARD = DatasetCard(
    title="HRF",
    modalities=frozenset({"cfp"}),
    paper="doi:10.1155/2013/154860",
    labels={"hrf_class": "healthy, diabetic_retinopathy, glaucoma", "disease": "N, D or G, as far as the class says"},
    masks={
        "vessels": "any value above 0 is vessel",
        "fov": "any value above 0 is inside the field of view",
        "artery_vein": "red artery, blue vein, green uncertain (a later addition)",
    },
    images=45,
    license="CC BY 4.0",
    ask="www5.cs.fau.de/research/data/fundus-images",
    layout="images/01_dr.JPG with manual1/ and mask/.",
    notes="The end of a name is the class; types are .JPG and .jpg. No patient identifier.",
    **relations("hrf"),
)
_CLASSES = {
    "h": ("healthy", {"N": 1.0}),
    "dr": ("diabetic_retinopathy", {"D": 1.0, "N": 0.0}),
    "g": ("glaucoma", {"G": 1.0, "N": 0.0}),
}
_NAME = re.compile(r"\d\d_(dr|g|h)")
_PLACES = {"vessels": ("manual1", ""), "fov": ("mask", "_mask"), "artery_vein": ("av", "_avmanual")}


def _fits(folder: Folder) -> bool:
    images = folder.folder("images")
    named = images is not None and any(_NAME.fullmatch(s) for s in images.pictures())
    return named and folder.folder("manual1") is not None


LAYOUTS = {"hrf": _fits}


@datasets.register("hrf", _CARD)
def hrf(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture.

    Args:
        root: Folder with `images/` and `manual1/`, or its parent.
        split: The publisher made none.
    """
    found = begin(root, _fits, _CARD)
    images = found.base.folder("images")
    pictures = images.pictures() if images else {}
    drawn: dict[str, dict[str, Path]] = {}
    for structure, (place, ending) in _PLACES.items():
        folder = found.base.folder(place)
        files = folder.pictures(types=DRAWINGS) if folder else {}
        drawn[structure] = {stem.removesuffix(ending): path for stem, path in files.items()}
    for stem, path in pictures.items():
        match = _NAME.fullmatch(stem)
        if match is None:
            continue
        name, disease = _CLASSES[match.group(1)]
        masks = {k: [files[stem]] for k, files in drawn.items() if stem in files}
        if "vessels" not in masks:
            found.missing(f"manual1/{path.stem}.tif")
        labels = {"hrf_class": name, "disease": disease}
        found.add(path.stem, images={"cfp": [path]}, masks=masks, labels=labels, origin=found.relative(path))
    found.unlisted(pictures.values())
    for files in drawn.values():
        for stem in files.keys() - pictures.keys():
            found.missing(f"images/{stem}.jpg")
        found.unlisted(files.values())
    return found.done(split)
