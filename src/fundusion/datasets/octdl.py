"""OCTDL: B-scans of seven kinds, several per patient."""

from __future__ import annotations

from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin, eye_of
from ._tables import has_columns
from ._tree import Folder, stem_of

_DISEASES = ("AMD", "DME", "ERM", "NO", "RAO", "RVO", "VID")
_CARD = DatasetCard(
    title="OCTDL",
    modalities=frozenset({"oct"}),
    paper="doi:10.1038/s41597-024-03182-7",
    labels={"oct_disease": "AMD, DME, ERM, NO (normal), RAO, RVO, VID (vitreomacular interface)"},
    images=2064,
    patients=821,
    license="CC BY 4.0",
    ask="data.mendeley.com/datasets/sncdhf53xc",
    layout="OCTDL_labels.csv (file_name, disease, patient_id) beside the folders AMD, DME, ERM, NO, RAO, RVO, VID.",
    notes="Many pictures of one patient: split by patient.",
    **relations("octdl"),
)


def _table(folder: Folder) -> Path | None:
    return next((p for p in folder.all("*octdl*.csv", "*octdl*.xlsx") if has_columns(p, "file_name", "disease")), None)


LAYOUTS = {"octdl": lambda folder: _table(folder) is not None}


@datasets.register("octdl", _CARD)
def octdl(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per B-scan.

    Args:
        root: Folder with `OCTDL_labels.csv`, or its parent.
        split: The publisher made none.
    """
    found = begin(root, LAYOUTS["octdl"], _CARD)
    table = _table(found.base)
    files = found.base.pictures(depth=3)
    for row in found.rows(table, needs=["file_name", "disease"]) if table else ():
        name = row["file_name"]
        disease = found.choice(row, "disease", {d.casefold(): d for d in _DISEASES})
        path = found.pick(files, stem_of(name), expected=f"{disease or '?'}/{name}.jpg")
        if path is None:
            continue
        kept_in = path.parent.name.strip().upper()
        if disease and kept_in in _DISEASES and kept_in != disease:
            found.contradiction(row.origin, f"{name} is {disease} in the table and lies in {kept_in}")
            disease = None
        found.add(
            path.stem,
            images={"oct": [path]},
            patient_id=row.known("patient_id"),
            laterality=eye_of(row["eye"]),
            metadata={"sex": row.known("sex"), "age": row.number("age")} if "sex" in row or "age" in row else None,
            labels={"oct_disease": disease},
            origin=row.origin,
        )
    found.unlisted(files.values())
    return found.done(split)
