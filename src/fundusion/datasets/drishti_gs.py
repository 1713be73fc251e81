"""Drishti-GS1: optic disc and cup by four experts as soft maps, their cup-to-disc ratios, glaucoma or not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Collector, Reading, begin
from ._tables import Row, grid, has_columns, number_of
from ._tree import DRAWINGS, Folder, key_of, stem_of

_CARD = DatasetCard(
    title="Drishti-GS1",
    modalities=frozenset({"cfp"}),
    paper="doi:10.1109/ISBI.2014.6867807",
    labels={
        "glaucoma": "0 or 1",
        "vcdr": "vertical cup-to-disc ratio, mean of the experts",
        **{f"vcdr_expert{i}": f"the same by expert {i}" for i in range(1, 5)},
    },
    masks=dict.fromkeys(("disc", "cup"), "soft: 255 where all four experts see it, 0 where none does"),
    images=101,
    license="research use only",
    ask="cvit.iiit.ac.in/projects/mip/drishti-gs/mip-dataset2/Home.php",
    layout="Drishti-GS1_files/Training/Images with GT/drishtiGS_002/SoftMap, and Test, or training/images with disc/ and cup/.",
    splits=("train", "test"),
    notes="Truth of the test part is not in every copy. No patient identifier.",
    **relations("drishti_gs"),
)
_NAME = re.compile(r"drishtigs_(\d+)")
_GLAUCOMA = {"normal": 0.0, "glaucoma": 1.0, "glaucomatous": 1.0}


def _fits(folder: Folder) -> bool:
    for part in ("training", "test"):
        images = folder.folder(part, "images")
        if images is not None and any(_NAME.fullmatch(s) for s in images.pictures(depth=1)):
            return True
    return False


LAYOUTS = {"drishti_gs": _fits}


@datasets.register("drishti_gs", _CARD)
def drishti_gs(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture.

    Args:
        root: `Drishti-GS1_files` as unpacked, or a parent, or a folder with `training/images`, `training/disc`.
        split: "train" or "test"; None takes both.
    """
    found = begin(root, _fits, _CARD)
    facts = _facts(found)
    for part, name in (("train", "training"), ("test", "test")):
        folder = found.base.folder(name)
        images = folder.folder("images") if folder else None
        if folder is None or images is None:
            continue
        drawn = {structure: _drawn(folder, structure) for structure in ("disc", "cup")}
        if not any(drawn.values()):
            found.note(f"the {name} part has no drawn discs")
        pictures = images.pictures(depth=1)
        for stem, path in pictures.items():
            if not _NAME.fullmatch(stem):
                continue
            masks = {structure: [files[stem]] for structure, files in drawn.items() if stem in files}
            for structure, files in drawn.items():
                if files and stem not in files:
                    found.missing(f"{name}: {structure} of {path.stem}")
            labels, origin = facts.pop(stem, ({}, found.relative(path)))
            labels = {**_ratios(folder, stem), **labels}
            found.add(path.stem, images={"cfp": [path]}, masks=masks, labels=labels, split=part, origin=origin)
        found.unlisted(pictures.values())
        for files in drawn.values():
            found.unlisted(files.values())
    for stem in facts:
        found.missing(f"Images/{stem.replace('drishtigs', 'drishtiGS')}.png")
    return found.done(split)


def _drawn(folder: Folder, structure: str) -> dict[str, Path]:
    simple = folder.folder(structure)
    if simple is not None:
        return simple.pictures(types=DRAWINGS)
    ending = {"disc": "_odsegsoftmap", "cup": "_cupsegsoftmap"}[structure]
    truth = folder.folder("gt") or folder.folder("test_gt")
    files = truth.pictures(depth=2, types=DRAWINGS) if truth else {}
    return {stem.removesuffix(ending): path for stem, path in files.items() if stem.endswith(ending)}


def _ratios(folder: Folder, stem: str) -> dict[str, float]:
    truth = folder.folder("gt") or folder.folder("test_gt")
    place = truth.folder(stem) if truth else None
    path = place.file(f"{stem}_cdrvalues.txt") if place else None
    values = [number_of(w) for w in path.read_text("utf-8-sig", errors="replace").split()] if path else []
    return _experts([v for v in values if v is not None])


def _experts(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"vcdr": sum(values) / len(values), **{f"vcdr_expert{i}": v for i, v in enumerate(values, 1)}}


def _facts(found: Collector) -> dict[str, tuple[dict[str, Any], str]]:
    simple = found.base.file("labels.csv")
    facts: dict[str, tuple[dict[str, Any], str]] = {}
    if has_columns(simple, "image", "diagnosis", "vcdr_expert1") and simple is not None:
        for row in found.rows(simple, needs=["image", "diagnosis"]):
            experts = [v for i in range(1, 5) if (v := row.number(f"vcdr_expert{i}")) is not None]
            labels = {"glaucoma": found.choice(row, "diagnosis", _GLAUCOMA), **_experts(experts)}
            facts[stem_of(Path(row["image"]).name)] = (labels, row.origin)
        return facts
    table = found.base.file("drishti-gs1_diagnosis.xlsx", "drishti-gs1_diagnosis.csv")
    for number, line in enumerate(grid(table) if table else [], 1):
        # Title lines stand above; the name is the cell that looks like one, the last word is the total verdict.
        name = next((stem_of(c.strip("'")) for c in line if _NAME.fullmatch(stem_of(c.strip("'")))), None)
        verdicts = [key_of(c) for c in line if key_of(c) in _GLAUCOMA]
        if name and verdicts and table:
            row = Row({"total": verdicts[-1]}, f"{table.name}:{number}")
            facts[name] = ({"glaucoma": found.choice(row, "total", _GLAUCOMA)}, row.origin)
    return facts
