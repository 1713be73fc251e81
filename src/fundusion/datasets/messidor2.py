"""Messidor-2 with the adjudicated grades: retinopathy, macular oedema, gradability; both eyes of an examination are a pair."""

from __future__ import annotations

from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Collector, Reading, begin, disease_of, eye_of
from ._tables import grid, has_columns, name_of
from ._tree import PICTURES, Folder, stem_of

_CARD = DatasetCard(
    title="Messidor-2",
    modalities=frozenset({"cfp"}),
    paper="doi:10.5566/ias.1155; grades: doi:10.1016/j.ophtha.2018.01.034",
    labels={
        "dr_grade": "ICDR 0-4, adjudicated by three specialists",
        "dme": "0 none, 1 referable macular oedema",
        "gradable": "gradable or ungradable",
        "disease": "D, and N = 0 where D",
    },
    images=1748,
    license="research and education only, on request",
    ask="adcis.net/en/third-party/messidor2",
    layout="IMAGES/ with messidor_data.csv (image_id, adjudicated_dr_grade, ...); messidor-2.csv gives the pairs.",
    notes="The set names no patients: the two eyes of one examination (messidor-2.csv) share a group, and without that table "
    "none is known. Four pictures are ungradable and have no grades.",
    **relations("messidor2"),
)


def _table(folder: Folder) -> Path | None:
    return next((p for p in folder.all("messidor_data*.csv", "*.csv") if _is_grades(p)), None)


def _is_grades(path: Path) -> bool:
    return has_columns(path, ("image_id", "image"), "adjudicated_dr_grade")


def _images(folder: Folder) -> Folder | None:
    return folder.folder("images") or folder.folder("image*")


def _fits(folder: Folder) -> bool:
    return _table(folder) is not None and (_images(folder) is not None or bool(folder.pictures()))


LAYOUTS = {"messidor2": _fits}


@datasets.register("messidor2", _CARD)
def messidor2(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per picture.

    Args:
        root: Folder with `messidor_data.csv` and `IMAGES/`, or its parent.
        split: The publisher made none.
    """
    found = begin(root, _fits, _CARD)
    table = _table(found.base)
    files = (_images(found.base) or found.base).pictures(depth=1)
    pairs = _pairs(found)
    for row in found.rows(table, needs=[("image_id", "image"), "adjudicated_dr_grade"]) if table else ():
        name = row["image_id"] or row["image"]
        # The table says .jpg where the files say .JPG.
        path = found.pick(files, stem_of(name), expected=f"IMAGES/{name}")
        if path is None:
            continue
        grade = found.grade(row, "adjudicated_dr_grade", 4)
        group, eye = pairs.get(stem_of(name), (None, ""))
        labels = {
            "dr_grade": grade,
            "dme": found.grade(row, "adjudicated_dme", 1),
            "gradable": found.choice(row, "adjudicated_gradable", {"0": "ungradable", "1": "gradable"}),
            "disease": disease_of(grade),
        }
        found.add(
            path.stem,
            images={"cfp": [path]},
            patient_id=group,
            laterality=eye_of(eye),
            labels=labels,
            origin=row.origin,
        )
    found.unlisted(files.values())
    return found.done(split)


def _pairs(found: Collector) -> dict[str, tuple[str, str]]:
    """Return stem to the name of its pair (its first file) and the word of the column it stands in."""
    pairs: dict[str, tuple[str, str]] = {}
    table = next(
        (p for p in found.base.all("messidor-2*.csv", "messidor-2*.xlsx", "messidor2*.csv") if not _is_grades(p)), None
    )
    if table is None:
        found.note("messidor-2.csv is not there: which pictures are two eyes of one person is not known")
        return pairs
    sides: list[str] = []
    for line in grid(table):
        names = [stem_of(c) for c in line if c.casefold().endswith(PICTURES)]
        if not names:
            sides = [next((w for w in ("left", "right") if w in name_of(c)), "") for c in line]
        for cell in names:
            column = next(i for i, c in enumerate(line) if stem_of(c) == cell)
            pairs[cell] = (f"pair:{names[0]}", sides[column] if column < len(sides) else "")
    return pairs
