"""STARE: vessels drawn by two observers, diagnoses in words."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Collector, Reading, begin
from ._tables import grid, has_columns, rows
from ._tree import DRAWINGS, Folder, stem_of

_CARD = DatasetCard(
    title="STARE",
    modalities=frozenset({"cfp"}),
    paper="doi:10.1109/42.845178",
    labels={"diagnoses": "words of the publisher, in lower case"},
    masks={
        "vessels": "any value above 0 is vessel, by A. Hoover (by V. Kouznetsova where only hers are there)",
        "vessels_2nd": "the same by V. Kouznetsova",
        "fov": "any value above 0 is inside the field of view (not part of the download)",
    },
    images=397,
    license="research use",
    ask="cecas.clemson.edu/~ahoover/stare",
    layout="stare-images/im0001.ppm(.gz) with labels-ah/ and labels-vk/, and all-mg-codes.txt; or images/ with labels/ and "
    "diagnoses.csv.",
    notes="Twenty pictures have drawn vessels. Gzipped PPM is read as it is. No patient identifier.",
    **relations("stare"),
)
_NAME = re.compile(r"im\d{4}")


def _images(folder: Folder) -> Folder | None:
    for name in ("stare-images", "all-images", "images"):
        found = folder.folder(name)
        if found is not None and any(_NAME.fullmatch(s) for s in found.pictures(types=DRAWINGS)):
            return found
    return None


def _fits(folder: Folder) -> bool:
    truth = any(folder.folder(n) for n in ("labels-ah", "labels-vk", "labels")) or folder.file("all-mg-codes.txt")
    return _images(folder) is not None and bool(truth)


LAYOUTS = {"stare": _fits}


@datasets.register("stare", _CARD)
def stare(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture.

    Args:
        root: Folder with `stare-images/` (or `images/`), or its parent.
        split: The publisher made none.
    """
    found = begin(root, _fits, _CARD)
    images = _images(found.base)
    files = images.pictures(types=DRAWINGS) if images else {}
    drawn = _drawn(found)
    said = _diagnoses(found.base)
    for stem, path in files.items():
        if not _NAME.fullmatch(stem):
            continue
        words, origin = said.get(stem, ((), found.relative(path)))
        masks = {structure: [paths[stem]] for structure, paths in drawn.items() if stem in paths}
        labels = {"diagnoses": words} if words else {}
        found.add(stem, images={"cfp": [path]}, masks=masks, labels=labels, origin=origin)
    found.unlisted(files.values())
    for paths in drawn.values():
        for stem in paths.keys() - files.keys():
            found.missing(f"{images.path.name if images else 'images'}/{stem}.ppm")
        found.unlisted(paths.values())
    # The table of codes lists all 397 pictures; the archive with drawn vessels holds twenty of them.
    absent = said.keys() - files.keys()
    if found.base.file("diagnoses.csv"):
        for stem in sorted(absent):
            found.missing(f"images/{stem}")
    elif absent:
        found.note(f"{len(absent)} pictures of all-mg-codes.txt are not in this folder")
    return found.done(split)


def _drawn(found: Collector) -> dict[str, dict[str, Path]]:
    readers: dict[str, dict[str, Path]] = {"ah": {}, "vk": {}}
    for name in ("labels-ah", "labels-vk", "labels"):
        folder = found.base.folder(name)
        for stem, path in folder.pictures(types=DRAWINGS).items() if folder else ():
            picture, _, reader = stem.partition(".")
            reader = reader or name[-2:]
            if reader in readers:
                readers[reader][picture] = path
    fov = found.base.folder("fov")
    drawn = {"vessels": readers["ah"], "vessels_2nd": readers["vk"], "fov": fov.pictures(types=DRAWINGS) if fov else {}}
    if not readers["ah"] and readers["vk"]:
        found.note("only the vessels of the second observer (vk) are there; they stand under `vessels`")
        drawn |= {"vessels": readers["vk"], "vessels_2nd": {}}
    return drawn


def _diagnoses(base: Folder) -> dict[str, tuple[tuple[str, ...], str]]:
    said: dict[str, tuple[tuple[str, ...], str]] = {}
    codes, table = base.file("all-mg-codes.txt"), base.file("diagnoses.csv")
    if codes is not None:
        for number, line in enumerate(grid(codes), 1):
            if line and _NAME.fullmatch(line[0].casefold()):
                words = [c for c in line[1:] if re.search("[A-Za-z]", c)]
                said[line[0].casefold()] = (_split(" and ".join(words)), f"{codes.name}:{number}")
    elif has_columns(table, "image", "diagnosis") and table is not None:
        for row in rows(table, needs=["image", "diagnosis"]):
            said[stem_of(row["image"])] = (_split(row["diagnosis"]), row.origin)
    return said


def _split(text: str) -> tuple[str, ...]:
    pieces = re.split(r";|\band\b", text.casefold())
    return tuple(dict.fromkeys(p.strip(" ,") for p in pieces if p.strip(" ,?")))
