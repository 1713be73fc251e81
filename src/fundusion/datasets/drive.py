"""DRIVE: vessels drawn by one observer (by two on the test part of the first release) and the field of view."""

from __future__ import annotations

from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin
from ._tree import DRAWINGS, Folder

_CARD = DatasetCard(
    title="DRIVE",
    modalities=frozenset({"cfp"}),
    paper="doi:10.1109/TMI.2004.825627",
    masks={
        "vessels": "any value above 0 is vessel (first observer)",
        "vessels_2nd": "the same by a second observer, test part of the first release",
        "fov": "any value above 0 is inside the field of view",
    },
    images=40,
    license="research use only",
    ask="drive.grand-challenge.org",
    layout="training/ with images/, 1st_manual/ and mask/; test/ with images/ and mask/.",
    splits=("train", "test"),
    notes="Masks are GIF as downloaded. The new download has no truth of the test part. No patient identifier.",
    **relations("drive"),
)
_PLACES = {"vessels": "1st_manual", "vessels_2nd": "2nd_manual", "fov": "mask"}


def _fits(folder: Folder) -> bool:
    return folder.folder("training", "images") is not None and folder.folder("training", "1st_manual") is not None


LAYOUTS = {"drive": _fits}


@datasets.register("drive", _CARD)
def drive(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture.

    Args:
        root: Folder with `training/` and `test/`, or its parent.
        split: "train" or "test"; None takes both.
    """
    found = begin(root, _fits, _CARD)
    for part, name in (("train", "training"), ("test", "test")):
        folder = found.base.folder(name)
        images = folder.folder("images") if folder else None
        if folder is None or images is None:
            continue
        drawn: dict[str, dict[str, Path]] = {}
        for structure, place in _PLACES.items():
            inner = folder.folder(place)
            files = inner.pictures(types=DRAWINGS) if inner else {}
            # 21_training.tif, 21_manual1.gif and 21_training_mask.gif belong together by their number.
            drawn[structure] = {stem.partition("_")[0]: path for stem, path in files.items()}
        pictures = images.pictures()
        numbers = {s.partition("_")[0]: path for s, path in pictures.items() if s.partition("_")[0].isdigit()}
        for number, path in numbers.items():
            masks = {k: [files[number]] for k, files in drawn.items() if number in files}
            for structure in ("vessels", "fov"):
                if drawn[structure] and structure not in masks:
                    found.missing(f"{name}/{_PLACES[structure]}/{number}_*")
            found.add(f"{part}_{number}", images={"cfp": [path]}, masks=masks, split=part, origin=found.relative(path))
        found.unlisted(pictures.values())
        for structure, files in drawn.items():
            for number in files.keys() - numbers.keys():
                found.missing(f"{name}/images/{number}_*")
            found.unlisted(files.values())
            if not files and structure == "vessels":
                found.note(f"the {name} part has no drawn vessels")
    return found.done(split)
