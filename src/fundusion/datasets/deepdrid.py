"""DeepDRiD: retinopathy grade of four pictures per patient and their quality; ultra-wide-field pictures apart."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from ..core.registry import DatasetCard, datasets
from ..core.vocabulary import Laterality
from ._overlap import relations
from ._reading import Collector, Reading, begin, disease_of, eye_of
from ._tables import Row
from ._tree import Folder, stem_of

_SHARED = {
    "paper": "doi:10.1016/j.patter.2022.100512",
    "license": "see the page of the set",
    "ask": "github.com/deepdrdoc/DeepDRiD",
    "splits": ("train", "val", "test"),
}
_CARD = DatasetCard(
    title="DeepDRiD, regular photographs",
    modalities=frozenset({"cfp"}),
    labels={
        "dr_grade": "ICDR 0-4 of the eye in the picture",
        "gradable": "overall quality 1 gradable, 0 or grade 5 ungradable",
        "clarity": "1-10",
        "field_definition": "1-10",
        "artifact": "0-10",
        "disease": "D, and N = 0 where D",
    },
    images=2000,
    patients=500,
    layout="regular_fundus_images/ with regular-fundus-training/ (Images/ and regular-fundus-training.csv).",
    notes="Paths of the tables have back-slashes and leave the folder Images out. Some identifiers contradict the eye of the "
    "grade (patient 56): the eye is then not stated. Grade 5 means ungradable and is no grade.",
    **_SHARED,
    **relations("deepdrid"),
)
_WIDE = DatasetCard(
    title="DeepDRiD, ultra-wide-field photographs",
    modalities=frozenset({"uwf"}),
    labels={"dr_grade": "ICDR 0-4", "gradable": "grade 5 is ungradable", "disease": "D, and N = 0 where D"},
    images=256,
    patients=128,
    layout="ultra-widefield_images/ with ultra-widefield-training/ (Images/ and ultra-widefield-training.csv).",
    notes="Grade 5 means ungradable and is no grade.",
    **_SHARED,
    **relations("deepdrid.uwf"),
)
_PARTS = {"train": "*training*", "val": "*validation*", "test": "online-challenge*evaluation*"}
_GRADES = {**{str(g): float(g) for g in range(5)}, "5": None}


def _regular(folder: Folder) -> bool:
    return (
        folder.folder("regular-fundus-training") is not None or folder.folder("regular-fundus-validation") is not None
    )


def _wide(folder: Folder) -> bool:
    return (
        folder.folder("ultra-widefield-training") is not None or folder.folder("ultra-widefield-validation") is not None
    )


LAYOUTS = {"deepdrid": _regular, "deepdrid.uwf": _wide}


@datasets.register("deepdrid", _CARD)
def deepdrid(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per regular picture.

    Args:
        root: Folder as unpacked, `regular_fundus_images`, or a parent.
        split: "train", "val" or "test"; None takes all.
    """
    return _read(begin(root, _regular, _CARD), "cfp", split)


@datasets.register("deepdrid.uwf", _WIDE)
def deepdrid_uwf(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per ultra-wide-field picture.

    Args:
        root: Folder as unpacked, `ultra-widefield_images`, or a parent.
        split: "train", "val" or "test"; None takes all.
    """
    return _read(begin(root, _wide, _WIDE), "uwf", split)


def _read(found: Collector, modality: str, split: str | None) -> Reading:
    for part, pattern in _PARTS.items():
        folder = found.base.folder(pattern)
        if folder is None:
            continue
        files = folder.pictures(depth=3)
        merged: dict[str, dict[str, Any]] = {}
        # Templates for answers lie beside the labels of the test part.
        for table in [p for p in folder.all("*.csv", "*.xlsx") if part != "test" or "label" in p.name.casefold()]:
            for row in found.rows(table, needs=[("image_id", "image_path")]):
                name = row["image_id"] or PurePosixPath(row["image_path"].replace("\\", "/")).stem
                if not name:
                    continue
                path = found.pick(
                    files, stem_of(name), expected=f"{folder.path.name}/Images/{_patient(row, name)}/{name}.jpg"
                )
                if path is not None:
                    # Challenge 1 and 2 give grade and quality of the same pictures in two tables.
                    _merge(found, merged.setdefault(name, {"path": path, "row": row, "labels": {}}), row, name)
        for name, facts in merged.items():
            first: Row = facts["row"]
            found.add(
                f"{part}_{name}",
                images={modality: [facts["path"]]},
                patient_id=_patient(first, name),
                laterality=None if facts.get("conflict") else _eye(name),
                labels={k: v for k, v in facts["labels"].items() if k not in facts.get("doubted", ())},
                split=part,
                origin=first.origin,
            )
        found.unlisted(files.values())
    return found.done(split)


def _merge(found: Collector, facts: dict[str, Any], row: Row, name: str) -> None:
    before: dict[str, Any] = dict(facts["labels"])
    labels: dict[str, Any] = facts["labels"]
    eye = _eye(name)
    columns = {Laterality.LEFT: "left_eye_dr_level", Laterality.RIGHT: "right_eye_dr_level"}
    graded = [side for side, column in columns.items() if row.known(column) is not None]
    column = next((c for c in ("dr_levels", "dr_level", "dr_grade") if row.known(c) is not None), None)
    if len(graded) == 1:
        column = columns[graded[0]]
        if eye is not None and graded[0] is not eye:
            found.contradiction(
                row.origin, f"{name} names the {eye.value} eye, its grade stands at the {graded[0].value} eye"
            )
            facts["conflict"] = True
    elif len(graded) == 2 and eye is not None:
        column = columns[eye]
    if column is not None:
        if row[column].removesuffix(".0") == "5":
            labels["gradable"] = "ungradable"
        else:
            grade = found.choice(row, column, _GRADES)
            labels |= {"dr_grade": grade, "disease": disease_of(grade)}
    quality = found.choice(row, "overall quality", {"0": "ungradable", "1": "gradable"})
    if quality and labels.get("gradable") is None:
        labels["gradable"] = quality
    for task in ("clarity", "field definition", "artifact"):
        if row.number(task) is not None:
            labels[task.replace(" ", "_")] = row.number(task)
    for task in sorted(before):
        if labels.get(task) != before[task]:
            found.contradiction(row.origin, f"{task} of {name} differs from an earlier table; none is kept")
            facts["doubted"] = facts.get("doubted", set()) | {task}


def _eye(name: str) -> Laterality | None:
    return eye_of(name.rpartition("_")[2][:1])


def _patient(row: Row, name: str) -> str | None:
    return row.known("patient_id") or name.partition("_")[0] or None
