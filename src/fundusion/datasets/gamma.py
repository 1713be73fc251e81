"""GAMMA: a photograph and an OCT volume of one eye, glaucoma in three steps."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Collector, Reading, begin
from ._tables import Row, has_columns
from ._tree import Folder

_STEPS = ("non", "early", "mid_advanced")
_CARD = DatasetCard(
    title="GAMMA, glaucoma grading",
    modalities=frozenset({"cfp", "oct"}),
    paper="doi:10.1016/j.media.2023.102938",
    labels={"glaucoma_stage": "non, early, mid_advanced", "glaucoma": "0 or 1"},
    images=300,
    license="research use only, registration",
    ask="gamma.grand-challenge.org",
    layout="Glaucoma_grading/training/multi-modality_images/0001/0001.jpg with 0001/0001/*.jpg, and "
    "glaucoma_grading_training_GT.xlsx (data, non, early, mid_advanced).",
    splits=("train", "val", "test"),
    notes="100 eyes in each part; labels of the test part are not in every copy. 256 B-scans per volume. No patient identifier.",
    **relations("gamma"),
)
_PARTS = {"train": "train*", "val": "valid*", "test": "test*"}


def _volumes(folder: Folder | None) -> Folder | None:
    return folder.folder("multi-modality_images") or folder.folder("multi*modality*") if folder else None


def _fits(folder: Folder) -> bool:
    return any(_volumes(folder.folder(pattern)) is not None for pattern in _PARTS.values())


LAYOUTS = {"gamma": _fits}


@datasets.register("gamma", _CARD)
def gamma(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per eye: its photograph and its B-scans in order.

    Args:
        root: `Glaucoma_grading` as unpacked, or a parent.
        split: "train", "val" or "test"; None takes all.
    """
    found = begin(root, _fits, _CARD)
    for part, pattern in _PARTS.items():
        folder = found.base.folder(pattern)
        volumes = _volumes(folder)
        if folder is None or volumes is None:
            continue
        eyes = {f.path.name.strip(): f for f in volumes.folders.values()}
        stages = _stages(found, folder, part)
        for number, (stage, origin) in stages.items():
            # The table says 7 where the folder is called 0007.
            eye = next((f for name, f in eyes.items() if name.lstrip("0") == number.lstrip("0")), None)
            if eye is None:
                found.lost(f"{part}/{number}")
                continue
            _add(found, eye, part, stage, origin)
            eyes.pop(eye.path.name.strip())
        for name, eye in eyes.items():
            if stages:
                found.unlisted(eye.pictures().values())
                found.note(f"{part} {name} is in no table")
            else:
                _add(found, eye, part, None, found.relative(eye.path))
    return found.done(split)


def _stages(found: Collector, folder: Folder, part: str) -> dict[str, tuple[str | None, str]]:
    stages: dict[str, tuple[str | None, str]] = {}
    for here in (folder, found.base):
        for table in here.all("*grading*gt*.xlsx", "*grading*gt*.csv"):
            fits = {"train": "train", "val": "val", "test": "test"}[part] in table.name.casefold()
            if fits and has_columns(table, "data", "non", "early"):
                for row in found.rows(table, needs=["data", "non", "early"]):
                    number = row["data"].removesuffix(".0")
                    if number:
                        stages.setdefault(number, (_stage(found, row), row.origin))
    return stages


def _stage(found: Collector, row: Row) -> str | None:
    hot = [step for step in _STEPS if row.number(step) == 1]
    if len(hot) != 1:
        found.contradiction(row.origin, f"{len(hot)} of the three steps are marked")
        return None
    return hot[0]


def _add(found: Collector, eye: Folder, part: str, stage: str | None, origin: str) -> None:
    photographs = list(eye.pictures().values())
    scans = sorted((p for f in eye.folders.values() for p in f.pictures(depth=1).values()), key=_order)
    if not photographs:
        found.missing(eye.path / f"{eye.path.name}.jpg")
    if not scans:
        found.missing(eye.path / eye.path.name)
    if photographs or scans:
        labels = {"glaucoma_stage": stage, "glaucoma": None if stage is None else float(stage != "non")}
        found.add(
            f"{part}_{eye.path.name.strip()}", images={"cfp": photographs, "oct": scans}, labels=labels, split=part,
            origin=origin,
        )  # fmt: skip


def _order(path: Path) -> list[tuple[int, str]]:
    return [(int(t), "") if t.isdigit() else (0, t) for t in re.split(r"(\d+)", path.stem) if t]
