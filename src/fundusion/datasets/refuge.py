"""REFUGE: glaucoma, optic disc and cup drawn in grey levels, place of the fovea. 400 pictures in each of three parts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Collector, Reading, begin
from ._tables import Row, has_columns, rows
from ._tree import DRAWINGS, Folder, key_of, stem_of

_CARD = DatasetCard(
    title="REFUGE",
    modalities=frozenset({"cfp"}),
    paper="doi:10.1016/j.media.2019.101570",
    labels={"glaucoma": "0 or 1", "fovea_px": "(row, column) of the fovea"},
    masks={"disc_cup": "0 cup, 128 disc rim, 255 background"},
    images=1200,
    license="research use only, registration",
    ask="refuge.grand-challenge.org",
    layout="REFUGE-Training400/Training400/{Glaucoma,Non-Glaucoma} and Annotation-Training400, or train/, val/, test/ with "
    "images/ and mask/.",
    splits=("train", "val", "test"),
    notes="Grey levels of masks are the wrong way round from what one expects: 0 is the cup. Two cameras: 2124 x 2056 px in "
    "training, 1634 x 1634 px elsewhere. No patient identifier.",
    **relations("refuge"),
)
_PARTS = {"train": ("training400", "train"), "val": ("validation400", "val"), "test": ("test400", "test")}
_NAME = re.compile(r"[gnvt]\d{4}")
_POINTS = ("fovea_x", "fovea x")


def _is_truth(name: str) -> bool:
    name = key_of(name)
    return "annotation" in name or name.endswith("gt") or "-gt" in name


def _folders(base: Folder, part: str) -> tuple[list[Folder], list[Folder]]:
    """Return the folders of pictures and those of truth of one part."""
    long, short = _PARTS[part]
    pictures: list[Folder] = []
    truths: list[Folder] = []
    for key, folder in base.folders.items():
        if long in key or key == short or (part == "test" and "test-gt" in key):
            (truths if _is_truth(key) else pictures).append(base.folder(key) or folder)
    return pictures, truths


def _fits(folder: Folder) -> bool:
    zipped = any("training400" in k or "validation400" in k or "refuge-test" in k for k in folder.folders)
    simple = [folder.folder(part) for part in ("train", "val", "test")]
    # The three plain folders alone are no mark of this set: its names (g0001, n0001, V0001, T0001) are.
    named = any(
        p is not None
        and p.folder("images")
        and p.folder("mask*")
        and (p.folder("images") or p).file("[gnvt]0001.*", "g0*.jpg", "v0*.jpg")
        for p in simple
    )
    return zipped or named


LAYOUTS = {"refuge": _fits}


@datasets.register("refuge", _CARD)
def refuge(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture.

    Args:
        root: Folder of the unpacked archives (`REFUGE2`), or its parent.
        split: "train", "val" or "test"; None takes all.
    """
    found = begin(root, _fits, _CARD)
    for part in _PARTS:
        pictures, truths = _folders(found.base, part)
        files = {s: p for f in pictures for s, p in _photographs(f).items()}
        drawn = {s: p for f in (*truths, *pictures) for s, p in _masks(f).items()}
        facts = {}
        for stem, row in _facts((*truths, *pictures)):
            found.pick(files, stem, expected=f"{part}/{row['imgname'] or stem}")
            facts[stem] = row
        found.unlisted(path for stem, path in files.items() if not _NAME.fullmatch(stem))
        for stem, path in files.items():
            if not _NAME.fullmatch(stem):
                continue
            labels, origin = _labels(found, path, facts.get(stem)), found.relative(path)
            masks = {"disc_cup": [drawn[stem]]} if stem in drawn else {}
            found.add(
                f"{part}_{path.stem}", images={"cfp": [path]}, masks=masks, labels=labels, split=part, origin=origin
            )
        for stem, path in drawn.items():
            if stem not in files:
                found.missing(f"{part}/{path.stem}.jpg")
                found.unlisted([path])
    return found.done(split)


def _photographs(folder: Folder) -> dict[str, Path]:
    return {
        stem: path
        for here in folder.below(depth=2)
        if "mask" not in key_of(here.path.name)
        for stem, path in here.pictures(types=(".jpg", ".jpeg", ".png")).items()
    }


def _masks(folder: Folder) -> dict[str, Path]:
    return {
        stem: path
        for here in folder.below(depth=3)
        if any("mask" in key_of(p) for p in here.path.relative_to(folder.path.parent).parts)
        for stem, path in here.pictures(types=DRAWINGS).items()
    }


def _facts(folders: tuple[Folder, ...]) -> Iterator[tuple[str, Row]]:
    for folder in folders:
        for here in folder.below(depth=1):
            for table in here.all("*.xlsx", "*.csv"):
                if has_columns(table, "imgname", _POINTS):
                    for row in rows(table, needs=["imgname", _POINTS]):
                        if row["imgname"]:
                            yield stem_of(row["imgname"]), row


def _labels(found: Collector, path: Path, row: Row | None) -> dict[str, Any]:
    labels: dict[str, Any] = {}
    place = [key_of(p) for p in path.parts[-3:-1]]
    by_place = 0.0 if "non-glaucoma" in place else 1.0 if "glaucoma" in place else None
    # The first letter of a training picture says the same as its folder.
    by_name = {"g": 1.0, "n": 0.0}.get(path.stem[:1].casefold())
    stated = None
    if row is not None:
        column = next((name for name in row if name.startswith("label") or "glaucoma" in name), None)
        stated = found.grade(row, column, 1) if column else None
        x, y = row.number("fovea_x"), row.number("fovea_y")
        if x is not None and y is not None:
            labels["fovea_px"] = (y, x)
    said = {value for value in (by_place, by_name, stated) if value is not None}
    if len(said) > 1:
        found.contradiction(found.relative(path), "folder, name and table do not agree on glaucoma")
    elif said:
        labels["glaucoma"] = said.pop()
    return labels
