"""MMAC 2023: myopic maculopathy in five grades, drawn lesions of three kinds, spherical equivalent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Collector, Reading, begin
from ._tables import Row
from ._tree import DRAWINGS, Folder, stem_of

_LESIONS = {"lacquer cracks": "lacquer_cracks", "choroidal neovascularization": "cnv", "fuchs spot": "fuchs_spot"}
_CARD = DatasetCard(
    title="MMAC 2023 (myopic maculopathy)",
    modalities=frozenset({"cfp", "table"}),
    paper="MICCAI 2023 myopic maculopathy analysis challenge",
    labels={
        "myopic_maculopathy": "0 none, 1 tessellated, 2 diffuse atrophy, 3 patchy atrophy, 4 macular atrophy",
        "spherical_equivalent": "dioptres",
    },
    masks=dict.fromkeys(_LESIONS.values(), "any value above 0 is lesion"),
    images=2844,
    license="see the page of the set",
    ask="zenodo.org/records/11025749",
    layout="'1. Classification of Myopic Maculopathy' (1. Images, 2. Groundtruths) and its two sister folders.",
    splits=("train", "val", "test"),
    notes="Pictures of the three tasks have names of their own; no patient identifier, so one patient may stand in several.",
    **relations("mmac"),
)
_PARTS = {"train": "train", "val": "valid", "test": "test"}


def _tasks(folder: Folder) -> dict[str, Folder]:
    patterns = {
        "grade": "*classification of myopic*",
        "lesion": "*segmentation of myopic*",
        "refraction": "*spherical equivalent*",
    }
    return {task: f for task, pattern in patterns.items() if (f := folder.folder(pattern)) is not None}


def _fits(folder: Folder) -> bool:
    return bool(_tasks(folder))


LAYOUTS = {"mmac": _fits}


@datasets.register("mmac", _CARD)
def mmac(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture of each task.

    Args:
        root: Folder that holds the folders of the tasks.
        split: "train", "val" or "test"; None takes all.
    """
    found = begin(root, _fits, _CARD)
    for task, folder in _tasks(found.base).items():
        if task != "lesion":
            _read_table(found, folder, task)
            continue
        for name, structure in _LESIONS.items():
            kind = folder.folder(f"*{name}*")
            if kind is not None:
                _read_lesions(found, kind, structure)
    return found.done(split)


def _pictures(folder: Folder, name: str, part: str, types: tuple[str, ...]) -> dict[str, Path]:
    place = folder.folder(f"*{name}*")
    inner = place.folder(f"*{_PARTS[part]}*") if place else None
    return inner.pictures(types=types) if inner else {}


def _read_table(found: Collector, folder: Folder, task: str) -> None:
    truths = folder.folder("*groundtruth*")
    column = "myopic_maculopathy_grade" if task == "grade" else "spherical_equivalent"
    for part, word in _PARTS.items():
        files = _pictures(folder, "images", part, (".png", ".jpg", ".jpeg"))
        tables = truths.all(f"*{word}*.csv", f"*{word}*.xlsx") if truths else []
        for table in tables:
            for row in found.rows(table, needs=["image", column]):
                path = found.pick(
                    files, stem_of(row["image"]), expected=f"{found.relative(folder.path)}/{row['image']}"
                )
                if path is not None:
                    _add(found, row, path, part, task)
        if tables or not files:
            found.unlisted(files.values())
            continue
        for path in files.values():
            found.add(f"{task}_{part}_{path.stem}", images={"cfp": [path]}, split=part, origin=found.relative(path))


def _add(found: Collector, row: Row, path: Path, part: str, task: str) -> None:
    labels: dict[str, Any] = {}
    if task == "grade":
        labels["myopic_maculopathy"] = found.grade(row, "myopic_maculopathy_grade", 4)
    else:
        labels["spherical_equivalent"] = row.number("spherical_equivalent")
    found.add(
        f"{task}_{part}_{path.stem}",
        images={"cfp": [path]},
        metadata={
            "age": row.number("age"),
            "sex_code": row.known("sex"),
            "height_cm": row.number("height"),
            "weight_kg": row.number("weight"),
        },
        labels=labels,
        split=part,
        origin=row.origin,
    )


def _read_lesions(found: Collector, folder: Folder, structure: str) -> None:
    for part in _PARTS:
        files, drawn = _pictures(folder, "images", part, DRAWINGS), _pictures(folder, "groundtruth", part, DRAWINGS)
        for stem, path in files.items():
            mask = drawn.get(stem)
            if mask is None and drawn:
                found.missing(f"{found.relative(folder.path)}/2. Groundtruths/{path.name}")
            masks = {structure: [mask]} if mask is not None else {}
            found.add(
                f"{structure}_{part}_{path.stem}",
                images={"cfp": [path]},
                masks=masks,
                split=part,
                origin=found.relative(path),
            )
        found.unlisted(drawn.values())
