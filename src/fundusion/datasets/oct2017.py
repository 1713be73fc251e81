"""OCT2017 (Kermany): B-scans in folders CNV, DME, DRUSEN, NORMAL; the number in the middle of a name is the patient."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Collector, Reading, begin
from ._tables import has_columns
from ._tree import Folder, stem_of

_CLASSES = ("CNV", "DME", "DRUSEN", "NORMAL")
_NAME = re.compile(r"(CNV|DME|DRUSEN|NORMAL)-(\d+)-(\d+)", re.IGNORECASE)
_CARD = DatasetCard(
    title="OCT2017 (Kermany)",
    modalities=frozenset({"oct"}),
    paper="doi:10.1016/j.cell.2018.02.010",
    labels={"oct_disease": "CNV, DME, DRUSEN, NORMAL"},
    images=109309,
    patients=5319,
    license="CC BY 4.0",
    ask="data.mendeley.com/datasets/rscbjbr9sj",
    layout="OCT2017/ (the name may end in a space) with train/ and test/, each with folders CNV, DME, DRUSEN, NORMAL.",
    splits=("train", "val", "test"),
    notes="The number of the patient may stand under two diseases. In early versions patients stand in train and in test: "
    "each is reported as contradictory; split by patient again before numbers are believed.",
    **relations("oct2017"),
)


def _parts(folder: Folder) -> dict[str, Folder]:
    parts = {p: folder.folder(p) for p in ("train", "val", "test")}
    return {p: f for p, f in parts.items() if f is not None and any(f.folder(c) for c in _CLASSES)}


def _fits(folder: Folder) -> bool:
    if any(f.folder("CNV") and f.folder("DRUSEN") for f in _parts(folder).values()):
        return True
    table = folder.file("labels.csv")
    return has_columns(table, "image", "label") and any(_NAME.fullmatch(stem) for stem in folder.pictures())


LAYOUTS = {"oct2017": _fits}


@datasets.register("oct2017", _CARD)
def oct2017(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per B-scan.

    Args:
        root: Folder as unpacked or its parent, or a flat folder of such pictures with `labels.csv`.
        split: "train", "val" or "test"; None takes all.
    """
    found = begin(root, _fits, _CARD)
    parts = _parts(found.base)
    for part, folder in parts.items():
        for name in _CLASSES:
            kept_in = folder.folder(name)
            for path in kept_in.pictures().values() if kept_in else ():
                _add(found, path, name, part, f"{part}_{path.stem}")
        found.unlisted(folder.pictures(depth=1).values())
    table = found.base.file("labels.csv")
    if not parts and table is not None:
        files = found.base.pictures()
        for row in found.rows(table, needs=["image", "label"]):
            path = found.pick(files, stem_of(row["image"]), expected=row["image"])
            if path is not None:
                _add(found, path, found.choice(row, "label", {c.casefold(): c for c in _CLASSES}), None, path.stem)
        found.unlisted(files.values())
    return found.done(split)


def _add(found: Collector, path: Path, label: str | None, part: str | None, study: str) -> None:
    match = _NAME.fullmatch(path.stem)
    if match and label and match.group(1).upper() != label:
        found.contradiction(found.relative(path), f"the name says {match.group(1).upper()}, its place says {label}")
        label = None
    found.add(
        study,
        images={"oct": [path]},
        patient_id=match.group(2) if match else None,
        labels={"oct_disease": label},
        split=part,
        origin=found.relative(path),
    )
