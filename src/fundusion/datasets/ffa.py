"""Angiograms with phase, diagnosis and drawn areas, as a table `labels.csv` lists them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin
from ._tables import has_columns
from ._tree import DRAWINGS, Folder, stem_of

_CARD = DatasetCard(
    title="Fluorescein angiograms: phase, diagnosis, non-perfusion",
    modalities=frozenset({"ffa"}),
    paper="none known",
    labels={
        "ffa_phase": "arterial_phase, venous_phase, non_ffa",
        "ffa_diagnosis": "normal, brvo, with_np, none_np (with and without non-perfusion)",
    },
    masks={"non_perfusion": "0 background, 1 area of the vein occlusion, 2 non-perfusion"},
    license="Apache-2.0",
    ask="see the file LICENSE of the set",
    layout="labels.csv (image, task, label, patient) beside phase/, diagnosis/ and seg/ (images/, masks/).",
    notes="Most pictures have no patient identifier; those with drawn areas have.",
    **relations("ffa"),
)


def _fits(folder: Folder) -> bool:
    return has_columns(folder.file("labels.csv"), "image", "task", "label") and (
        folder.folder("phase") is not None or folder.folder("seg") is not None
    )


LAYOUTS = {"ffa": _fits}


@datasets.register("ffa", _CARD)
def ffa(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture.

    Args:
        root: Folder with `labels.csv`, or its parent.
        split: The publisher made none.
    """
    found = begin(root, _fits, _CARD)
    table = found.base.file("labels.csv")
    masks_in = found.base.folder("seg", "masks")
    drawn = masks_in.pictures(types=DRAWINGS) if masks_in else {}
    places: dict[str, dict[str, Path]] = {}
    for row in found.rows(table, needs=["image", "task", "label"]) if table else ():
        name = Path(row["image"].replace("\\", "/"))
        parent = str(name.parent)
        if parent not in places:
            folder = found.base.folder(*name.parent.parts)
            places[parent] = folder.pictures() if folder else {}
        path = found.pick(places[parent], stem_of(name.name), expected=row["image"])
        if path is None:
            continue
        labels: dict[str, Any] = {}
        masks: dict[str, list[Path]] = {}
        if row["task"] in ("phase", "diagnosis"):
            labels[f"ffa_{row['task']}"] = row["label"]
        elif stem_of(path.name) in drawn:
            masks["non_perfusion"] = [drawn[stem_of(path.name)]]
        else:
            found.missing(f"seg/masks/{path.stem}.png")
        found.add(
            name.with_suffix("").as_posix(),
            images={"ffa": [path]},
            patient_id=row["patient"].removesuffix(".0") or None,
            masks=masks,
            labels=labels,
            origin=row.origin,
        )
    found.unlisted(p for f in ("phase", "diagnosis", "seg") if (g := found.base.folder(f)) for p in _all(g))
    return found.done(split)


def _all(folder: Folder) -> list[Path]:
    return [p for here in folder.below(depth=1) for p in here.pictures().values()]
