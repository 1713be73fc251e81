"""mBRSET: handheld photographs of 1,291 people with diabetes, with history and habits. Credentialed access."""

from __future__ import annotations

from pathlib import Path

from ..core.registry import DatasetCard, datasets
from ._overlap import relations
from ._reading import Reading, begin, disease_of, eye_of
from ._tables import has_columns
from ._tree import Folder, stem_of

_HISTORY = (
    "insulin", "oraltreatment_dm", "systemic_hypertension", "alcohol_consumption", "smoking", "obesity", "vascular_disease",
    "acute_myocardial_infarction", "nephropathy", "neuropathy", "diabetic_foot",
)  # fmt: skip
_CARD = DatasetCard(
    title="mBRSET",
    modalities=frozenset({"cfp", "table"}),
    paper="doi:10.1038/s41597-025-04627-3",
    labels={
        "dr_grade": "ICDR 0-4 (column final_icdr)",
        "dme": "0 no, 1 yes (column final_edema)",
        "gradable": "yes in final_quality is gradable",
        "artifact": "0 no, 1 yes",
        "disease": "D, and N = 0 where D",
    },
    images=5164,
    patients=1291,
    license="credentialed health data licence",
    ask="physionet.org/content/mbrset",
    layout="labels_mbrset.csv (patient, file, laterality, final_icdr) beside images/.",
    notes="985.1.jpg is listed but missing; some grades are blank and stay so. Codes of history columns are kept as published.",
    **relations("mbrset"),
)
_YES = {"yes": 1.0, "no": 0.0, "1": 1.0, "0": 0.0, "true": 1.0, "false": 0.0}


def _table(folder: Folder) -> Path | None:
    return next(
        (p for p in folder.all("labels_mbrset.csv", "labels*.csv") if has_columns(p, "patient", "file", "final_icdr")),
        None,
    )


LAYOUTS = {"mbrset": lambda folder: _table(folder) is not None}


@datasets.register("mbrset", _CARD)
def mbrset(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per photograph.

    Args:
        root: Folder with `labels_mbrset.csv`, or its parent.
        split: The publisher made none.
    """
    found = begin(root, LAYOUTS["mbrset"], _CARD)
    table = _table(found.base)
    files = (found.base.folder("images") or found.base).pictures(depth=1)
    for row in found.rows(table, needs=["patient", "file"]) if table else ():
        name = row["file"]
        path = found.pick(files, stem_of(name), expected=f"images/{name}") if name else None
        if path is None:
            continue
        patient = row["patient"].removesuffix(".0")
        if path.stem.partition(".")[0] != patient:
            found.contradiction(row.origin, f"{name} is listed for patient {patient}", lost=path.stem)
            continue
        grade = found.grade(row, "final_icdr", 4)
        found.add(
            path.stem,
            images={"cfp": [path]},
            patient_id=patient or None,
            laterality=eye_of(row["laterality"]),
            metadata={
                "age": row.number("age"),
                # Which code means which sex is not on the page of the set; it is kept as published.
                "sex_code": row.known("sex"),
                "diabetes_duration": row.number("dm_time"),
                **{name: row.number(name) for name in _HISTORY if name in row},
            },
            labels={
                "dr_grade": grade,
                "dme": found.choice(row, "final_edema", _YES),
                "gradable": {1.0: "gradable", 0.0: "ungradable"}.get(found.choice(row, "final_quality", _YES)),
                "artifact": found.choice(row, "final_artifacts", _YES),
                "disease": disease_of(grade),
            },
            origin=row.origin,
        )
    found.unlisted(files.values())
    return found.done(split)
