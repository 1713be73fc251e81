"""BRSET: Brazilian multilabel set, 16,266 photographs with findings, quality, camera, age and sex. Credentialed access."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.registry import DatasetCard, datasets
from ..core.vocabulary import Laterality
from ._overlap import relations
from ._reading import Collector, Reading, begin, disease_of
from ._tables import Row, has_columns
from ._tree import Folder, stem_of

#: Findings of the table in the spelling used here.
FINDINGS = (
    "diabetic_retinopathy", "macular_edema", "scar", "nevus", "amd", "vascular_occlusion", "hypertensive_retinopathy",
    "drusens", "hemorrhage", "retinal_detachment", "myopic_fundus", "increased_cup_disc", "other",
)  # fmt: skip
_CARD = DatasetCard(
    title="BRSET",
    modalities=frozenset({"cfp", "table"}),
    paper="doi:10.1371/journal.pdig.0000454",
    labels={
        "dr_grade": "ICDR 0-4 (column DR_ICDR)",
        "dr_sdrg": "Scottish grade 0-4 (column DR_SDRG)",
        "brset": "0 or 1 of each of: " + ", ".join(FINDINGS),
        "anatomy": "0 normal, 1 abnormal of: optic_disc, vessels, macula",
        "gradable": "quality column: adequate is gradable",
        "quality_faults": "0 adequate, 1 not, of: focus, illumination, image_field, artifacts",
        "disease": "D from the grade, and N = 0 where D",
    },
    images=16266,
    patients=8524,
    license="credentialed health data licence",
    ask="physionet.org/content/brazilian-ophthalmological",
    layout="labels_brset.csv (version 1.0.0: labels.csv) beside fundus_photos/.",
    notes="The first header begins with a mark (BOM); 'iluminaton' is spelt so; 1 and 2 mean normal and abnormal, adequate and "
    "inadequate, right and left. The column optic_disc has a stray 'bv', reported as contradictory.",
    **relations("brset"),
)
_NORMAL = {"1": 0.0, "2": 1.0}


def _table(folder: Folder) -> Path | None:
    return next(
        (p for p in folder.all("labels_brset.csv", "labels*.csv") if has_columns(p, "image_id", "dr_icdr", "exam_eye")),
        None,
    )


LAYOUTS = {"brset": lambda folder: _table(folder) is not None}


@datasets.register("brset", _CARD)
def brset(root: str | Path, *, split: str | None = None) -> Reading:
    """Return one record per photograph.

    Args:
        root: Folder with `labels_brset.csv` or `labels.csv`, or its parent.
        split: The publisher made none.
    """
    found = begin(root, LAYOUTS["brset"], _CARD)
    table = _table(found.base)
    folder = found.base.folder("fundus_photos") or found.base.folder("images") or found.base
    files = folder.pictures(depth=1)
    for row in found.rows(table, needs=["image_id", "dr_icdr"]) if table else ():
        name = row["image_id"]
        path = found.pick(files, stem_of(name), expected=f"fundus_photos/{name}.jpg") if name else None
        if path is None:
            continue
        found.add(
            path.stem,
            images={"cfp": [path]},
            patient_id=row["patient_id"].removesuffix(".0") or None,
            laterality=found.choice(row, "exam_eye", {"1": Laterality.RIGHT, "2": Laterality.LEFT}),
            metadata={
                "age": row.number("patient_age"),
                "sex": found.choice(row, "patient_sex", {"1": "male", "2": "female"}),
                "diabetes_duration": row.number("diabetes_time_y"),
                "camera": row.known("camera"),
            },
            labels=_labels(found, row),
            origin=row.origin,
        )
    found.unlisted(files.values())
    return found.done(split)


def _labels(found: Collector, row: Row) -> dict[str, Any]:
    grade = found.grade(row, "dr_icdr", 4)
    quality = row["quality"].casefold()
    words = {"adequate": "gradable", "1": "gradable", "inadequate": "ungradable", "2": "ungradable"}
    faults = {
        "focus": found.choice(row, "focus", _NORMAL),
        # The publisher's spelling.
        "illumination": found.choice(row, "iluminaton" if "iluminaton" in row else "illumination", _NORMAL),
        "image_field": found.choice(row, "image_field", _NORMAL),
        "artifacts": found.choice(row, "artifacts", _NORMAL),
    }
    return {
        "dr_grade": grade,
        "dr_sdrg": found.grade(row, "dr_sdrg", 4),
        "disease": disease_of(grade),
        "brset": _known({name: found.grade(row, name, 1) for name in FINDINGS}),
        "anatomy": _known({name: found.choice(row, name, _NORMAL) for name in ("optic_disc", "vessels", "macula")}),
        "quality_faults": _known(faults),
        "gradable": found.choice(row, "quality", words) if quality else None,
    }


def _known(flags: dict[str, float | None]) -> dict[str, float] | None:
    if all(v is None for v in flags.values()):
        return None
    return {k: float("nan") if v is None else v for k, v in flags.items()}
